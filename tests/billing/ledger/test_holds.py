"""Holds: reserved, extended, settled and released, each effect once."""

from collections.abc import Callable

import pytest
from django.db import transaction

from accounts.errors import PaymentRequired
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet
from tests.billing.conftest import fund, money_of

# --- reserve ---------------------------------------------------------------------------------------------------------


def test_reserve_sets_money_aside(acme: Organization) -> None:
    fund(acme, 10)
    hold = ledger.reserve(acme, amount_micros=10, reference="job:1")
    assert (hold.state, hold.amount_micros, hold.closed_at) == (HoldState.OPEN, 10, None)
    assert money_of(acme) == (10, 10)


def test_reserve_names_the_exact_shortfall(acme: Organization) -> None:
    fund(acme, 120_500)
    ledger.reserve(acme, amount_micros=10_000, reference="job:1")
    with pytest.raises(PaymentRequired) as caught:
        ledger.reserve(acme, amount_micros=300_001, reference="job:2")
    assert caught.value.data == {
        "required_cents": 31,
        "available_cents": 11,
        "required_micros": 300_001,
        "available_micros": 110_500,
    }
    assert caught.value.message == (
        "This needs $0.300001, and $0.1105 is available: $0.189501 is missing. Add funds and try again."
    )
    assert money_of(acme) == (120_500, 10_000)
    assert not Hold.objects.filter(reference="job:2").exists()


def test_empty_wallet_admits_only_what_is_free(acme: Organization) -> None:
    with pytest.raises(PaymentRequired):
        ledger.reserve(acme, amount_micros=1, reference="job:1")
    assert ledger.reserve(acme, amount_micros=0, reference="job:2").is_open
    assert money_of(acme) == (0, 0)


def test_reserve_again_returns_the_open_hold_even_when_the_money_is_gone(acme: Organization) -> None:
    fund(acme, 15)
    hold = ledger.reserve(acme, amount_micros=10, reference="job:1")
    assert ledger.reserve(acme, amount_micros=10, reference="job:1") == hold
    assert ledger.reserve(acme, amount_micros=4, reference="job:1") == hold
    assert money_of(acme) == (15, 10)


def test_reserve_again_after_an_extension_returns_the_hold(acme: Organization) -> None:
    fund(acme, 15)
    hold = ledger.extend(ledger.reserve(acme, amount_micros=10, reference="job:1"), to_micros=12)
    assert ledger.reserve(acme, amount_micros=10, reference="job:1").amount_micros == hold.amount_micros == 12
    assert money_of(acme) == (15, 12)


def test_reserve_refuses_a_reference_used_for_something_else(acme: Organization, rival: Organization) -> None:
    fund(acme, 100)
    fund(rival, 100)
    ledger.reserve(acme, amount_micros=10, reference="job:1")
    with pytest.raises(ledger.ReferenceReused):
        ledger.reserve(acme, amount_micros=11, reference="job:1")
    with pytest.raises(ledger.ReferenceReused):
        ledger.reserve(rival, amount_micros=10, reference="job:1")
    assert money_of(acme) == (100, 10)
    assert money_of(rival) == (100, 0)


def test_reserve_refuses_ended_work(acme: Organization) -> None:
    fund(acme, 100)
    ledger.settle(ledger.reserve(acme, amount_micros=10, reference="job:1"), actual_micros=10)
    ledger.release(ledger.reserve(acme, amount_micros=10, reference="job:2"))
    with pytest.raises(ledger.HoldSettled):
        ledger.reserve(acme, amount_micros=10, reference="job:1")
    with pytest.raises(ledger.HoldReleased):
        ledger.reserve(acme, amount_micros=10, reference="job:2")
    assert money_of(acme) == (90, 0)


def test_refusal_leaves_the_wider_transaction_usable(acme: Organization) -> None:
    with transaction.atomic():
        fund(acme, 10)
        with pytest.raises(PaymentRequired):
            ledger.reserve(acme, amount_micros=11, reference="job:1")
        with pytest.raises(ledger.ReferenceReused):
            ledger.credit(acme, amount_micros=9, kind=EntryKind.CREDIT, reference=Entry.objects.get().reference)
        ledger.reserve(acme, amount_micros=10, reference="job:2")
    assert money_of(acme) == (10, 10)


