from datetime import UTC, date, datetime

import pytest
import time_machine
from pytest_django import DjangoAssertNumQueries

from accounts import api_keys
from accounts.models import ApiKey, Organization
from billing import ledger, usage
from billing.models import Wallet
from billing.usage import Amounts, KeyLabel
from tests.billing.charges import charge, charge_chat
from tests.billing.conftest import fund

FIRST, LAST = date(2026, 4, 1), date(2026, 4, 30)


def at(day: int, hour: int = 12, minute: int = 0, month: int = 4) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


def key_of(organization: Organization, name: str) -> ApiKey:
    return api_keys.issue(organization, name=name, by=None)[0]


def test_who_never_had_money_used_nothing_and_gets_no_wallet(acme: Organization) -> None:
    found = usage.report(acme, since=FIRST, until=LAST)
    assert found.total == Amounts()
    assert len(found.by_day) == 30
    assert (found.by_model, found.by_key) == ({}, {})
    assert not Wallet.objects.exists()


def test_transcriptions_and_completions_are_summed_by_day_model_and_key(acme: Organization) -> None:
    fund(acme, 1_000_000)
    key = key_of(acme, "production")
    charge(acme, 500, at=at(3), key=key, model="standard", duration_ms=6_000)
    charge(acme, 700, at=at(3, 23, 59), model="premium", duration_ms=4_000)
    charge_chat(acme, 90, at=at(5), key=key, prompt_tokens=120, completion_tokens=30)
    found = usage.report(acme, since=FIRST, until=LAST)
    assert found.total == Amounts(
        charges_count=3, cost_micros=1_290, audio_ms=10_000, prompt_tokens=120, completion_tokens=30
    )
    assert found.by_day[date(2026, 4, 3)] == Amounts(charges_count=2, cost_micros=1_200, audio_ms=10_000)
    assert found.by_day[date(2026, 4, 4)] == Amounts()
    costs = usage.cost_by_day(acme, since=FIRST, until=LAST)
    assert costs == {day: amounts.cost_micros for day, amounts in found.by_day.items()}
    assert {model: amounts.cost_micros for model, amounts in found.by_model.items()} == {
        "premium": 700,
        "standard": 500,
        "apex-latest": 90,
    }
    assert list(found.by_model) == ["premium", "standard", "apex-latest"]
    assert {label.name: amounts.cost_micros for label, amounts in found.by_key.items()} == {
        "In the browser": 700,
        "production": 590,
    }
    assert found.by_model["apex-latest"].tokens == 150


def test_every_group_sums_to_the_total(acme: Organization) -> None:
    fund(acme, 1_000_000)
    keys = [key_of(acme, name) for name in "abc"]
    for number in range(12):
        charge(acme, 10 + number, at=at(1 + number), key=keys[number % 3], model="xyz"[number % 2])
    found = usage.report(acme, since=FIRST, until=LAST)
    for groups in (found.by_day, found.by_model, found.by_key):
        assert sum(groups.values(), Amounts()) == found.total


def test_first_and_last_day_are_whole_days_in_utc(acme: Organization) -> None:
    fund(acme, 1_000_000)
    charge(acme, 1, at=at(31, 23, 59, month=3))
    charge(acme, 2, at=at(1, 0, 0))
    charge(acme, 4, at=at(30, 23, 59))
    charge(acme, 8, at=at(1, 0, 0, month=5))
    assert usage.report(acme, since=FIRST, until=LAST).total.cost_micros == 6


def test_payments_and_credits_are_no_usage(acme: Organization) -> None:
    fund(acme, 1_000_000)
    today = date.today()
    assert usage.report(acme, since=today, until=today).total == Amounts()


def test_other_organizations_charges_and_key_names_stay_theirs(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    theirs = key_of(rival, "secret project")
    charge(rival, 7, at=at(3), key=theirs)
    charge(acme, 5, at=at(3))
    found = usage.report(acme, since=FIRST, until=LAST)
    assert found.total.cost_micros == 5
    # Even if an entry names a key of another organization by mistake.
    charge_with_foreign_key(acme, theirs)
    names = {label.name for label in usage.report(acme, since=FIRST, until=LAST).by_key}
    assert names == {"In the browser", "A key of the past"}


def charge_with_foreign_key(organization: Organization, key: ApiKey) -> None:
    with time_machine.travel(at(4), tick=False):
        hold = ledger.reserve(organization, amount_micros=3, reference="job:foreign")
        ledger.settle(hold, actual_micros=3, details={"api_key_id": str(key.pk), "model": "standard"})


def test_revoked_key_keeps_its_name(acme: Organization) -> None:
    fund(acme, 1_000)
    key = key_of(acme, "old")
    charge(acme, 5, at=at(3), key=key)
    api_keys.revoke(acme, key_id=key.pk)
    label = KeyLabel(key_id=key.pk, name="old", prefix=key.prefix)
    assert usage.report(acme, since=FIRST, until=LAST).by_key == {
        label: Amounts(charges_count=1, cost_micros=5, audio_ms=60_000)
    }


def test_entry_without_any_details_counts_as_other_and_browser(acme: Organization) -> None:
    fund(acme, 1_000)
    with time_machine.travel(at(4), tick=False):
        ledger.settle(ledger.reserve(acme, amount_micros=3, reference="job:bare"), actual_micros=3)
    found = usage.report(acme, since=FIRST, until=LAST)
    assert found.by_model == {"": Amounts(charges_count=1, cost_micros=3)}
    assert list(found.by_key) == [usage.BROWSER]


def test_one_month_takes_three_queries_however_many_charges(
    acme: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    fund(acme, 1_000)
    for number in range(5):
        charge(acme, 5, at=at(3 + number), key=key_of(acme, f"key {number}"))
    with django_assert_num_queries(3):
        usage.report(acme, since=FIRST, until=LAST)


@pytest.mark.parametrize("days", [1, 366])
def test_period_may_be_a_day_or_a_year(acme: Organization, days: int) -> None:
    until = date.fromordinal(FIRST.toordinal() + days - 1)
    assert len(usage.report(acme, since=FIRST, until=until).by_day) == days
