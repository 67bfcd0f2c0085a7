"""Usage by any groups: the lines add up to the ledger, to the micro, and show nothing of others."""

from datetime import UTC, date, datetime
from itertools import combinations
from typing import Any

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts import api_keys
from accounts.models import ApiKey, Organization
from billing import usage
from billing.models import Entry, EntryKind
from billing.usage import Amounts, Only
from tests.billing.charges import charge, charge_chat
from tests.billing.conftest import fund

FIRST, LAST = date(2026, 4, 1), date(2026, 4, 30)
HOSTILE_NAMES = ["customer", "1", "0", '"', "$.a", "a.b", "[0]", "'; --", "%", "東京"]
CHARGES = st.lists(
    st.fixed_dictionaries(
        {
            "micros": st.integers(1, 10_000),
            "day": st.integers(1, 30),
            "is_chat": st.booleans(),
            "key": st.sampled_from([None, 0, 1]),
            "model": st.sampled_from(["standard", "premium"]),
            "tags": st.dictionaries(
                st.sampled_from(HOSTILE_NAMES), st.sampled_from(["a", "b", "null", "A"]), max_size=3
            ),
        }
    ),
    max_size=12,
)


def at(day: int) -> datetime:
    return datetime(2026, 4, day, 12, tzinfo=UTC)


def lines(organization: Organization, *group_by: str, **only: Any) -> list[usage.Line]:
    return usage.lines(organization, since=FIRST, until=LAST, group_by=group_by, only=Only(**only))


def costs(found: list[usage.Line]) -> dict[Any, int]:
    """Cost by the only group, of lines with one."""
    return {next(iter(line.group.values())): line.amounts.cost_micros for line in found}


@pytest.fixture
def keys(acme: Organization) -> list[ApiKey]:
    return [api_keys.issue(acme, name=f"key {number}", by=None)[0] for number in range(2)]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(charges=CHARGES, tag=st.sampled_from(HOSTILE_NAMES))
def test_lines_of_all_groups_add_up_to_the_ledger(
    acme: Organization, rival: Organization, keys: list[ApiKey], charges: list[dict[str, Any]], tag: str
) -> None:
    before = _ledger_sum(acme)
    fund(acme, 1_000_000)
    fund(rival, 1_000_000)
    charge(rival, 7, at=at(3), tags={tag: "a"})
    for one in charges:
        key = None if one["key"] is None else keys[one["key"]]
        if one["is_chat"]:
            charge_chat(acme, one["micros"], at=at(one["day"]), key=key, prompt_tokens=3)
        else:
            charge(acme, one["micros"], at=at(one["day"]), key=key, model=one["model"], tags=one["tags"])
    total = _ledger_sum(acme)
    assert total - before == sum(one["micros"] for one in charges)
    for count in range(1, len(usage.GROUPS) + 1):
        for group_by in combinations(usage.GROUPS, count):
            found = lines(acme, *group_by, tag=tag)
            assert sum(line.amounts.cost_micros for line in found) == total, group_by
    with_tag = sum(one["micros"] for one in charges if not one["is_chat"] and tag in one["tags"])
    found = costs(lines(acme, "tag", tag=tag))
    assert sum(micros for value, micros in found.items() if value is not None) >= with_tag
    assert usage.report(acme, since=FIRST, until=LAST).total.cost_micros == total


def _ledger_sum(organization: Organization) -> int:
    entries = Entry.objects.of(organization).filter(
        kind=EntryKind.USAGE,
        created_at__gte=datetime(2026, 4, 1, tzinfo=UTC),
        created_at__lt=datetime(2026, 5, 1, tzinfo=UTC),
    )
    return -(entries.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


@pytest.fixture
def charged(acme: Organization) -> Organization:
    fund(acme, 1_000_000)
    key, _ = api_keys.issue(acme, name="production", by=None)
    charge(acme, 500, at=at(3), key=key, tags={"customer": "a", "team": "x"})
    charge(acme, 300, at=at(3), model="premium", tags={"customer": "b"})
    charge(acme, 20, at=at(4), tags={"team": "x"})
    charge_chat(acme, 9, at=at(5), key=key, prompt_tokens=12)
    return acme


def test_charge_with_several_tags_counts_once_in_each_report(charged: Organization) -> None:
    assert costs(lines(charged, "tag", tag="customer")) == {"a": 500, "b": 300, None: 29}
    assert costs(lines(charged, "tag", tag="team")) == {"x": 520, None: 309}
    assert costs(lines(charged, "tag", tag="unheard of")) == {None: 829}


def test_kinds_of_work(charged: Organization) -> None:
    assert costs(lines(charged, "kind")) == {"transcription": 820, "chat": 9}
    assert costs(lines(charged, "model", kind="chat")) == {"apex-latest": 9}
    assert lines(charged, "model", kind="other") == []


def test_filters_narrow_each_report(charged: Organization) -> None:
    assert costs(lines(charged, "day", tag="team", tag_value="x")) == {date(2026, 4, 3): 500, date(2026, 4, 4): 20}
    assert costs(lines(charged, "tag", tag="customer", model="premium")) == {"b": 300}
    assert costs(lines(charged, "kind", is_without_key=True)) == {"transcription": 320}
    (key,) = [label for label in costs(lines(charged, "key")) if label.key_id]
    assert costs(lines(charged, "kind", api_key_id=key.key_id)) == {"transcription": 500, "chat": 9}


def test_several_groups_are_crossed(charged: Organization) -> None:
    found = lines(charged, "tag", "model", tag="team")
    assert [(line.group["tag"], line.group["model"], line.amounts.cost_micros) for line in found] == [
        ("x", "standard", 520),
        (None, "premium", 300),
        (None, "apex-latest", 9),
    ]


def test_names_of_tags_are_those_of_the_period_and_the_organization(charged: Organization, rival: Organization) -> None:
    fund(rival, 1_000)
    charge(rival, 1, at=at(3), tags={"secret": "x"})
    charge(charged, 1, at=datetime(2026, 5, 1, tzinfo=UTC), tags={"later": "x"})
    assert usage.tag_names(charged, since=FIRST, until=LAST) == ["customer", "team"]


def test_stranger_sees_no_charge_by_the_tags_of_another(charged: Organization, rival: Organization) -> None:
    assert lines(rival, "tag", tag="customer") == []
    assert lines(rival, "day", tag="customer", tag_value="a") == []


def test_organization_without_a_wallet_used_nothing(acme: Organization) -> None:
    assert lines(acme, "day", "model", "key", "tag", "kind", tag="x") == []
    assert usage.tag_names(acme, since=FIRST, until=LAST) == []
    assert usage.report(acme, since=FIRST, until=LAST).total == Amounts()
