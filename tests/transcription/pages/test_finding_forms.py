"""What the form of the list takes, refuses and makes of it."""

from datetime import UTC, datetime

import pytest
from django.http import QueryDict

from transcription.jobs.finding import Sort
from transcription.pages.finding_forms import MAX_PHRASES, PROGRAMS, FindForm


def form(organization, query=""):
    return FindForm(QueryDict(query), organization=organization)


def wanted(organization, query):
    found = form(organization, query)
    assert found.is_valid(), found.errors
    return found.wanted(statuses=())


def test_nothing_chosen_wants_everything_newest_first(organization):
    all_of_it = wanted(organization, "")
    assert (all_of_it.phrases, all_of_it.since, all_of_it.until, all_of_it.person_id) == ([], None, None, None)
    assert all_of_it.sort == Sort.NEWEST
    assert not form(organization).is_filtered


def test_last_day_counts_whole(organization):
    may = wanted(organization, "since=2026-05-01&until=2026-05-31")
    assert (may.since, may.until) == (datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC))


def test_members_and_programs_are_chosen_and_strangers_are_not(organization, alice, bob, charlie):
    assert wanted(organization, f"person={bob.pk}").person_id == bob.pk
    programs = wanted(organization, f"person={PROGRAMS}")
    assert (programs.person_id, programs.by_programs) == (None, True)
    assert "person" in form(organization, f"person={charlie.pk}").errors


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("q=%2C", "q"),
        ("q=" + "+".join(f"w{number}" for number in range(MAX_PHRASES + 1)), "q"),
        ("since=2026-05-02&until=2026-05-01", "until"),
        ("since=yesterday", "since"),
        ("language=xx-unknown", "language"),
        ("tag=nobody+has+it", "tag"),
        ("sort=backwards", "sort"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(organization, query, field):
    assert list(form(organization, query).errors) == [field]


def test_address_keeps_what_was_chosen_and_nothing_else(organization):
    found = form(organization, "q=may&sort=newest&person=&unknown=1")
    assert found.query(before="x", tag="") == "q=may&before=x"
    assert not found.is_filtered
    assert form(organization, "language=en").is_filtered
