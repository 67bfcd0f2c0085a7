"""Tags: which metadata they are, how long they are kept, and that the ledger has nothing of them."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Organization
from billing import charge_tags, ledger, periodic
from billing.models import ChargeTag, Entry
from tests.billing.charges import charge
from tests.billing.conftest import fund


@pytest.mark.parametrize(
    ("metadata", "tags"),
    [
        ({"customer": "acme", "team": "x"}, {"customer": "acme", "team": "x"}),
        ({"a": "1" * 128, "b": "1" * 129}, {"a": "1" * 128}),
        ({"n" * 64: "x", "n" * 65: "y"}, {"n" * 64: "x"}),
        ({"": "x", "a": ""}, {}),
        ({"a": 1, "b": None, "c": True, "d": ["x"], "e": {"f": "g"}, "g": "h"}, {"g": "h"}),
        ({"1": "one", '"$.a"': "two", "a.b[0]": "three"}, {"1": "one", '"$.a"': "two", "a.b[0]": "three"}),
        ({"a": "x\0y", "b\0": "x", "c": "\ud800", "d": "two\nlines"}, {}),
        ({"naïve": "東京"}, {"naïve": "東京"}),
        *((odd, {}) for odd in (None, [], "text", 5, {})),
    ],
    ids=str,
)
def test_tags_are_the_short_texts_of_metadata(metadata: object, tags: dict[str, str]) -> None:
    assert charge_tags.tags_of(metadata) == tags


def test_at_most_sixteen_pairs_are_tags() -> None:
    many = {f"name{number}": "x" for number in range(50)}
    assert list(charge_tags.tags_of(many)) == [f"name{number}" for number in range(16)]


def test_ledger_has_nothing_of_the_tags(acme: Organization) -> None:
    fund(acme, 1_000)
    entry = charge(acme, 5, tags={"patient": "Jane Doe"})
    assert "Jane" not in str(Entry.objects.filter(pk=entry.pk).values().get())
    assert ChargeTag.objects.get().value == "Jane Doe"


def test_backlog_of_old_tags_is_gone_after_one_round(acme: Organization) -> None:
    """More are written in ten minutes than one DELETE takes."""
    fund(acme, 1_000)
    for number in range(7):
        charge(acme, 1, tags={f"name{number}": "x"})
    ChargeTag.objects.update(created_at=timezone.now() - timedelta(days=401))
    periodic.forget_tags(batch_size=2)
    assert not ChargeTag.objects.exists()


def test_forgotten_tags_leave_the_charge(acme: Organization) -> None:
    fund(acme, 1_000)
    entry, other = charge(acme, 5, tags={"a": "b"}), charge(acme, 6, tags={"a": "c"})
    charge_tags.forget(entry.reference)
    assert list(ChargeTag.objects.values_list("entry_id", flat=True)) == [other.pk]
    assert Entry.objects.filter(pk=entry.pk).exists()


def test_refusals_and_charges_of_nothing_have_no_tags(acme: Organization) -> None:
    charge_tags.record([(None, {"a": "b"}), (ledger.HoldReleased(), {"a": "b"})])
    assert not ChargeTag.objects.exists()


def test_tag_of_a_charge_has_one_value(acme: Organization) -> None:
    fund(acme, 1_000)
    entry = charge(acme, 5, tags={"a": "b"})
    with pytest.raises(IntegrityError), transaction.atomic():
        charge_tags.record([(entry, {"a": "c"})])


def test_clock_deletes_tags_after_their_time_and_no_others(acme: Organization) -> None:
    fund(acme, 1_000)
    now = timezone.now()
    for age, name in ((timedelta(days=401), "old"), (timedelta(days=399), "young")):
        charge(acme, 5, tags={"a": name})
        ChargeTag.objects.filter(value=name).update(created_at=now - age)
    periodic.forget_tags()
    assert list(ChargeTag.objects.values_list("value", flat=True)) == ["young"]
    assert periodic.forget_tags in [duty for _, duty in periodic.DUTIES]


def test_tags_of_work_are_forgotten_with_the_work_and_with_nothing_else(acme: Organization) -> None:
    fund(acme, 1_000)
    of_job, of_summary, of_other = charge(acme, 5), charge(acme, 6), charge(acme, 7)
    tags = {"customer": "acme"}
    charge_tags.record(
        [
            (of_job, tags),
            (of_summary, charge_tags.WorkTags(tags, work_reference=of_job.reference)),
            (of_other, charge_tags.WorkTags(tags, work_reference="job:another")),
        ]
    )
    charge_tags.forget(of_job.reference)
    assert list(ChargeTag.objects.values_list("entry", flat=True)) == [of_other.pk]
    # Without a reference, nothing is meant.
    charge_tags.forget("")
    assert ChargeTag.objects.count() == 1
