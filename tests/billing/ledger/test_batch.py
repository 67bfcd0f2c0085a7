"""Holds and charges in batches: each has the effect that it would have alone."""

from datetime import UTC, datetime

import pytest
import time_machine
from django.db import transaction

from accounts import api_keys
from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing import ledger
from billing.models import Entry, Hold, HoldState, MonthlySpend, Wallet
from tests.billing.conftest import fund, money_of


@pytest.fixture
def key(acme: Organization) -> ApiKey:
    fund(acme, 1_000)
    key = api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=500)[0]
    # Makes the month's rows, without which the fast path is not available.
    ledger.release(ledger.reserve(acme, amount_micros=0, reference="first", api_key=key))
    return key


def wanted(*amounts: int, least: int | None = None) -> list[ledger.HoldRequest]:
    return [
        ledger.HoldRequest(amount if least is None else least, amount, f"chat:{number}")
        for number, amount in enumerate(amounts)
    ]


def holds_of(results: list[Hold | ledger.Refusal]) -> list[Hold]:
    assert all(isinstance(result, Hold) for result in results)
    return [result for result in results if isinstance(result, Hold)]


def amounts_of(results: list[Hold | ledger.Refusal]) -> list[int]:
    return [hold.amount_micros for hold in holds_of(results)]


def spent() -> list[int]:
    return sorted(MonthlySpend.objects.values_list("spent_micros", flat=True))


# --- reserve_each ----------------------------------------------------------------------------------------------------


def test_reserve_each_counts_the_sum_once_and_gives_each_its_own_hold(acme: Organization, key: ApiKey) -> None:
    results = ledger.reserve_each(acme, wanted(10, 20, 30), api_key=key)
    assert amounts_of(results) == [10, 20, 30]
    assert [hold.pk for hold in holds_of(results)] == [
        Hold.objects.get(reference=f"chat:{number}").pk for number in range(3)
    ]
    assert (money_of(acme), spent()) == ((1_000, 60), [60, 60])


def test_reserve_each_admits_exactly_what_the_money_covers(acme: Organization, key: ApiKey) -> None:
    results = ledger.reserve_each(acme, wanted(400, 400, 400, 200))
    refusal = results[2]
    assert isinstance(refusal, PaymentRequired)
    assert refusal.data["available_micros"] == 200
    assert amounts_of([*results[:2], results[3]]) == [400, 400, 200]
    assert money_of(acme) == (1_000, 1_000)


def test_reserve_each_stops_at_the_limit_of_the_key(acme: Organization, key: ApiKey) -> None:
    results = ledger.reserve_each(acme, wanted(300, 200, 1), api_key=key)
    assert amounts_of(results[:2]) == [300, 200]
    assert isinstance(results[2], ledger.SpendLimitReached)
    assert (money_of(acme), spent()) == ((1_000, 500), [500, 500])


def test_reserve_each_stops_at_the_limit_of_the_organization(acme: Organization, key: ApiKey) -> None:
    ledger.set_monthly_limit(acme, limit_micros=30)
    results = ledger.reserve_each(acme, wanted(20, 20, 10), api_key=key)
    assert [isinstance(result, Hold) for result in results] == [True, False, True]
    assert (money_of(acme), spent()) == ((1_000, 30), [30, 30])


def test_reserve_each_gives_what_is_left_to_those_that_take_less(acme: Organization, key: ApiKey) -> None:
    assert amounts_of(ledger.reserve_each(acme, wanted(400, 400, least=1), api_key=key)) == [400, 100]


def test_reserve_each_makes_one_hold_of_a_reference_that_comes_twice(acme: Organization, key: ApiKey) -> None:
    one, again = holds_of(ledger.reserve_each(acme, wanted(10) + wanted(10), api_key=key))
    assert one == again
    assert (money_of(acme), spent()) == ((1_000, 10), [10, 10])


def test_reserve_each_again_gives_the_same_holds(acme: Organization, key: ApiKey) -> None:
    first = ledger.reserve_each(acme, wanted(10, 20), api_key=key)
    assert ledger.reserve_each(acme, wanted(10, 20), api_key=key) == first
    assert money_of(acme) == (1_000, 30)