def test_wider_transaction_that_fails_takes_all_back(acme: Organization) -> None:
    fund(acme, 10)
    with transaction.atomic():
        ledger.settle(ledger.reserve(acme, amount_micros=10, reference="job:1"), actual_micros=10)
        transaction.set_rollback(True)
    assert money_of(acme) == (10, 0)
    assert not Hold.objects.exists()


# --- extend ----------------------------------------------------------------------------------------------------------


def test_extend_grows_and_never_shrinks(acme: Organization) -> None:
    fund(acme, 10)
    hold = ledger.reserve(acme, amount_micros=4, reference="job:1")
    ledger.extend(hold, to_micros=9)
    ledger.extend(hold, to_micros=9)
    ledger.extend(hold, to_micros=1)
    assert hold.amount_micros == 9
    assert money_of(acme) == (10, 9)


def test_extend_without_money_names_the_difference(acme: Organization) -> None:
    fund(acme, 10)
    hold = ledger.reserve(acme, amount_micros=4, reference="job:1")
    with pytest.raises(PaymentRequired) as caught:
        ledger.extend(hold, to_micros=11)
    assert (caught.value.data["required_micros"], caught.value.data["available_micros"]) == (7, 6)
    assert hold.amount_micros == 4
    assert money_of(acme) == (10, 4)


def test_extend_past_a_monthly_limit_keeps_the_hold_and_its_work_can_be_settled(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.set_monthly_limit(acme, limit_micros=50)
    hold = ledger.reserve(acme, amount_micros=40, reference="live:1")
    with pytest.raises(ledger.SpendLimitReached) as caught:
        ledger.extend(hold, to_micros=51)
    assert (caught.value.data["required_micros"], caught.value.data["left_micros"]) == (11, 10)
    assert hold.amount_micros == Hold.objects.get(pk=hold.pk).amount_micros == 40
    assert ledger.extend(hold, to_micros=50).amount_micros == 50
    ledger.settle(hold, actual_micros=50)
    assert money_of(acme) == (950, 0)


def test_extend_is_refused_by_a_frozen_wallet_and_the_hold_can_be_settled(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=40, reference="live:1")
    ledger.freeze(acme, reason="operator")
    with pytest.raises(ledger.WalletFrozen):
        ledger.extend(hold, to_micros=41)
    ledger.settle(hold, actual_micros=40)
    assert money_of(acme) == (60, 0)


def test_extend_trusts_no_amount_that_was_read_before(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=10, reference="live:1")
    stale = Hold.objects.get(pk=hold.pk)
    ledger.extend(hold, to_micros=50)
    assert ledger.extend(stale, to_micros=60).amount_micros == 60
    assert money_of(acme) == (100, 60)


@pytest.mark.parametrize(
    ("end", "error"),
    [(ledger.release, ledger.HoldReleased), (lambda hold: ledger.settle(hold, actual_micros=10), ledger.HoldSettled)],
    ids=["released", "settled"],
)
def test_extend_revives_no_hold_that_ended_meanwhile(
    acme: Organization, end: Callable[[Hold], object], error: type[Exception]
) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=10, reference="live:1")
    stale = Hold.objects.get(pk=hold.pk)
    end(hold)
    before = money_of(acme)
    for verb in (ledger.extend, ledger.extend_as_far_as_possible):
        with pytest.raises(error):
            verb(stale, to_micros=20)
    assert money_of(acme) == before


def test_settle_with_a_hold_from_before_its_extension_charges_the_whole_price(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=10, reference="live:1")
    stale = Hold.objects.get(pk=hold.pk)
    ledger.extend(hold, to_micros=50)
    entry = ledger.settle(stale, actual_micros=40)
    assert entry is not None
    assert (entry.amount_micros, entry.details) == (-40, {})
    assert money_of(acme) == (60, 0)


# --- settle and release ----------------------------------------------------------------------------------------------


