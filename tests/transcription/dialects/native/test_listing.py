"""Pages, filters and search of GET /v1/jobs: what is read, what is refused, and what is found."""

import base64
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import given
from hypothesis import strategies as st

from accounts.errors import InvalidField
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.dialects.native import listing
from transcription.models import Job

NOON = datetime(2026, 4, 19, 12, tzinfo=UTC)


def test_page_is_cut_to_the_most():
    assert listing.read_page({}) == (20, 0)
    assert listing.read_page({"limit": "500", "offset": "7"}) == (100, 7)
    for bad in ({"limit": "0"}, {"limit": "x"}, {"offset": "-1"}):
        with pytest.raises(InvalidField):
            listing.read_page(bad)


def test_status_is_read_in_the_words_that_are_shown():
    assert listing.read_status({"status": "queued"}) == ["uploading", "verifying", "queued"]
    assert listing.read_status({}) == []
    with pytest.raises(InvalidField):
        listing.read_status({"status": "verifying"})


class At:
    """What a cursor needs of a job."""

    def __init__(self, created_at, job_id=None):
        self.created_at, self.id = created_at, job_id or uuid.uuid4()


@given(st.datetimes(timezones=st.just(UTC)), st.uuids())
def test_cursor_is_read_as_it_was_shown(created_at, job_id):
    shown = listing.show_cursor(At(created_at, job_id))
    assert listing.read_cursor({"cursor": shown}) == (created_at, job_id)
    assert shown.replace("-", "").replace("_", "").isalnum(), "it needs no escaping in an address"


@pytest.mark.long
@given(st.text(max_size=60))
def test_other_cursor_is_refused(text):
    try:
        found = listing.read_cursor({"cursor": text})
    except InvalidField as error:
        assert error.data["param"] == "cursor"  # noqa: PT017 - it may be accepted too
    else:
        assert found is None or len(text) == 32


@pytest.mark.parametrize(
    "bad",
    ["9dccccdb-5675-407b-9722-61f3615441e1", "nonsense", "A" * 31, "é" * 32, base64.b64encode(b"\x7f" * 24).decode()],
)
def test_broken_cursor_is_refused(bad):
    with pytest.raises(InvalidField) as caught:
        listing.read_cursor({"cursor": bad})
    assert caught.value.data["param"] == "cursor"


def test_cursor_and_offset_contradict_each_other():
    cursor = listing.show_cursor(At(NOON))
    assert listing.read_cursor({"cursor": cursor, "offset": "0"}) is not None
    with pytest.raises(InvalidField) as caught:
        listing.read_cursor({"cursor": cursor, "offset": "20"})
    assert caught.value.data["param"] == "offset"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-04-19 12:00:00", NOON),
        ("2026-04-19T12:00:00Z", NOON),
        ("2026-04-19T14:00:00+02:00", NOON),
        ("2026-04-19", datetime(2026, 4, 19, tzinfo=UTC)),
        (" 2026-04-19 12:00 ", NOON),
        ("", None),
    ],
)
def test_time_is_read(text, moment):
    assert listing.read_time({"created_after": text}, "created_after") == moment


@pytest.mark.parametrize(
    "bad",
    [
        "yesterday",
        "19.04.2026",
        "2026-13-01",
        "2026-02-30",
        "1771502400",
        "2026-04-19T14:00:00 02:00",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "2026-04-19\x00",
        "x" * 5000,
    ],
)
def test_other_time_is_refused(bad):
    with pytest.raises(InvalidField) as caught:
        listing.read_time({"created_before": bad}, "created_before")
    assert caught.value.data["param"] == "created_before"


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ("", []),
        ("invoice", ["invoice"]),
        ("late  invoice", ["late", "invoice"]),
        ('"late invoice" march', ["late invoice", "march"]),
        ('"late invoice', ["late", "invoice"]),
        ('- "..." invoice', ["invoice"]),
        ("don't", ["don't"]),
        ("今天", ["今天"]),
    ],
)
def test_search_is_words_and_phrases(text, phrases):
    assert listing.read_phrases({"q": text}) == phrases


@pytest.mark.parametrize("bad", ["...", '""', "%", "\x00", "x" * 201, " ".join("abcdefghijk")])
def test_other_search_is_refused(bad):
    with pytest.raises(InvalidField) as caught:
        listing.read_phrases({"q": bad})
    assert caught.value.data["param"] == "q"


@given(st.text(max_size=200))
def test_any_search_is_read_or_refused(text):
    try:
        phrases = listing.read_phrases({"q": text})
    except InvalidField:
        return
    assert all(any(map(str.isalnum, phrase)) for phrase in phrases)


# --- Over HTTP -------------------------------------------------------------------------------------------------------


def at(job, moment):
    Job.objects.filter(pk=job.pk).update(created_at=moment)
    job.refresh_from_db()
    return job


def ids(response):
    assert response.status_code == 200, response.content
    return [job["id"] for job in response.json()["jobs"]]


def finish(job, text):
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript(text))
    return job


@pytest.mark.parametrize(
    "bad",
    [
        {"cursor": "nonsense"},
        {"limit": "0"},
        {"offset": "-1"},
        {"status": "unknown"},
        {"created_after": "yesterday"},
        {"created_before": "2026-02-30"},
        {"q": "..."},
    ],
)
def test_bad_query_is_refused_by_name(api, bad):
    response = api.get("/v1/jobs", **bad)
    assert (response.status_code, response.json()["error"]["param"]) == (400, next(iter(bad)))