def test_reserve_each_refuses_one_whose_reference_is_another_organizations_and_no_other(
    acme: Organization, key: ApiKey, rival: Organization
) -> None:
    fund(rival, 10)
    ledger.reserve(rival, amount_micros=10, reference="chat:0")
    stolen, own = ledger.reserve_each(acme, wanted(10, 20), api_key=key)
    assert isinstance(stolen, ledger.ReferenceReused)
    assert isinstance(own, Hold)
    assert (money_of(acme), money_of(rival)) == ((1_000, 20), (10, 10))


def test_reserve_each_refuses_what_makes_no_sense_before_anything_is_held(
    acme: Organization, key: ApiKey, rival: Organization
) -> None:
    fund(rival, 1_000)
    with pytest.raises(ValueError, match="another organization"):
        ledger.reserve_each(rival, wanted(10, 20), api_key=key)
    with pytest.raises(ValueError, match="negative"):
        ledger.reserve_each(acme, [*wanted(10), ledger.HoldRequest(-1, 5, "chat:1")])
    assert ledger.reserve_each(acme, []) == []
    assert (money_of(acme), money_of(rival)) == ((1_000, 0), (1_000, 0))


def test_reserve_each_admits_nothing_for_a_frozen_wallet(acme: Organization, key: ApiKey) -> None:
    ledger.freeze(acme, reason="operator")
    assert all(isinstance(result, ledger.WalletFrozen) for result in ledger.reserve_each(acme, wanted(1, 1)))
    assert money_of(acme) == (1_000, 0)


def test_reserve_each_makes_a_first_wallet_and_month(rival: Organization) -> None:
    assert amounts_of(ledger.reserve_each(rival, wanted(0, 0))) == [0, 0]
    assert spent() == [0]


def test_reserve_each_says_that_little_is_left(acme: Organization, key: ApiKey) -> None:
    ledger.set_low_balance(acme, threshold_micros=950)
    ledger.reserve_each(acme, wanted(20, 30))
    assert Wallet.objects.of(acme).get().low_since is None
    ledger.reserve_each(acme, [ledger.HoldRequest(1, 1, "more:1"), ledger.HoldRequest(1, 1, "more:2")])
    assert Wallet.objects.of(acme).get().low_since is not None


def test_reserve_each_is_undone_with_the_transaction_around_it(acme: Organization, key: ApiKey) -> None:
    with transaction.atomic():
        ledger.reserve_each(acme, wanted(10, 20), api_key=key)
        transaction.set_rollback(True)
    assert (money_of(acme), spent()) == ((1_000, 0), [0, 0])


# --- settle_each -----------------------------------------------------------------------------------------------------


def test_settle_each_writes_a_line_for_each_in_their_order(acme: Organization, key: ApiKey) -> None:
    first, second = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    entries = ledger.settle_each(
        [ledger.Charge(second, 150, "Second", {"model": "apex-1"}), ledger.Charge(first, 100, "First")]
    )
    assert [entry.balance_after_micros for entry in entries if isinstance(entry, Entry)] == [850, 750]
    book = Entry.objects.of(acme).newest_first()[:2]
    assert [(entry.reference, entry.amount_micros, entry.description) for entry in book] == [
        ("chat:0", -100, "First"),
        ("chat:1", -150, "Second"),
    ]
    assert list(book) == [entries[1], entries[0]]
    assert book[1].details == {"model": "apex-1", "api_key_id": str(key.pk)}
    assert [(hold.state, hold.charged_micros) for hold in (first, second)] == [
        (HoldState.SETTLED, 100),
        (HoldState.SETTLED, 150),
    ]
    assert (money_of(acme), spent()) == ((750, 0), [250, 250])


def test_settle_each_charges_a_hold_that_comes_twice_once(acme: Organization, key: ApiKey) -> None:
    first, second = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    again = Hold.objects.get(pk=first.pk)
    results = ledger.settle_each([ledger.Charge(first, 100), ledger.Charge(second, 200), ledger.Charge(again, 100)])
    assert [type(result) for result in results] == [Entry, Entry, ledger.HoldSettled]
    assert money_of(acme) == (700, 0)


def test_settle_each_again_charges_nothing(acme: Organization, key: ApiKey) -> None:
    holds = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    stale = [Hold.objects.get(pk=hold.pk) for hold in holds]
    ledger.settle_each([ledger.Charge(hold, 50) for hold in holds])
    results = ledger.settle_each([ledger.Charge(hold, 50) for hold in stale])
    assert [type(result) for result in results] == [ledger.HoldSettled, ledger.HoldSettled]
    assert (money_of(acme), spent()) == ((900, 0), [100, 100])


