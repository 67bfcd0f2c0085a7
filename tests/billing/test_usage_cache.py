"""Sums of past months are kept once they were computed, and are the same as if they were computed again."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Organization
from billing import usage, usage_cache
from billing.models import Entry
from tests.billing.append_only import triggers_suspended
from tests.billing.charges import charge, charge_many
from tests.billing.conftest import fund

TODAY = date(2026, 11, 15)
DAYS = st.dates(date(2026, 6, 20), date(2026, 11, 20))


# Of these tests, in which a day has one charge.
FEW = usage_cache.Bounds(min_charges=1)
# What is kept in production.
MANY = usage_cache.BOUNDS.min_charges


class Computed:
    """One charge a day. Keeps which periods were asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[date, date]] = []

    def __call__(self, since: date, until: date) -> list[dict[str, Any]]:
        self.asked.append((since, until))
        days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
        return [{"day": day, "month": day.replace(day=1), "count": 1} for day in days]

    def newest(self, stretches: Sequence[usage_cache.Stretch]) -> list[datetime | None]:
        return [datetime.combine(last, time.max, tzinfo=UTC) for _, last in stretches]

    def days(
        self,
        since: date,
        until: date,
        *,
        name: str,
        bounds: usage_cache.Bounds = FEW,
        version: int = usage_cache.VERSION,
    ) -> list[date]:
        found = usage_cache.rows(
            since,
            until,
            today=TODAY,
            name=name,
            compute=self,
            newest=self.newest,
            bounds=bounds,
            version=version,
        )
        return sorted(row["day"] for row in found)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(periods=st.lists(st.tuples(DAYS, DAYS).map(sorted), min_size=1, max_size=5), name=st.uuids().map(str))
def test_every_day_of_a_period_is_counted_once_whatever_was_kept(periods: list[list[date]], name: str) -> None:
    computed = Computed()
    for since, until in periods:
        whole = [since + timedelta(days=number) for number in range((until - since).days + 1)]
        assert computed.days(since, until, name=name) == whole


def test_only_days_outside_of_whole_months_are_computed_again() -> None:
    computed = Computed()
    for _ in range(2):
        computed.days(date(2026, 8, 20), TODAY, name="acme")
    assert computed.asked == [
        (date(2026, 8, 20), date(2026, 11, 13)),
        (date(2026, 11, 14), TODAY),
        (date(2026, 8, 20), date(2026, 8, 31)),
        (date(2026, 11, 14), TODAY),
    ]
    # A longer period needs only what is new.
    computed.days(date(2026, 7, 1), TODAY, name="acme")
    assert computed.asked[4:] == [(date(2026, 7, 1), date(2026, 8, 31)), (date(2026, 11, 14), TODAY)]
    computed.days(date(2026, 8, 20), TODAY, name="rival")
    assert computed.asked[6] == (date(2026, 8, 20), date(2026, 11, 13))


@pytest.mark.parametrize(
    ("since", "until"),
    [
        (date(2026, 9, 2), date(2026, 9, 30)),
        (date(2026, 9, 1), date(2026, 9, 29)),
        (date(2026, 9, 9), date(2026, 10, 9)),
        (date(2026, 11, 1), date(2026, 11, 12)),
    ],
)
def test_days_that_a_customer_chooses_keep_nothing(since: date, until: date) -> None:
    computed = Computed()
    for _ in range(2):
        computed.days(since, until, name="acme")
    assert computed.asked == [(since, until)] * 2


def test_large_sums_are_not_kept() -> None:
    computed = Computed()
    small = usage_cache.Bounds(min_charges=1, max_bytes=500)
    for _ in range(2):
        computed.days(date(2026, 9, 1), date(2026, 9, 30), name="acme", bounds=small)
    assert len(computed.asked) == 2


def test_sums_of_another_version_are_computed_again() -> None:
    computed = Computed()
    for version in (1, 2, 2):
        computed.days(date(2026, 9, 1), date(2026, 9, 30), name="acme", version=version)
    assert len(computed.asked) == 2


def test_few_charges_are_not_kept() -> None:
    computed = Computed()
    for _ in range(2):
        computed.days(date(2026, 9, 1), TODAY, name="acme", bounds=usage_cache.BOUNDS)
    assert len(computed.asked) == 4


@pytest.mark.long
@pytest.mark.parametrize("group_by", [("day",), ("model", "key"), ("day", "model", "key"), ("kind",)])
def test_report_of_a_year_is_the_same_from_the_cache_and_has_the_charges_of_today(
    acme: Organization, rival: Organization, group_by: tuple[str, ...]
) -> None:
    fund(acme, 1_000_000)
    fund(rival, 1_000_000)
    for month in range(1, 12):
        with time_machine.travel(datetime(2026, month, 5, 12, tzinfo=UTC)):
            charge(acme, 10 * month, model="standard" if month % 2 else "premium")
            charge(rival, 7)
    for month, model in ((3, "standard"), (4, "premium")):
        charge_many(acme, MANY, at=datetime(2026, month, 6, 12, tzinfo=UTC), model=model)

    def total(organization: Organization, **only: Any) -> int:
        found = usage.lines(
            organization, since=date(2026, 1, 1), until=TODAY, group_by=group_by, only=usage.Only(**only)
        )
        return sum(line.amounts.cost_micros for line in found)

    with time_machine.travel(datetime(2026, 11, 15, 12, tzinfo=UTC)):
        assert [total(acme) for _ in range(2)] == [660 + 2 * MANY] * 2
        charge(acme, 5)
        with CaptureQueriesContext(connection) as captured:
            assert total(acme) == 665 + 2 * MANY
        (live,) = (query["sql"] for query in captured if "SUM(" in query["sql"])
        assert "2026-11-14" in live
        assert "2026-01-01" not in live
        assert total(rival) == 77
        assert total(acme, model="premium") == 300 + MANY
        assert total(acme, model="standard") == 365 + MANY


def test_restored_database_shows_its_own_sums(acme: Organization) -> None:
    fund(acme, 1_000_000)
    for day in (5, 25):
        with time_machine.travel(datetime(2026, 7, day, 12, tzinfo=UTC)):
            charge(acme, day)
    charge_many(acme, MANY, at=datetime(2026, 7, 4, 12, tzinfo=UTC))

    def total() -> int:
        found = usage.lines(acme, since=date(2026, 7, 1), until=date(2026, 8, 31), group_by=("model",))
        return sum(line.amounts.cost_micros for line in found)

    with time_machine.travel(datetime(2026, 11, 15, 12, tzinfo=UTC)):
        assert total() == 30 + MANY
        # As from a backup of 20 July.
        with triggers_suspended():
            Entry.objects.filter(created_at__date=date(2026, 7, 25)).delete()
        assert total() == 5 + MANY


def test_order_of_the_groups_does_not_matter(acme: Organization) -> None:
    fund(acme, 1_000_000)
    with time_machine.travel(datetime(2026, 7, 5, 12, tzinfo=UTC)):
        charge(acme, 5)
    charge_many(acme, MANY, at=datetime(2026, 7, 5, 12, tzinfo=UTC))
    with time_machine.travel(datetime(2026, 11, 15, 12, tzinfo=UTC)):
        with CaptureQueriesContext(connection) as captured:
            first, second = (
                usage.lines(acme, since=date(2026, 7, 1), until=date(2026, 7, 31), group_by=group_by)
                for group_by in (("kind", "model"), ("model", "kind"))
            )
        assert [dict(line.group) for line in first] == [dict(line.group) for line in second]
        assert len([query for query in captured if "SUM(" in query["sql"]]) == 1
