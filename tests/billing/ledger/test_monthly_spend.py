"""Monthly limits: exact, per key and per organization, and counted by the hold's month."""

from datetime import UTC, datetime

import pytest
import time_machine

from accounts import api_keys
from accounts.errors import InvalidField, PaymentRequired
from accounts.models import ApiKey, Organization
from billing import ledger
from billing.models import EntryKind, Hold, MonthlySpend
from tests.billing.conftest import fund, money_of


@pytest.fixture
def key(acme: Organization) -> ApiKey:
    fund(acme, 1_000)
    return api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=100)[0]


def refused(organization: Organization, amount: int, key: ApiKey | None = None) -> ledger.SpendLimitReached:
    with pytest.raises(ledger.SpendLimitReached) as caught:
        ledger.reserve(organization, amount_micros=amount, reference="refused", api_key=key)
    assert not Hold.objects.filter(reference="refused").exists()
    return caught.value


def reserve(organization: Organization, amount: int, key: ApiKey | None = None) -> Hold:
    reference = f"job:{Hold.objects.count()}"
    return ledger.reserve(organization, amount_micros=amount, reference=reference, api_key=key)


@time_machine.travel(datetime(2026, 11, 20, 12, tzinfo=UTC), tick=False)
def test_key_is_stopped_at_its_limit_and_told_what_is_left_and_until_when(acme: Organization, key: ApiKey) -> None:
    reserve(acme, 70, key)
    error = refused(acme, 31, key)
    assert isinstance(error, PaymentRequired)
    assert (error.http_status, error.type) == (402, "spend_limit_reached")
    assert error.data == {
        "limit": "key",
        "limit_micros": 100,
        "left_micros": 30,
        "left_cents": 0,
        "resets_at": "2026-12-01 00:00:00",
        "required_micros": 31,
        "required_cents": 1,
    }
    assert error.message == (
        "This needs $0.000031, and $0.00003 is left of this API key's monthly limit of $0.0001. "
        "It resets on 2026-12-01 (UTC)."
    )
    reserve(acme, 30, key)
    assert money_of(acme) == (1_000, 100)


def test_key_without_a_limit_and_people_are_not_stopped_by_another_keys(acme: Organization, key: ApiKey) -> None:
    free, _ = api_keys.issue(acme, name="free", by=None)
    reserve(acme, 100, key)
    reserve(acme, 400, free)
    reserve(acme, 400)
    refused(acme, 1, key)


def test_organization_is_stopped_whoever_spends(acme: Organization, key: ApiKey) -> None:
    ledger.set_monthly_limit(acme, limit_micros=150)
    reserve(acme, 80, key)
    reserve(acme, 60)
    error = refused(acme, 11, key)
    assert (error.data["limit"], error.data["left_micros"]) == ("organization", 10)
    refused(acme, 11)
    reserve(acme, 10, key)
    ledger.set_monthly_limit(acme, limit_micros=None)
    reserve(acme, 500)
    assert money_of(acme) == (1_000, 650)


def test_want_of_money_is_told_before_want_of_a_limit(acme: Organization, key: ApiKey) -> None:
    with pytest.raises(PaymentRequired) as caught:
        reserve(acme, 1_001, key)
    assert caught.value.type == "insufficient_balance"


def test_what_was_given_back_does_not_count(acme: Organization, key: ApiKey) -> None:
    ledger.release(reserve(acme, 100, key))
    hold = reserve(acme, 100, key)
    ledger.settle(hold, actual_micros=40)
    assert refused(acme, 61, key).data["left_micros"] == 60
    reserve(acme, 60, key)
    assert money_of(acme) == (960, 60)


def test_refund_gives_no_limit_back(acme: Organization, key: ApiKey) -> None:
    ledger.settle(reserve(acme, 100, key), actual_micros=100)
    ledger.claw_back(acme, amount_micros=50, kind=EntryKind.REFUND, reference="refund:1")
    ledger.restore(acme, kind=EntryKind.REFUND, reference="refund:1")
    assert refused(acme, 1, key).data["left_micros"] == 0


def test_extension_is_within_the_limit(acme: Organization, key: ApiKey) -> None:
    hold = reserve(acme, 70, key)
    with pytest.raises(ledger.SpendLimitReached):
        ledger.extend(hold, to_micros=101)
    assert ledger.extend_as_far_as_possible(hold, to_micros=120).amount_micros == 100
    refused(acme, 1, key)
    assert money_of(acme) == (1_000, 100)