def test_settle_each_ends_the_others_beside_one_that_was_given_back(acme: Organization, key: ApiKey) -> None:
    lost, kept = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    ledger.release(Hold.objects.get(pk=lost.pk))
    # Enough else is held that no constraint of the wallet notices the released hold.
    ledger.reserve(acme, amount_micros=300, reference="other")
    results = ledger.settle_each([ledger.Charge(lost, 100), ledger.Charge(kept, 200)])
    assert [type(result) for result in results] == [ledger.HoldReleased, Entry]
    assert money_of(acme) == (800, 300)


def test_settle_each_does_not_trust_an_amount_that_was_read_before(acme: Organization, key: ApiKey) -> None:
    first, second = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    ledger.extend(Hold.objects.get(pk=first.pk), to_micros=150)
    ledger.settle_each([ledger.Charge(first, 100), ledger.Charge(second, 200)])
    assert (money_of(acme), spent()) == ((700, 0), [300, 300])


def test_settle_each_charges_more_than_the_hold_as_far_as_the_balance_bears(acme: Organization, key: ApiKey) -> None:
    first, second = holds_of(ledger.reserve_each(acme, wanted(100, 200)))
    results = ledger.settle_each([ledger.Charge(first, 5_000), ledger.Charge(second, 0)])
    assert isinstance(results[0], Entry)
    assert (results[0].amount_micros, results[0].details) == (-800, {"uncut_micros": 5_000})
    assert results[1] is None
    assert money_of(acme) == (200, 0)
    assert Hold.objects.get(pk=second.pk).state == HoldState.RELEASED


def test_settle_each_gives_a_hold_back_when_nothing_can_be_charged(rival: Organization) -> None:
    (hold,) = holds_of(ledger.reserve_each(rival, wanted(0)))
    assert ledger.settle_each([ledger.Charge(hold, 10)]) == [None]
    assert Hold.objects.get(pk=hold.pk).state == HoldState.RELEASED


def test_settle_each_refuses_holds_of_two_organizations(acme: Organization, key: ApiKey, rival: Organization) -> None:
    fund(rival, 100)
    ours = ledger.reserve(acme, amount_micros=100, reference="ours")
    theirs = ledger.reserve(rival, amount_micros=100, reference="theirs")
    with pytest.raises(ValueError, match="one wallet"):
        ledger.settle_each([ledger.Charge(ours, 100), ledger.Charge(theirs, 100)])
    with pytest.raises(ValueError, match="negative"):
        ledger.settle_each([ledger.Charge(ours, 100), ledger.Charge(ours, -1)])
    assert (money_of(acme), money_of(rival)) == ((1_000, 100), (100, 100))


def test_settle_each_believes_no_hold_that_names_another_wallet(
    acme: Organization, key: ApiKey, rival: Organization
) -> None:
    fund(rival, 1_000)
    ledger.reserve(rival, amount_micros=500, reference="theirs")
    ours = ledger.reserve(acme, amount_micros=100, reference="ours")
    ours.wallet_id = Wallet.objects.of(rival).get().pk
    with pytest.raises(AssertionError, match="its wallet"):
        ledger.settle_each([ledger.Charge(ours, 100)])
    assert (money_of(acme), money_of(rival)) == ((1_000, 100), (1_000, 500))


def test_settle_each_counts_each_for_its_own_month_and_key(acme: Organization, key: ApiKey) -> None:
    with time_machine.travel(datetime(2026, 10, 31, 23, 59, tzinfo=UTC), tick=False):
        old = ledger.reserve(acme, amount_micros=100, reference="old", api_key=key)
    with time_machine.travel(datetime(2026, 11, 1, tzinfo=UTC), tick=False):
        new = ledger.reserve(acme, amount_micros=200, reference="new")
        ledger.settle_each([ledger.Charge(old, 10), ledger.Charge(new, 20)])
        assert money_of(acme) == (970, 0)


def test_settle_each_ends_what_runs_for_a_frozen_wallet(acme: Organization, key: ApiKey) -> None:
    holds = holds_of(ledger.reserve_each(acme, wanted(100, 200), api_key=key))
    ledger.freeze(acme, reason="operator")
    results = ledger.settle_each([ledger.Charge(hold, 50) for hold in holds])
    assert [type(result) for result in results] == [Entry, Entry]
    assert (money_of(acme), spent()) == ((900, 0), [100, 100])
