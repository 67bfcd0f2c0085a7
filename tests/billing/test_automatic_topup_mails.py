"""Mails about automatic top-ups: each is sent once, whatever fails meanwhile, and no charge waits for one."""

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail

from accounts.models import Organization
from billing import automatic_topup_mails, automatic_topups, ledger, notices, periodic, topups
from billing.models import Wallet
from billing.models.payments import AutomaticTopUp, TopUp, TopUpState
from tests.billing.automatic import states
from tests.billing.conftest import NOW
from tests.billing.test_notices import ProcessEnded
from tests.stripe import StripeSandbox

pytestmark = pytest.mark.usefixtures("frozen")


def test_mail_that_fails_is_sent_later(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, settings: Any
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    settings.MAIL_TRANSPORT = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    automatic_topups.run()
    automatic_topup_mails.notify_owners()
    settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"
    automatic_topups.run()
    automatic_topup_mails.notify_owners()
    automatic_topups.run()
    automatic_topup_mails.notify_owners()
    assert len(mail.outbox) == 1


def test_mail_of_a_clock_that_died_is_sent_by_the_next(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, settings: Any
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    automatic_topups.run()
    settings.MAIL_TRANSPORT = "tests.billing.test_notices.DeadlyMailServer"
    with pytest.raises(ProcessEnded):
        automatic_topup_mails.notify_owners()
    settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"
    automatic_topup_mails.notify_owners()
    assert mail.outbox == []
    with time_machine.travel(NOW + notices.CLAIM_LEASE, tick=False):
        for _ in range(2):
            automatic_topup_mails.notify_owners()
    assert len(mail.outbox) == 1


def test_charging_waits_for_no_mail_server(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    periodic.top_up_automatically()
    assert states() == [TopUpState.FAILED]
    assert mail.outbox == []
    periodic.tell_of_automatic_topups()
    assert len(mail.outbox) == 1
    # The clock runs each duty in a thread of its own.
    assert {periodic.top_up_automatically, periodic.tell_of_automatic_topups} <= {duty for _, duty in periodic.DUTIES}


def test_every_decline_is_told_however_many_there_are(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    automatic_topups.turn_off(acme)
    for minutes in range(3):
        topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
        TopUp.objects.filter(pk=topup.pk).update(created_at=NOW - timedelta(minutes=minutes))
        topups.end(topup, state=TopUpState.FAILED, failure=automatic_topups.DECLINED)
    for _ in range(4):
        automatic_topup_mails.notify_owners(max_count=1)
    assert len(mail.outbox) == 3


def test_mail_that_fails_for_one_organization_stops_no_other(
    acme: Organization, rival: Organization, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wallet_of = ledger.wallet_of

    def wallet_of_others(organization: Organization) -> Wallet:
        assert organization != acme, "a fault that nobody thought of"
        return wallet_of(organization)

    for owner in (acme, rival):
        topup = topups.begin(owner, amount_cents=20_000, person=None, is_automatic=True)
        topups.end(topup, state=TopUpState.FAILED, failure=automatic_topups.DECLINED)
    with monkeypatch.context() as patches:
        patches.setattr(ledger, "wallet_of", wallet_of_others)
        automatic_topup_mails.notify_owners()
    assert [rival.name in one.subject for one in mail.outbox] == [True]
    assert f"The mail automatic_topup_declined to organization {acme.pk} failed" in caplog.text
    automatic_topup_mails.notify_owners()
    assert acme.name in mail.outbox[1].subject
