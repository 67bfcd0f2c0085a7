"""Credits, claw-backs, reversals and expiry: exact in any order, and within what the constraints allow."""

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Wallet
from tests.billing.conftest import fund, money_of


def claw_back(organization: Organization, amount_micros: int, kind: EntryKind = EntryKind.REFUND) -> Entry:
    return ledger.claw_back(organization, amount_micros=amount_micros, kind=kind, reference="back:1")


def wallet_of(organization: Organization) -> Wallet:
    return Wallet.objects.of(organization).get()


# --- credit ----------------------------------------------------------------------------------------------------------


def test_credit_adds_money_and_a_line(acme: Organization) -> None:
    ledger.credit(acme, amount_micros=5, kind=EntryKind.PAYMENT, reference="topup:1", description="Card")
    entry = ledger.credit(acme, amount_micros=7, kind=EntryKind.BONUS, reference="topup:1", details={"percent": 5})
    assert (entry.amount_micros, entry.balance_after_micros, entry.details) == (7, 12, {"percent": 5})
    assert money_of(acme) == (12, 0)


def test_credit_happens_once_per_reference(acme: Organization) -> None:
    first = ledger.credit(acme, amount_micros=5, kind=EntryKind.PAYMENT, reference="topup:1")
    assert ledger.credit(acme, amount_micros=5, kind=EntryKind.PAYMENT, reference="topup:1") == first
    assert money_of(acme) == (5, 0)


def test_credit_refuses_a_reference_used_for_something_else(acme: Organization, rival: Organization) -> None:
    ledger.credit(acme, amount_micros=5, kind=EntryKind.PAYMENT, reference="topup:1")
    with pytest.raises(ledger.ReferenceReused):
        ledger.credit(acme, amount_micros=6, kind=EntryKind.PAYMENT, reference="topup:1")
    with pytest.raises(ledger.ReferenceReused):
        ledger.credit(rival, amount_micros=5, kind=EntryKind.PAYMENT, reference="topup:1")
    assert money_of(acme) == (5, 0)
    assert not Entry.objects.of(rival).exists()


@pytest.mark.parametrize(("kind", "amount"), [(EntryKind.USAGE, 1), (EntryKind.CREDIT, 0), (EntryKind.CREDIT, -1)])
def test_credit_refuses_what_brings_nothing(acme: Organization, kind: EntryKind, amount: int) -> None:
    with pytest.raises(ValueError, match=r"credit|bring"):
        ledger.credit(acme, amount_micros=amount, kind=kind, reference="x:1")


# --- claw_back -------------------------------------------------------------------------------------------------------


def test_claw_back_takes_once_what_is_there(acme: Organization) -> None:
    fund(acme, 100)
    entry = claw_back(acme, 30)
    assert (entry.amount_micros, entry.balance_after_micros) == (-30, 70)
    assert claw_back(acme, 30) == entry
    assert money_of(acme) == (70, 0)
    assert not wallet_of(acme).is_frozen


def test_claw_back_of_spent_money_leaves_a_debt_and_freezes(acme: Organization) -> None:
    fund(acme, 100)
    ledger.settle(ledger.reserve(acme, amount_micros=80, reference="job:1"), actual_micros=80)
    claw_back(acme, 50)
    assert money_of(acme) == (-30, 0)
    assert wallet_of(acme).is_frozen
    with pytest.raises(ledger.WalletFrozen) as caught:
        ledger.reserve(acme, amount_micros=0, reference="job:2")
    assert isinstance(caught.value, PaymentRequired)
    assert (caught.value.http_status, caught.value.type) == (402, "wallet_frozen")
    assert caught.value.data["debt_micros"] == 30
    assert "$0.00003 is owed" in caught.value.message


def test_debt_of_a_dispute_is_not_called_enough_to_pay(acme: Organization) -> None:
    fund(acme, 100)
    ledger.settle(ledger.reserve(acme, amount_micros=80, reference="job:1"), actual_micros=80)
    claw_back(acme, 50, EntryKind.DISPUTE)
    for ask in (
        lambda: ledger.reserve(acme, amount_micros=1, reference="job:2"),
        lambda: ledger.require(acme, amount_micros=1),
    ):
        with pytest.raises(ledger.WalletFrozen) as caught:
            ask()
        assert caught.value.data["debt_micros"] == 30
        assert "until the dispute is settled" in caught.value.message
        assert "Add funds" not in caught.value.message


