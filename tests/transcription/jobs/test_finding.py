"""People find jobs of their organization by what they know of them, in the order they want."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import api_keys
from accounts.models import Organization
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.jobs import finding
from transcription.jobs.finding import Sort, Wanted
from transcription.models import Job, JobItem

NOW = timezone.now().replace(microsecond=0)


def finish(job, *texts):
    for item, text in zip(job.items.all(), texts, strict=True):
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))
    job.refresh_from_db()
    return job


def make_one(organization, *, name="talk.wav", days_ago=0, **fields):
    job = make_job(organization, **fields)
    Job.objects.filter(pk=job.pk).update(name=name, created_at=NOW - timedelta(days=days_ago))
    job.refresh_from_db()
    return job


def found(organization, **wanted):
    return list(finding.find(organization, Wanted(**wanted)))


def test_words_days_people_and_languages_are_conditions(organization, alice):
    hers = finish(make_one(organization, created_by=alice, dialect="pages", days_ago=2), "the late invoice")
    programs = make_one(organization, api_key=api_keys.issue(organization, name="test", by=None)[0], days_ago=1)
    JobItem.objects.filter(job=hers).update(language="fr")
    assert found(organization) == [programs, hers]
    assert found(organization, phrases=["late invoice"]) == [hers]
    assert found(organization, statuses=["completed"]) == [hers]
    assert found(organization, since=NOW - timedelta(days=1)) == [programs]
    assert found(organization, until=NOW - timedelta(days=1)) == [hers]
    assert found(organization, person_id=alice.pk) == [hers]
    assert found(organization, by_programs=True) == [programs]
    assert found(organization, language="fr") == [hers]
    assert found(organization, language="fr", by_programs=True) == []


def test_job_of_a_program_is_one_when_its_key_is_gone(organization, alice):
    make_one(organization, created_by=alice, dialect="pages")
    job = make_one(organization)
    assert job.api_key is None, "as that of a token whose row was deleted"
    assert found(organization, by_programs=True) == [job]


def test_stranger_finds_nothing(organization, charlie):
    finish(make_one(organization), "the late invoice")
    other = Organization.objects.get(memberships__user=charlie)
    assert found(other, phrases=["invoice"]) == []


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        (Sort.NEWEST, ["Ä", "b", "C", "a", "a"]),
        (Sort.OLDEST, ["a", "a", "C", "b", "Ä"]),
        (Sort.LONGEST, ["b", "a", "C", "a", "Ä"]),
    ],
)
def test_pages_of_each_order_follow_each_other(organization, sort, names):
    for place, (name, seconds) in enumerate([("a", 20), ("a", 40), ("C", 30), ("b", 50), ("Ä", 10)]):
        make_one(organization, name=name, days_ago=9 - place, duration_ms=seconds * 1000)
    every = found(organization, sort=sort)
    assert [job.name for job in every] == names
    assert one_by_one(organization, sort) == every


def test_names_are_in_order_whatever_their_case(organization):
    for name in ("beta", "Alpha", "alpha", "GAMMA", "Beta"):
        make_one(organization, name=name)
    every = found(organization, sort=Sort.NAME)
    assert [job.name.lower() for job in every] == ["alpha", "alpha", "beta", "beta", "gamma"]
    assert one_by_one(organization, Sort.NAME) == every


def one_by_one(organization, sort):
    """Return all jobs by pages of one row."""
    every, wanted = finding.find(organization, Wanted(sort=sort)), []
    page = every.first()
    while page is not None:
        wanted.append(page)
        page = finding.after(every, page, sort=sort).first()
    return wanted


def test_excerpt_shows_words_around_the_phrase_and_names_the_recording(organization):
    batch = make_batch(organization, 2)
    long = " ".join(f"w{number}" for number in range(300))
    finish(batch, "nothing here", f"{long} the late Invoice, please {long}")
    excerpt = finding.excerpts([batch], phrases=["late invoice"])[batch.pk]
    assert excerpt.position == 1
    assert "w299 the late invoice please w0 w1" in excerpt.text
    assert len(excerpt.text) <= finding.EXCERPT_CHARACTERS
    assert all(word in {*long.split(), *["the", "late", "invoice", "please"]} for word in excerpt.text.split())


def test_excerpt_is_of_the_first_phrase_that_was_said(organization):
    job = finish(make_one(organization), "we met on Monday")
    assert finding.excerpts([job], phrases=["talk", "monday"])[job.pk].text == "we met on monday"
    assert finding.excerpts([job], phrases=["talk"]) == {}
    assert finding.excerpts([job], phrases=[]) == {}
    assert finding.excerpts([], phrases=["monday"]) == {}


def test_excerpts_come_from_the_first_recordings_of_a_batch(organization):
    batch = make_batch(organization, 3)
    finish(batch, "nothing here", "an early invoice", "a late invoice")
    assert finding.excerpts([batch], phrases=["invoice"], recordings=2)[batch.pk].position == 1
    assert finding.excerpts([batch], phrases=["late invoice"], recordings=2) == {}


def test_excerpts_of_many_are_one_query(organization):
    many = [finish(make_one(organization), f"number {number}") for number in range(5)]
    with CaptureQueriesContext(connection) as queries:
        assert len(finding.excerpts(many, phrases=["number"])) == 5
    assert len(queries) == 1
