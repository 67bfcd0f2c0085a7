"""Owners are warned before an expiry, a used balance does not expire, and an error stops only its own wallet."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail
from django.core.mail.backends.locmem import EmailBackend

from accounts.models import Organization, Role, User
from billing import expiry, ledger, statements
from billing.models import EntryKind, Wallet
from tests.billing.conftest import fund, money_of

LAST_USED = datetime(2026, 3, 1, 12, tzinfo=UTC)
EXPIRES = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture
def owner(acme: Organization) -> User:
    """The owner of an organization that was last active at LAST_USED and has $5, among others."""
    owner = User.objects.create_user("owner@example.com", "correct horse battery")
    acme.memberships.create(user=owner, role=Role.OWNER)
    member = User.objects.create_user("member@example.com", "correct horse battery")
    acme.memberships.create(user=member, role=Role.MEMBER)
    gone = User.objects.create_user("gone@example.com", "correct horse battery", is_active=False)
    acme.memberships.create(user=gone, role=Role.OWNER)
    with time_machine.travel(LAST_USED, tick=False):
        fund(acme, 5_000_000)
    return owner


def sweep_each_day(first: datetime, last: datetime) -> None:
    day = first
    while day <= last:
        with time_machine.travel(day, tick=False):
            expiry.sweep(now=day)
            expiry.sweep(now=day)
        day += timedelta(days=1)


@pytest.mark.long
def test_expiry_is_mailed_three_times_and_then_takes_the_balance(acme: Organization, owner: User) -> None:
    sweep_each_day(LAST_USED, EXPIRES - timedelta(hours=1))
    assert [message.subject for message in mail.outbox] == ["$5.00 expires on 2026-09-01"] * 3
    assert all(message.to == [owner.email] for message in mail.outbox)
    assert "Signing in is not enough." in mail.outbox[0].body
    assert money_of(acme) == (5_000_000, 0)
    sweep_each_day(EXPIRES, EXPIRES + timedelta(days=60))
    assert money_of(acme) == (0, 0)
    assert len(mail.outbox) == 3
    entry = Wallet.objects.of(acme).get().entries.get(kind=EntryKind.EXPIRY)
    assert entry.description == "Expired: no activity since 2026-03-01"


@pytest.mark.parametrize("days", [30, 7, 1])
def test_mail_comes_on_its_day_and_not_before(acme: Organization, owner: User, days: int) -> None:
    day = EXPIRES - timedelta(days=days)
    expiry.sweep(now=day - timedelta(seconds=1))
    before = len(mail.outbox)
    expiry.sweep(now=day)
    assert len(mail.outbox) == before + 1


@pytest.mark.long
def test_activity_begins_the_months_anew(acme: Organization, owner: User) -> None:
    sweep_each_day(EXPIRES - timedelta(days=30), EXPIRES - timedelta(days=5))
    assert len(mail.outbox) == 2
    with time_machine.travel(EXPIRES - timedelta(days=5), tick=False):
        ledger.release(ledger.reserve(acme, amount_micros=1, reference="job:1"))
    sweep_each_day(EXPIRES - timedelta(days=5), EXPIRES + timedelta(days=60))
    assert len(mail.outbox) == 2
    assert money_of(acme) == (5_000_000, 0)
    assert Wallet.objects.of(acme).get().expires_at == datetime(2027, 2, 27, 12, tzinfo=UTC)


def test_empty_or_frozen_wallet_hears_nothing_and_loses_nothing(acme: Organization, owner: User) -> None:
    ledger.freeze(acme, reason="dispute:1")
    Wallet.objects.create(organization=Organization.objects.create(name="Empty"), last_activity_at=LAST_USED)
    sweep_each_day(EXPIRES - timedelta(days=31), EXPIRES + timedelta(days=3))
    assert mail.outbox == []
    assert money_of(acme) == (5_000_000, 0)
    assert Wallet.objects.of(acme).get().expires_at is None


def test_what_is_held_does_not_expire_until_it_ends(acme: Organization, owner: User) -> None:
    with time_machine.travel(LAST_USED, tick=False):
        hold = ledger.reserve(acme, amount_micros=1, reference="job:1")
    expiry.sweep(now=EXPIRES)
    assert money_of(acme) == (5_000_000, 1)
    ledger.release(hold)
    expiry.sweep(now=EXPIRES)
    assert money_of(acme) == (0, 0)


class RefusesAcme(EmailBackend):
    """A mail server that does not take mails for one owner."""

    def send_messages(self, messages):
        if messages[0].to == ["owner@example.com"]:
            raise ConnectionRefusedError
        return super().send_messages(messages)


def test_mail_that_cannot_be_sent_stops_no_other_and_is_tried_again(
    acme: Organization, rival: Organization, owner: User, settings
) -> None:
    other = User.objects.create_user("other@example.com", "correct horse battery")
    rival.memberships.create(user=other, role=Role.OWNER)
    with time_machine.travel(LAST_USED, tick=False):
        fund(rival, 7_000_000)
    before, settings.MAIL_TRANSPORT = settings.MAIL_TRANSPORT, f"{__name__}.RefusesAcme"
    expiry.sweep(now=EXPIRES - timedelta(days=7))
    assert [message.to for message in mail.outbox] == [["other@example.com"]]
    settings.MAIL_TRANSPORT = before
    expiry.sweep(now=EXPIRES - timedelta(days=6))
    assert [message.to for message in mail.outbox] == [["other@example.com"], [owner.email]]


def test_sweep_goes_on_after_a_wallet_that_fails(acme: Organization, rival: Organization, owner: User) -> None:
    with time_machine.travel(LAST_USED, tick=False):
        fund(rival, 7_000_000)
    # An entry with the reference of acme's expiry exists already, so the expiry fails.
    wallet = ledger.wallet_of(rival)
    wallet.entries.create(
        kind=EntryKind.EXPIRY,
        reference=f"expiry:{ledger.wallet_of(acme).pk}:2026-03-01T12:00:00.000000",
        amount_micros=-1,
        balance_after_micros=6_999_998,
    )
    expiry.sweep(now=EXPIRES)
    assert Wallet.objects.of(acme).get().balance_micros == 5_000_000
    assert Wallet.objects.of(rival).get().balance_micros == 0


def test_more_wallets_than_a_batch(owner: User) -> None:
    for number in range(5):
        with time_machine.travel(LAST_USED, tick=False):
            fund(Organization.objects.create(name=f"Organization {number}"), 1)
    expiry.sweep(now=EXPIRES, batch_size=2)
    assert not Wallet.objects.filter(balance_micros__gt=0).exists()


def test_balance_tells_when_it_expires_and_that_it_has(acme: Organization, owner: User) -> None:
    balance = statements.balance(acme)
    assert (balance.is_expired, balance.expires_at) == (False, EXPIRES)
    expiry.sweep(now=EXPIRES)
    balance = statements.balance(acme)
    assert (balance.is_expired, balance.expires_at, balance.balance_micros) == (True, None, 0)
    fund(acme, 1, reference="more")
    balance = statements.balance(acme)
    assert balance.is_expired is False
    assert balance.expires_at is not None


@pytest.mark.long
def test_balance_that_was_frozen_for_long_is_told_of_before_it_expires(acme: Organization, owner: User) -> None:
    ledger.freeze(acme, reason="operator")
    ledger.freeze(acme, reason="dispute:1")
    thawed = EXPIRES + timedelta(days=30)
    with time_machine.travel(thawed, tick=False):
        ledger.thaw(acme, reason="dispute:1")
        assert Wallet.objects.of(acme).get().last_activity_at == LAST_USED
        ledger.thaw(acme, reason="operator")
    sweep_each_day(thawed, thawed + timedelta(days=60))
    assert (money_of(acme), mail.outbox) == ((5_000_000, 0), [])
    sweep_each_day(thawed + timedelta(days=61), thawed + timedelta(days=200))
    assert (money_of(acme), len(mail.outbox)) == ((0, 0), 3)
