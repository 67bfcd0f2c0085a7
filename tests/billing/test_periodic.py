import logging
from datetime import UTC, datetime

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends.base import BaseEmailBackend

from accounts.models import Organization
from billing import periodic
from billing.models import Wallet
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
    assert "The balance is 6; the entries sum to 5." in mail.outbox[0].body
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
        settings.EMAIL_BACKEND = "tests.billing.test_periodic.DeadMailServer"
        with pytest.raises(ConnectionRefusedError):
            periodic.check_ledger_nightly()
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
        for _ in range(2):
            periodic.check_ledger_nightly()
    assert len(mail.outbox) == 1


class DeadMailServer(BaseEmailBackend):
    def send_messages(self, email_messages: object) -> int:
        raise ConnectionRefusedError