def test_month_begins_anew_and_a_hold_counts_for_its_own(acme: Organization, key: ApiKey) -> None:
    with time_machine.travel(datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC), tick=False):
        old = reserve(acme, 80, key)
    with time_machine.travel(datetime(2026, 12, 1, tzinfo=UTC), tick=False):
        new = reserve(acme, 100, key)
        refused(acme, 1, key)
        assert ledger.extend_as_far_as_possible(old, to_micros=500).amount_micros == 100
        ledger.settle(old, actual_micros=90)
        ledger.settle(new, actual_micros=100)
    assert money_of(acme) == (810, 0)
    counts = MonthlySpend.objects.filter(api_key=key).values_list("month", "spent_micros")
    assert {f"{month:%Y-%m}": spent for month, spent in counts} == {"2026-11": 90, "2026-12": 100}


def test_limit_set_below_what_is_spent_stops_all_and_one_set_later_counts_the_whole_month(
    acme: Organization, key: ApiKey
) -> None:
    reserve(acme, 60)
    ledger.set_monthly_limit(acme, limit_micros=50)
    assert refused(acme, 1).data["left_micros"] == 0
    ledger.set_monthly_limit(acme, limit_micros=0)
    refused(acme, 1)
    assert reserve(acme, 0).is_open
    ledger.set_monthly_limit(acme, limit_micros=61)
    reserve(acme, 1)


def test_changed_limit_of_a_key_rules_at_once_whatever_the_caller_has_read(acme: Organization, key: ApiKey) -> None:
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=10)
    refused(acme, 11, key)
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=None)
    reserve(acme, 900, key)


def test_limit_of_nothing_lets_a_key_do_what_is_free_and_says_that_waiting_does_not_help(
    acme: Organization, key: ApiKey
) -> None:
    api_keys.set_monthly_limit(acme, key_id=key.pk, limit_micros=0)
    error = refused(acme, 1, key)
    assert (error.data["limit"], error.data["limit_micros"], error.data["left_micros"]) == ("key", 0, 0)
    assert "this API key may spend nothing: its monthly limit is $0.00" in error.message
    assert "resets on" not in error.message.lower()
    assert reserve(acme, 0, key).is_open
    assert reserve(acme, 1).is_open


def test_negative_limit_is_refused(acme: Organization) -> None:
    with pytest.raises(InvalidField):
        ledger.set_monthly_limit(acme, limit_micros=-1)


def test_key_of_another_organization_is_refused(acme: Organization, rival: Organization, key: ApiKey) -> None:
    with pytest.raises(ValueError, match="another organization"):
        ledger.reserve(rival, amount_micros=0, reference="job:1", api_key=key)


def test_charge_names_the_key(acme: Organization, key: ApiKey) -> None:
    entry = ledger.settle(reserve(acme, 10, key), actual_micros=10, details={"model": "standard"})
    assert entry is not None
    assert entry.details == {"model": "standard", "api_key_id": str(key.pk)}


# --- reserve_up_to ---------------------------------------------------------------------------------------------------


def up_to(organization: Organization, at_least: int, at_most: int, key: ApiKey | None = None) -> int:
    hold = ledger.reserve_up_to(
        organization,
        at_least_micros=at_least,
        at_most_micros=at_most,
        reference=f"chat:{Hold.objects.count()}",
        api_key=key,
    )
    return hold.amount_micros


def test_reserve_up_to_takes_the_most_that_money_and_limits_allow(acme: Organization, key: ApiKey) -> None:
    assert up_to(acme, 1, 50, key) == 50
    assert up_to(acme, 1, 80, key) == 50
    ledger.set_monthly_limit(acme, limit_micros=400)
    assert up_to(acme, 1, 500) == 300
    ledger.set_monthly_limit(acme, limit_micros=None)
    assert up_to(acme, 1, 5_000) == 600
    assert money_of(acme) == (1_000, 1_000)


def test_reserve_up_to_names_what_is_missing_to_the_least(acme: Organization, key: ApiKey) -> None:
    with pytest.raises(PaymentRequired) as caught:
        up_to(acme, 1_003, 2_000)
    assert (caught.value.data["required_micros"], caught.value.data["available_micros"]) == (1_003, 1_000)
    with pytest.raises(ledger.SpendLimitReached) as limited:
        up_to(acme, 101, 2_000, key)
    assert limited.value.data["left_micros"] == 100
    with pytest.raises(ValueError, match="crossed"):
        up_to(acme, 2, 1)


def test_reserve_up_to_again_returns_the_same_hold(acme: Organization, key: ApiKey) -> None:
    fields = {"at_least_micros": 10, "at_most_micros": 2_000, "reference": "chat:1"}
    hold = ledger.reserve_up_to(acme, **fields)
    assert ledger.reserve_up_to(acme, **fields) == hold
    assert money_of(acme) == (1_000, 1_000)
