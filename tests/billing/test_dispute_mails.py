"""Mails about disputes: owners hear of a hold when it begins and when it ends, each once."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Organization
from billing import dispute_mails, ledger, periodic
from billing.models import Wallet
from billing.models.payments import TopUp
from billing.models.reversals import Dispute
from tests.billing.stripe_objects import REINSTATED, WITHDRAWN, dispute_of, make_paid_topup, tell


@pytest.fixture
def paid(acme: Organization) -> TopUp:
    """$200, which brought $10."""
    return make_paid_topup(acme)


def test_owners_hear_once_that_their_balance_is_on_hold_and_whom_to_ask(paid: TopUp, acme: Organization) -> None:
    tell("charge.dispute.created", dispute_of(paid, 20_000))
    periodic.tell_of_disputes()
    assert mail.outbox == [], "the bank has not withdrawn the money, and nothing is on hold"
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    for _ in range(2):
        periodic.tell_of_disputes()
    (sent,) = mail.outbox
    assert sent.subject == f"{acme.name} is on hold: a payment is disputed"
    assert "The payment of $200.00 on" in sent.body
    assert "the bank has withdrawn $200.00" in sent.body
    assert "new work is refused" in sent.body
    assert "write to hello@localhost" in sent.body
    assert sent.reply_to == ["hello@localhost"]


def test_owners_hear_once_that_it_is_over(paid: TopUp, acme: Organization) -> None:
    for kind in (WITHDRAWN, REINSTATED):
        tell(kind, dispute_of(paid, 12_345))
    for _ in range(2):
        periodic.tell_of_disputes()
    assert [one.subject for one in mail.outbox] == [
        f"{acme.name} is on hold: a payment is disputed",
        f"The dispute about a payment of {acme.name} is settled",
    ]
    assert "returned $123.45" in mail.outbox[1].body
    assert "New work is accepted again." in mail.outbox[1].body


def test_balance_that_stays_on_hold_is_not_called_free(paid: TopUp, acme: Organization) -> None:
    for kind in (WITHDRAWN, REINSTATED):
        tell(kind, dispute_of(paid, 20_000))
    ledger.freeze(acme, reason="operator")
    periodic.tell_of_disputes()
    assert "still on hold for another reason" in mail.outbox[1].body


@pytest.mark.long
def test_disputes_of_one_payment_and_of_two_organizations_are_told_each(
    paid: TopUp, acme: Organization, rival: Organization
) -> None:
    tell(WITHDRAWN, dispute_of(paid, 5_000))
    tell(WITHDRAWN, dispute_of(paid, 6_000, stripe_id="dp_2"))
    tell(WITHDRAWN, dispute_of(make_paid_topup(rival), 7_000, stripe_id="dp_3"))
    periodic.tell_of_disputes()
    assert len(mail.outbox) == 3


def test_mail_that_fails_for_one_organization_stops_no_other(
    paid: TopUp,
    acme: Organization,
    rival: Organization,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wallet_of = ledger.wallet_of

    def wallet_of_others(organization: Organization) -> Wallet:
        assert organization != acme, "a fault that nobody thought of"
        return wallet_of(organization)

    for topup, stripe_id in ((paid, "dp_1"), (make_paid_topup(rival), "dp_2")):
        for kind in (WITHDRAWN, REINSTATED):
            tell(kind, dispute_of(topup, 7_000, stripe_id=stripe_id))
    with monkeypatch.context() as patches:
        patches.setattr(ledger, "wallet_of", wallet_of_others)
        periodic.tell_of_disputes()
    assert [rival.name in one.subject for one in mail.outbox] == [True, True]
    assert f"The mail dispute_withdrawn to organization {acme.pk} failed" in caplog.text
    periodic.tell_of_disputes()
    assert [acme.name in one.subject for one in mail.outbox[2:]] == [True, True]


def test_old_disputes_are_not_dug_up(paid: TopUp, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    """When this duty comes to a site for the first time, its old disputes are known."""
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    old = timezone.now() - dispute_mails.NOTIFY_WITHIN - timedelta(minutes=1)
    Dispute.objects.update(withdrawn_at=old)
    with django_assert_num_queries(2):
        periodic.tell_of_disputes()
    assert mail.outbox == []


def test_mail_that_fails_is_sent_later(paid: TopUp, settings: Any) -> None:
    settings.MAIL_TRANSPORT = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    periodic.tell_of_disputes()
    settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"
    periodic.tell_of_disputes()
    assert len(mail.outbox) == 1
