import logging
from datetime import UTC, datetime

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend

from accounts.models import Organization
from billing import ledger, periodic
from billing.ledger import audit_parts
from billing.models import Entry, EntryKind, Hold, Wallet
from tests.billing.append_only import triggers_suspended
from tests.billing.conftest import fund
from voxsite.management.commands import clock


def test_clock_does_the_duties_of_billing() -> None:
    assert set(periodic.DUTIES) <= set(clock.DUTIES)


def test_fault_is_told_to_the_operators_and_not_repaired(
    acme: Organization, settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ADMINS = [("Operator", "operator@example.com")]
    fund(acme, 5)
    periodic.check_ledger()
    assert (mail.outbox, caplog.records) == ([], [])
    Wallet.objects.of(acme).update(balance_micros=6)
    periodic.check_ledger()
    assert mail.outbox[0].to == ["operator@example.com"]
    assert "The balance is 6; the last entry says 5." in mail.outbox[0].body
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert Wallet.objects.of(acme).get().balance_micros == 6


def test_ledger_is_checked_once_a_night(acme: Organization, caplog: pytest.LogCaptureFixture) -> None:
    fund(acme, 5)
    Wallet.objects.of(acme).update(balance_micros=6)
    for hour, checks in ((2, 0), (3, 1), (3, 1), (4, 1)):
        with time_machine.travel(datetime(2026, 11, 20, hour, 10, tzinfo=UTC), tick=False):
            periodic.check_ledger_nightly()
        assert len(caplog.records) == checks
    with time_machine.travel(datetime(2026, 11, 21, 3, 10, tzinfo=UTC), tick=False):
        periodic.check_ledger_nightly()
    assert len(caplog.records) == 2


def test_check_that_could_not_be_told_is_made_again(
    acme: Organization, settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ADMINS = [("Operator", "operator@example.com")]
    fund(acme, 5)
    Wallet.objects.of(acme).update(balance_micros=6)
    with time_machine.travel(datetime(2026, 11, 20, 3, 10, tzinfo=UTC), tick=False):
        settings.MAIL_TRANSPORT = "tests.billing.test_periodic.DeadMailServer"
        with pytest.raises(ConnectionRefusedError):
            periodic.check_ledger_nightly()
        settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"
        for _ in range(2):
            periodic.check_ledger_nightly()
    assert len(mail.outbox) == 1


def test_old_entry_that_was_changed_is_told_once_a_day(acme: Organization, settings) -> None:
    settings.ADMINS = [("Operator", "operator@example.com")]
    with time_machine.travel(datetime(2026, 3, 1, tzinfo=UTC)):
        fund(acme, 5)
    fund(acme, 5)
    with triggers_suspended():
        Entry.objects.filter(balance_after_micros=5).update(amount_micros=4)
    periodic.check_ledger()
    assert mail.outbox == []
    settings.MAIL_TRANSPORT = "tests.billing.test_periodic.DeadMailServer"
    with pytest.raises(ConnectionRefusedError):
        periodic.reread_ledger()
    settings.MAIL_TRANSPORT = "django.core.mail.backends.locmem.EmailBackend"
    for _ in range(3):
        periodic.reread_ledger()
    (told,) = mail.outbox
    assert "says 5 after it; with the entry before it, it is 4." in told.body


def test_known_faults_do_not_hide_new_ones_of_the_same_step(acme: Organization, settings) -> None:
    settings.ADMINS = [("Operator", "operator@example.com")]
    count = 3 * audit_parts.MAX_FAULTS
    for _ in range(count):
        fund(acme, 5)
    ledger.settle(ledger.reserve(acme, amount_micros=9, reference="job:1"), actual_micros=8)
    with triggers_suspended():
        Entry.objects.filter(kind=EntryKind.CREDIT).update(amount_micros=4)
    Hold.objects.filter(reference="job:1").delete()
    for _ in range(4):
        periodic.reread_ledger()
    bodies = [message.body for message in mail.outbox]
    # One of another kind is in the first report, and each of many is in one of them.
    assert [body.count("no hold was settled for") for body in bodies] == [1, 0, 0]
    assert [body.count("it is") for body in bodies] == [audit_parts.MAX_FAULTS] * 3


class DeadMailServer(BaseEmailBackend):
    def send_messages(self, email_messages: object) -> int:
        raise ConnectionRefusedError
