"""Metadata and retention: what is taken, what is refused, where they come back, and which doors count."""

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import InvalidField
from tests.transcription.factories import make_job, make_transcript
from transcription import jobs
from transcription.dialects.native import job_fields
from transcription.jobs import Retention, retention
from transcription.models import Job

PAIRS = {"order": "7", "customer": "Zoë \U0001f600", "empty": ""}


def finish(job):
    jobs.finish_item(jobs.claim(job.items.get().pk), transcript=make_transcript("hello there"))
    job.refresh_from_db()
    return job


def test_retention_is_read():
    for nothing in ({}, {"retention": ""}, {"retention": "keep"}):
        assert job_fields.read_retention(nothing) == (False, None)
    assert job_fields.read_retention({"retention": "delete_after_retrieval"}) == (True, None)
    assert job_fields.read_retention({"retention": "1"}) == (False, 1)
    assert job_fields.read_retention({"retention": str(retention.MAX_DAYS)}) == (False, retention.MAX_DAYS)


@pytest.mark.parametrize("bad", ["forever", "0", "-1", "1.5", "3651", "99999999999999999999", "٣", "KEEP", "30 days"])
def test_other_retention_is_refused(bad):
    with pytest.raises(InvalidField) as caught:
        job_fields.read_retention({"retention": bad})
    assert caught.value.data["param"] == "retention"


@pytest.mark.parametrize("is_json", [True, False])
def test_metadata_and_retention_come_back_with_job_list_and_result(api, is_json):
    if is_json:
        from tests.transcription.dialects.native.test_uploads import order, upload

        file_id = upload(api).json()["file_id"]
        created = order(api, {"file_id": file_id, "metadata": PAIRS, "retention": 30})
    else:
        created = api.transcribe(metadata=json.dumps(PAIRS), retention="30")
    assert created.status_code == 201, created.content
    job = finish(Job.objects.get())
    path = f"/v1/jobs/{job.pk}"
    shown = api.get(path).json()
    [line] = api.get("/v1/jobs").json()["jobs"]
    expires_at = (job.finished_at + timedelta(days=30)).strftime("%Y-%m-%d %H:%M:%S")
    for one in (shown, line):
        assert (one["metadata"], one["retention"], one["expires_at"]) == (PAIRS, "30", expires_at)
    assert api.get(f"{path}/result").json()["metadata"] == PAIRS


def test_job_without_both_says_so(api, organization):
    shown = api.get(f"/v1/jobs/{make_job(organization).pk}").json()
    assert (shown["metadata"], shown["retention"], shown["expires_at"]) == ({}, "keep", None)


@pytest.mark.parametrize(("field", "value"), [("metadata", '{"a": 1}'), ("retention", "soon")])
def test_refused_field_leaves_nothing(api, field, value):
    response = api.transcribe(**{field: value})
    assert (response.status_code, response.json()["error"]["param"]) == (400, field)
    assert not Job.objects.exists()


@pytest.fixture
def passing(organization):
    """A completed job that is deleted after its retrieval."""
    return finish(make_job(organization, retention=Retention(after_retrieval=True)))


def is_retrieved(job):
    job.refresh_from_db()
    return job.delete_at is not None


def download(api, job, browser):
    return browser.get(f"/transcripts/{job.pk}/download/srt/")


DOORS = {
    **{
        name: lambda api, job, browser, name=name: api.get(f"/v1/jobs/{job.pk}/result", format=name)
        for name in ("json", "txt", "srt", "vtt", "docx")
    },
    "status": lambda api, job, browser: api.get(f"/v1/status/{job.pk}"),
    "download of the page": download,
}
NO_DOORS = {
    "job": lambda api, job, browser: api.get(f"/v1/jobs/{job.pk}"),
    "list": lambda api, job, browser: api.get("/v1/jobs"),
    "page": lambda api, job, browser: browser.get(f"/transcripts/{job.pk}/"),
    "headers of the result": lambda api, job, browser: api.client.head(
        f"/v1/jobs/{job.pk}/result", headers={"X-API-Key": api.key}
    ),
    "headers of the status": lambda api, job, browser: api.client.head(
        f"/v1/status/{job.pk}", headers={"X-API-Key": api.key}
    ),
}


@pytest.mark.long
@pytest.mark.parametrize("door", DOORS)
def test_result_that_leaves_is_a_retrieval(api, passing, alice, client_of, door):
    before = timezone.now()
    assert DOORS[door](api, passing, client_of(alice)).status_code == 200
    assert is_retrieved(passing)
    assert passing.delete_at >= before + retention.RETRIEVAL_GRACE
    assert api.get(f"/v1/jobs/{passing.pk}/result").status_code == 200, "it can be retrieved again for an hour"


@pytest.mark.long
@pytest.mark.parametrize("door", NO_DOORS)
def test_looking_is_no_retrieval(api, passing, alice, client_of, door):
    assert NO_DOORS[door](api, passing, client_of(alice)).status_code == 200
    assert not is_retrieved(passing)


def test_refused_retrieval_is_none(api, stranger, passing):
    assert api.get(f"/v1/jobs/{passing.pk}/result", format="pdf").status_code == 400
    assert stranger.get(f"/v1/jobs/{passing.pk}/result").status_code == 404
    assert stranger.get(f"/v1/status/{passing.pk}").status_code == 404
    assert not is_retrieved(passing)


def test_status_without_a_text_is_no_retrieval(api, organization):
    job = make_job(organization, retention=Retention(after_retrieval=True))
    assert api.get(f"/v1/status/{job.pk}").json()["transcript"] is None
    assert not is_retrieved(finish(job))


def test_page_says_when_the_job_goes(api, passing, alice, client_of):
    browser = client_of(alice)
    assert "An hour after a download" in browser.get(f"/transcripts/{passing.pk}/").content.decode()
    download(api, passing, browser)
    passing.refresh_from_db()
    shown = f"{passing.delete_at:%Y-%m-%d %H:%M} UTC"
    assert shown in browser.get(f"/transcripts/{passing.pk}/").content.decode()