def test_settle_replaces_the_hold_by_one_usage_entry(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    entry = ledger.settle(hold, actual_micros=42, description="call.mp3", details={"model": "standard"})
    assert entry is not None
    assert (entry.kind, entry.reference, entry.amount_micros, entry.balance_after_micros) == (
        EntryKind.USAGE,
        "job:1",
        -42,
        58,
    )
    assert (entry.description, entry.details) == ("call.mp3", {"model": "standard"})
    assert hold.state == HoldState.SETTLED
    assert hold.closed_at is not None
    assert money_of(acme) == (58, 0)


def test_settle_again_changes_nothing(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    stale = Hold.objects.get(pk=hold.pk)
    ledger.settle(hold, actual_micros=42)
    assert ledger.settle(stale, actual_micros=42) is None
    with pytest.raises(ledger.HoldSettled):
        ledger.settle(hold, actual_micros=41)
    with pytest.raises(ledger.HoldSettled):
        ledger.release(stale)
    with pytest.raises(ledger.HoldSettled):
        ledger.extend(stale, to_micros=61)
    assert money_of(acme) == (58, 0)
    assert Entry.objects.filter(kind=EntryKind.USAGE).count() == 1


def test_settle_for_nothing_writes_no_entry(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    assert ledger.settle(hold, actual_micros=0) is None
    assert ledger.settle(hold, actual_micros=0) is None
    assert hold.state == HoldState.SETTLED
    assert money_of(acme) == (100, 0)


def test_settle_is_cut_to_the_hold_and_says_so(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    entry = ledger.settle(hold, actual_micros=75, details={"model": "standard"})
    assert entry is not None
    assert (entry.amount_micros, entry.details) == (-60, {"model": "standard", "uncut_micros": 75})
    assert ledger.settle(hold, actual_micros=75) is None
    assert money_of(acme) == (40, 0)


def test_settle_takes_more_after_an_extension(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.extend(ledger.reserve(acme, amount_micros=60, reference="job:1"), to_micros=75)
    ledger.settle(hold, actual_micros=75)
    assert money_of(acme) == (25, 0)


def test_release_gives_all_back_once(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    assert ledger.release(hold) is True
    assert ledger.release(hold) is False
    with pytest.raises(ledger.HoldReleased):
        ledger.settle(hold, actual_micros=1)
    with pytest.raises(ledger.HoldReleased):
        ledger.extend(hold, to_micros=61)
    assert money_of(acme) == (100, 0)


def test_negative_amounts_are_refused(acme: Organization) -> None:
    fund(acme, 100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    with pytest.raises(ValueError, match="negative"):
        ledger.reserve(acme, amount_micros=-1, reference="job:2")
    with pytest.raises(ValueError, match="negative"):
        ledger.settle(hold, actual_micros=-1)
    assert money_of(acme) == (100, 60)


# --- require ---------------------------------------------------------------------------------------------------------


def test_required_money_is_only_looked_at(acme: Organization) -> None:
    fund(acme, 10)
    ledger.require(acme, amount_micros=10)
    ledger.reserve(acme, amount_micros=5, reference="job:1")
    with pytest.raises(PaymentRequired) as caught:
        ledger.require(acme, amount_micros=6)
    assert (caught.value.data["required_micros"], caught.value.data["available_micros"]) == (6, 5)
    assert money_of(acme) == (10, 5)


def test_who_never_had_money_is_asked_for_it_and_gets_no_wallet(acme: Organization) -> None:
    with pytest.raises(PaymentRequired):
        ledger.require(acme, amount_micros=1)
    assert not Wallet.objects.exists()


# --- reservable ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("funds", "expected"), [(10, 10), (7, 7), (12, 10)])
def test_reservable_is_what_reserve_would_hold_and_holds_nothing(acme: Organization, funds: int, expected: int) -> None:
    fund(acme, funds)
    before = Wallet.objects.filter(organization=acme).values().get()
    assert ledger.reservable(acme, at_least_micros=5, at_most_micros=10) == expected
    assert Wallet.objects.filter(organization=acme).values().get() == before
    assert not Hold.objects.exists()
    assert ledger.reserve_up_to(acme, at_least_micros=5, at_most_micros=10, reference="job:1").amount_micros == expected


def test_reservable_inside_a_transaction_takes_back_only_itself(acme: Organization) -> None:
    fund(acme, 10)
    with transaction.atomic():
        ledger.reserve(acme, amount_micros=4, reference="job:1")
        assert ledger.reservable(acme, at_least_micros=0, at_most_micros=10) == 6
    assert money_of(acme) == (10, 4)
    with pytest.raises(PaymentRequired):
        ledger.reservable(acme, at_least_micros=7, at_most_micros=7)
    assert money_of(acme) == (10, 4)