def test_money_that_is_held_can_be_clawed_back_and_its_work_is_still_settled(acme: Organization) -> None:
    fund(acme, 100)
    running = ledger.reserve(acme, amount_micros=60, reference="job:1")
    failing = ledger.reserve(acme, amount_micros=20, reference="job:2")
    claw_back(acme, 100)
    assert money_of(acme) == (0, 80)
    with pytest.raises(ledger.WalletFrozen):
        ledger.extend(running, to_micros=61)
    assert ledger.extend_as_far_as_possible(running, to_micros=61).amount_micros == 60
    ledger.settle(running, actual_micros=45)
    ledger.release(failing)
    assert money_of(acme) == (-45, 0)
    assert wallet_of(acme).is_frozen


def test_releasing_a_hold_may_pay_the_debt(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    claw_back(acme, 70)
    assert wallet_of(acme).is_frozen
    ledger.release(hold)
    assert money_of(acme) == (30, 0)
    assert not wallet_of(acme).is_frozen


def test_money_that_comes_pays_the_debt_first(acme: Organization) -> None:
    fund(acme, 10)
    claw_back(acme, 50)
    fund(acme, 39)
    assert wallet_of(acme).is_frozen
    fund(acme, 6)
    assert money_of(acme) == (5, 0)
    assert not wallet_of(acme).is_frozen
    ledger.reserve(acme, amount_micros=5, reference="job:1")


def test_claw_back_refuses_a_reference_used_for_something_else(acme: Organization, rival: Organization) -> None:
    fund(acme, 100)
    fund(rival, 100)
    claw_back(acme, 30)
    for organization, amount in ((acme, 31), (rival, 30)):
        with pytest.raises(ledger.ReferenceReused):
            claw_back(organization, amount)
    assert (money_of(acme), money_of(rival)) == ((70, 0), (100, 0))


@pytest.mark.parametrize(("kind", "amount"), [(EntryKind.PAYMENT, 1), (EntryKind.USAGE, 1), (EntryKind.REFUND, 0)])
def test_claw_back_refuses_what_takes_nothing_back(acme: Organization, kind: EntryKind, amount: int) -> None:
    with pytest.raises(ValueError, match=r"taken|takes"):
        claw_back(acme, amount, kind)


# --- restore ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [EntryKind.REFUND, EntryKind.DISPUTE])
def test_restore_gives_back_exactly_what_was_taken_once(acme: Organization, kind: EntryKind) -> None:
    fund(acme, 20)
    claw_back(acme, 50, kind)
    assert money_of(acme) == (-30, 0)
    entry = ledger.restore(acme, kind=kind, reference="back:1")
    assert (entry.kind, entry.amount_micros) == (f"{kind}_reversal", 50)
    assert ledger.restore(acme, kind=kind, reference="back:1") == entry
    assert money_of(acme) == (20, 0)
    assert not wallet_of(acme).is_frozen


def test_restore_before_anything_was_taken_is_refused(acme: Organization, rival: Organization) -> None:
    fund(acme, 20)
    fund(rival, 20)
    with pytest.raises(ledger.NothingToRestore):
        ledger.restore(acme, kind=EntryKind.REFUND, reference="back:1")
    claw_back(acme, 5)
    with pytest.raises(ledger.NothingToRestore):
        ledger.restore(rival, kind=EntryKind.REFUND, reference="back:1")
    with pytest.raises(ledger.NothingToRestore):
        ledger.restore(acme, kind=EntryKind.DISPUTE, reference="back:1")
    assert (money_of(acme), money_of(rival)) == ((15, 0), (20, 0))


def test_restore_may_differ_by_the_rounding_of_a_bonus_and_no_more(acme: Organization) -> None:
    fund(acme, 100)
    claw_back(acme, 50)
    with pytest.raises(ValueError, match="50 was taken"):
        ledger.restore(acme, kind=EntryKind.REFUND, reference="back:1", amount_micros=52)
    ledger.restore(acme, kind=EntryKind.REFUND, reference="back:1", amount_micros=51)
    with pytest.raises(ledger.ReferenceReused):
        ledger.restore(acme, kind=EntryKind.REFUND, reference="back:1", amount_micros=50)
    assert money_of(acme) == (101, 0)


def test_dispute_freezes_until_it_ends_even_if_nothing_is_owed(acme: Organization) -> None:
    fund(acme, 100)
    claw_back(acme, 30, EntryKind.DISPUTE)
    with pytest.raises(ledger.WalletFrozen) as caught:
        ledger.reserve(acme, amount_micros=1, reference="job:1")
    assert caught.value.data["debt_micros"] == 0
    assert "disputed" in caught.value.message
    assert ledger.thaw(acme, reason="back:1") is True
    ledger.reserve(acme, amount_micros=1, reference="job:1")
    # The event of the withdrawal arrives once more, after the dispute ended.
    claw_back(acme, 30, EntryKind.DISPUTE)
    assert money_of(acme) == (70, 1)
    assert not wallet_of(acme).is_frozen


# --- expire ----------------------------------------------------------------------------------------------------------


def age(organization: Organization) -> datetime:
    """Move the last activity back by a year and return its time."""
    moment = timezone.now() - timedelta(days=365)
    Wallet.objects.of(organization).update(last_activity_at=moment)
    return moment


def test_expire_takes_all_once(acme: Organization) -> None:
    fund(acme, 100)
    moment = age(acme)
    entry = ledger.expire(acme, inactive_since=moment)
    assert entry is not None
    assert (entry.kind, entry.amount_micros) == (EntryKind.EXPIRY, -100)
    assert ledger.expire(acme, inactive_since=moment) is None
    assert money_of(acme) == (0, 0)
    assert wallet_of(acme).expired_at is not None
    fund(acme, 7)
    assert wallet_of(acme).expired_at is None


def test_expire_spares_what_was_used_since(acme: Organization) -> None:
    fund(acme, 100)
    moment = age(acme)
    assert ledger.expire(acme, inactive_since=moment - timedelta(microseconds=1)) is None
    ledger.release(ledger.reserve(acme, amount_micros=1, reference="job:1"))
    assert ledger.expire(acme, inactive_since=moment) is None
    assert money_of(acme) == (100, 0)


@pytest.mark.parametrize("amount", [0, 60])
def test_expire_spares_what_has_work_under_way(acme: Organization, amount: int) -> None:
    fund(acme, 100)
    ledger.reserve(acme, amount_micros=amount, reference="job:1")
    assert ledger.expire(acme, inactive_since=age(acme)) is None
    assert money_of(acme) == (100, amount)


def test_expire_spares_a_frozen_wallet(acme: Organization) -> None:
    fund(acme, 100)
    ledger.freeze(acme, reason="dispute:1")
    assert ledger.expire(acme, inactive_since=age(acme)) is None


def test_balance_may_expire_a_second_time(acme: Organization) -> None:
    for amount in (100, 50):
        fund(acme, amount, reference=f"test:{amount}")
        assert ledger.expire(acme, inactive_since=age(acme)) is not None
    assert money_of(acme) == (0, 0)
    assert Entry.objects.filter(kind=EntryKind.EXPIRY).count() == 2


@pytest.mark.parametrize("verb", ["credit", "reserve", "settle", "restore"])
def test_what_counts_as_activity(acme: Organization, verb: str) -> None:
    fund(acme, 100)
    claw_back(acme, 1)
    hold = ledger.reserve(acme, amount_micros=1, reference="job:1")
    moment = age(acme)
    {
        "credit": lambda: fund(acme, 1, reference="more"),
        "reserve": lambda: ledger.reserve(acme, amount_micros=1, reference="job:2"),
        "settle": lambda: ledger.settle(hold, actual_micros=1),
        "restore": lambda: ledger.restore(acme, kind=EntryKind.REFUND, reference="back:1"),
    }[verb]()
    assert wallet_of(acme).last_activity_at > moment


@pytest.mark.parametrize("verb", ["release", "claw_back", "freeze"])
def test_what_is_no_activity(acme: Organization, verb: str) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=1, reference="job:1")
    moment = age(acme)
    {
        "release": lambda: ledger.release(hold),
        "claw_back": lambda: claw_back(acme, 1),
        "freeze": lambda: ledger.freeze(acme, reason="operator"),
    }[verb]()
    assert wallet_of(acme).last_activity_at == moment
