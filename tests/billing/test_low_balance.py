"""Owners get one mail about a low balance, and another only after the balance was higher."""

from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.utils import timezone

from accounts.errors import InvalidField
from accounts.models import Organization, Role, User
from billing import ledger, low_balance
from billing.models import Hold, Wallet
from tests.billing.conftest import fund, money_of


@pytest.fixture
def owner(acme: Organization) -> User:
    """The owner of an organization with $10 whose threshold is $4."""
    owner = User.objects.create_user("owner@example.com", "correct horse battery")
    acme.memberships.create(user=owner, role=Role.OWNER)
    fund(acme, 10_000_000)
    ledger.set_low_balance(acme, threshold_micros=4_000_000)
    return owner


def mails() -> int:
    """Sweep twice, as two clocks do. Return how many mails were sent in total."""
    for _ in range(2):
        low_balance.sweep(now=timezone.now() + timedelta(seconds=1))
    return len(mail.outbox)


def spend(organization: Organization, micros: int) -> Hold:
    return ledger.reserve(organization, amount_micros=micros, reference=f"job:{Hold.objects.count()}")


def test_mail_is_sent_once_when_little_is_left(acme: Organization, owner: User) -> None:
    spend(acme, 6_000_000)
    assert mails() == 0
    ledger.settle(spend(acme, 1), actual_micros=1)
    assert mails() == 1
    assert mail.outbox[0].to == [owner.email]
    assert mail.outbox[0].subject == "$3.999999 is left of your balance"
    spend(acme, 1_000_000)
    assert mails() == 1
    assert money_of(acme) == (9_999_999, 7_000_000)


def test_mail_is_armed_again_by_money(acme: Organization, owner: User) -> None:
    spend(acme, 7_000_000)
    assert mails() == 1
    fund(acme, 4_000_000, reference="more")
    assert mails() == 1
    assert Wallet.objects.of(acme).get().low_since is None
    spend(acme, ledger.wallet_of(acme).available_micros)
    assert mails() == 2


@pytest.mark.parametrize("way", ["released", "settled for less"])
def test_balance_near_the_threshold_is_told_once_a_day(acme: Organization, owner: User, way: str) -> None:
    start = timezone.now()
    for minute in range(3):
        with time_machine.travel(start + timedelta(minutes=minute), tick=False):
            hold = spend(acme, 7_000_000)
            assert mails() == 1
            if way == "released":
                ledger.release(hold)
            else:
                ledger.settle(hold, actual_micros=1)
            assert Wallet.objects.of(acme).get().low_since is None
            assert mails() == 1
    with time_machine.travel(start + timedelta(days=1, minutes=5), tick=False):
        spend(acme, 7_000_000)
        assert mails() == 2


def test_fall_and_rise_between_two_rounds_is_not_told(acme: Organization, owner: User) -> None:
    ledger.release(spend(acme, 7_000_000))
    assert mails() == 0


def test_fall_is_noticed_however_it_comes(acme: Organization, owner: User) -> None:
    hold = spend(acme, 1)
    ledger.extend(hold, to_micros=6_000_001)
    assert mails() == 1


def test_threshold_may_be_set_changed_and_removed(acme: Organization, owner: User) -> None:
    ledger.set_low_balance(acme, threshold_micros=11_000_000)
    assert mails() == 1
    ledger.set_low_balance(acme, threshold_micros=12_000_000)
    assert mails() == 2
    ledger.set_low_balance(acme, threshold_micros=None)
    spend(acme, 10_000_000)
    assert mails() == 2
    with pytest.raises(InvalidField):
        ledger.set_low_balance(acme, threshold_micros=0)


def test_debt_is_told_as_nothing_left(acme: Organization, owner: User) -> None:
    ledger.settle(spend(acme, 9_000_000), actual_micros=9_000_000)
    ledger.claw_back(acme, amount_micros=5_000_000, kind="refund", reference="refund:1")
    assert mails() == 1
    assert mail.outbox[0].subject == "$0.00 is left of your balance"