def test_pages_by_cursor_have_every_job_once_whatever_comes_and_goes(api, organization):
    """Half of the jobs are of one moment, so that their ids decide."""
    made = [at(make_job(organization), NOON - timedelta(seconds=min(number, 5))) for number in range(10)]
    expected = [str(job.pk) for job in sorted(made, key=lambda job: (job.created_at, job.pk), reverse=True)]
    seen, cursor = [], ""
    for page in range(10):
        response = api.get("/v1/jobs", limit=3, cursor=cursor)
        seen += ids(response)
        cursor = response.json()["next_cursor"]
        if cursor is None:
            break
        # A job comes, and the job at which the next page begins goes.
        at(make_job(organization), NOON + timedelta(minutes=page))
        jobs.delete(Job.objects.get(pk=seen[-1]))
    assert seen == expected


def test_last_page_has_no_cursor(api, organization):
    for _ in range(3):
        make_job(organization)
    assert api.get("/v1/jobs", limit=3).json()["next_cursor"] is None
    assert api.get("/v1/jobs", limit=2, offset=1).json()["next_cursor"] is None
    assert api.get("/v1/jobs", limit=2).json()["next_cursor"] is not None


def test_cursor_of_a_stranger_shows_none_of_their_jobs(api, stranger, organization, charlies):
    at(make_job(organization), NOON + timedelta(hours=2))
    at(make_job(organization), NOON)
    theirs = at(make_job(charlies), NOON + timedelta(hours=1))
    cursor = api.get("/v1/jobs", limit=1).json()["next_cursor"]
    assert ids(stranger.get("/v1/jobs", cursor=cursor)) == [str(theirs.pk)]
    assert ids(stranger.get("/v1/jobs", cursor=listing.show_cursor(At(NOON)))) == []


def test_jobs_of_a_time_are_from_its_beginning_to_before_its_end(api, organization):
    early, noon, late = (at(make_job(organization), NOON + timedelta(hours=hours)) for hours in (-1, 0, 1))
    assert ids(api.get("/v1/jobs", created_after="2026-04-19 12:00:00")) == [str(late.pk), str(noon.pk)]
    assert ids(api.get("/v1/jobs", created_before="2026-04-19 12:00:00")) == [str(early.pk)]
    both = {"created_after": "2026-04-19 12:00:00", "created_before": "2026-04-19T15:00:00+02:00"}
    assert ids(api.get("/v1/jobs", **both)) == [str(noon.pk)]


def test_filters_search_and_cursor_work_together(api, organization):
    for number in range(4):
        at(finish(make_job(organization), "an invoice"), NOON + timedelta(hours=number))
    at(make_job(organization), NOON + timedelta(hours=1, minutes=30))
    at(finish(make_job(organization), "a letter"), NOON + timedelta(hours=1, minutes=40))
    query = {"status": "completed", "q": "invoice", "created_after": "2026-04-19 13:00:00", "limit": 2}
    first = api.get("/v1/jobs", **query)
    second = api.get("/v1/jobs", **query, cursor=first.json()["next_cursor"])
    found = Job.objects.filter(pk__in=ids(first) + ids(second)).values_list("created_at", flat=True)
    assert sorted(moment.hour for moment in found) == [13, 14, 15]
    assert (len(ids(first)), len(ids(second)), second.json()["next_cursor"]) == (2, 1, None)


def test_search_finds_words_of_the_transcript_and_of_the_file_name(api, organization):
    spoken = finish(make_job(organization), "The invoice is late again")
    assert ids(api.get("/v1/jobs", q="INVOICE")) == [str(spoken.pk)]
    assert ids(api.get("/v1/jobs", q='"invoice is"')) == [str(spoken.pk)]
    assert ids(api.get("/v1/jobs", q='"is invoice"')) == []
    assert ids(api.get("/v1/jobs", q="sentence")) == [str(spoken.pk)]
    assert ids(api.get("/v1/jobs", q="sentence-slt.wav invoice")) == [str(spoken.pk)]
    assert ids(api.get("/v1/jobs", q="voice")) == []


def test_search_finds_no_jobs_of_strangers(api, stranger, organization, charlies):
    ours = finish(make_job(organization), "our common secret")
    theirs = finish(make_job(charlies), "their common secret")
    assert ids(api.get("/v1/jobs", q="common secret")) == [str(ours.pk)]
    assert ids(stranger.get("/v1/jobs", q="common secret")) == [str(theirs.pk)]
    assert ids(stranger.get("/v1/jobs", q="our")) == []


@pytest.mark.parametrize("attack", ["' OR 1=1 --", "a & !b | (c", "100% _ [x]", "\\", "a:*", "🙂 a", "<->", "''''a"])
def test_search_is_no_language(api, organization, attack):
    finish(make_job(organization), "hello")
    response = api.get("/v1/jobs", q=attack)
    assert response.status_code in (200, 400)
    if response.status_code == 200:
        assert ids(response) == []


def test_list_with_everything_asks_as_often_for_five_jobs_as_for_one(api, organization):
    query = {
        "q": "an invoice",
        "created_after": "2020-01-01",
        "cursor": listing.show_cursor(At(NOON.replace(year=2100))),
    }
    finish(make_job(organization), "an invoice")
    # The first call also notes that the key was used.
    api.get("/v1/jobs", **query)
    with CaptureQueriesContext(connection) as for_one:
        assert len(ids(api.get("/v1/jobs", **query))) == 1
    for _ in range(4):
        finish(make_job(organization), "an invoice")
    with CaptureQueriesContext(connection) as for_five:
        assert len(ids(api.get("/v1/jobs", **query))) == 5
    assert len(for_five) == len(for_one)
