"""Addresses for files of a job: pages, resumption, completion, and what becomes of files that never come."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from billing.models import Entry, EntryKind, Wallet
from tests.dialects.faces import run_all
from tests.transcription.dialects.transcribeapi.calling import WAV, code, document_of, send
from transcription import jobs
from transcription.dialects.transcribeapi import manifest
from transcription.jobs.submission import MAX_BATCH_BYTES
from transcription.models import Job, Upload

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]

UNKNOWN = "00000000-0000-4000-8000-000000000001"


# --- Uploads -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ([], "invalid_upload_page"),
        ([{"file_id": "a"}] * 1_001, "invalid_upload_page"),
        ([{"file_id": "nobody"}], "invalid_file_metadata"),
        ([{"file_id": "b", "size_bytes": 1}], "invalid_file_metadata"),
        ([{"file_id": "a", "filename": "a.mp4"}], "invalid_file_metadata"),
        ([{"file_id": "a", "size_bytes": 10**10}], "batch_too_large"),
    ],
)
def test_page_that_is_wrong_changes_nothing(post, batch, files, expected):
    assert code(post(f"/jobs/{batch}/upload-urls", {"files": files})) == (400, expected)
    assert Upload.objects.get(items__reference="a").declared_bytes is None


def test_page_skips_what_has_come(post, batch, tmp_path):
    send("a", tmp_path=tmp_path)
    entries = post(f"/jobs/{batch}/upload-urls", {"file_ids": ["a", "b"]}).json()["uploads"]
    assert ["upload" in entry for entry in entries] == [False, True]
    assert entries[0]["status"] == "received"


def test_file_at_a_url_is_in_no_page(post):
    body = {
        "type": "batch",
        "files": [{"reference_id": "a"}, {"reference_id": "b", "url": "https://example.com/b.mp3"}],
    }
    job_id = post("/jobs", body).json()["job_id"]
    assert code(post(f"/jobs/{job_id}/upload-urls", {"file_ids": ["b"]})) == (400, "invalid_file_metadata")


def test_upload_is_resumed(post, big_file):
    response = post(f"/jobs/{big_file}/resume-upload", {"upload": {"type": "put"}})
    assert response.status_code == 200, response.content
    assert response.json()["upload"]["type"] == "put"
    assert response.json()["job_status"] == "uploading"


@pytest.mark.long
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, "invalid_upload"),
        ({"upload": {"type": "ftp"}}, "invalid_upload_type"),
        ({"upload": {"type": "multipart"}}, "invalid_upload"),
        ({"upload": {"type": "multipart", "key": "k", "upload_id": "u"}}, "invalid_upload"),
        ({"upload": {"type": "put", "key": "another"}}, "invalid_upload"),
    ],
)
def test_resumption_that_is_wrong(post, big_file, body, expected):
    assert code(post(f"/jobs/{big_file}/resume-upload", body)) == (400, expected)


def test_batch_is_not_resumed_but_asked_for_in_pages(post, batch):
    assert code(post(f"/jobs/{batch}/resume-upload", {"upload": {"type": "put"}})) == (400, "invalid_upload")


@pytest.mark.long
def test_uploads_of_a_job_that_takes_none(post, batch, big_file):
    for job_id in (batch, big_file):
        jobs.cancel(Job.objects.get(pk=job_id))
    response = post(f"/jobs/{batch}/upload-urls", {"file_ids": ["a"]})
    assert code(response) == (409, "invalid_job_status")
    assert (response.json()["status"], response.json()["job_status"]) == ("failed_canceled", "failed")
    assert code(post(f"/jobs/{big_file}/resume-upload", {"upload": {"type": "put"}})) == (409, "invalid_job_status")
    assert code(post(f"/transcribe/{big_file}/upload-completed")) == (409, "invalid_job_status")


@pytest.mark.long
@pytest.mark.parametrize("path", ["/jobs/{}/upload-urls", "/jobs/{}/resume-upload", "/transcribe/{}/upload-completed"])
def test_job_of_a_stranger_is_not_there(post, batch, charlies, path):
    stranger = {"Authorization": f"Bearer {api_keys.issue(charlies, name='calls', by=None)[1]}"}
    body = {"file_ids": ["a"]} if "complete" not in path else None
    for job_id, headers in ((batch, stranger), (UNKNOWN, None), ("nonsense", None)):
        assert code(post(path.format(job_id), body, headers=headers)) == (404, "job_not_found")


# --- Completion ----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_files_that_came_are_transcribed_and_the_others_are_told(post, batch, tmp_path):
    send("b", tmp_path=tmp_path)
    response = post(f"/transcribe/{batch}/upload-completed")
    assert response.status_code == 200, response.content
    assert response.json()["job_status"] in ("verifying", "queued")
    run_all()
    run_all()
    shown = post(f"/transcribe/{batch}", method="get").json()
    assert (shown["status"], shown["job_status"]) == ("completed_with_errors", "completed")
    document = document_of(post(f"/transcribe/{batch}/result", method="get"))
    assert [(file["reference_id"], file["status"]) for file in document["files"]] == [
        ("a", "failed_missing_batch_file"),
        ("b", "completed"),
    ]
    job = Job.objects.get()
    assert [-entry.amount_micros for entry in Entry.objects.filter(kind=EntryKind.USAGE)] == [job.cost_micros]


@pytest.mark.long
def test_completion_whose_answer_was_lost_is_answered_again(post, big_file, tmp_path):
    send("file_000001", tmp_path=tmp_path)
    assert post(f"/transcribe/{big_file}/upload-completed").status_code == 200
    run_all()
    run_all()
    again = post(f"/transcribe/{big_file}/upload-completed")
    assert (again.status_code, again.json()["job_status"]) == (200, "completed")
    Job.objects.update(uploads_completed_at=timezone.now() - timedelta(hours=1))
    assert code(post(f"/transcribe/{big_file}/upload-completed")) == (409, "invalid_job_status")


@pytest.mark.long
def test_file_that_never_came(post, big_file):
    post(f"/transcribe/{big_file}/upload-completed")
    shown = post(f"/transcribe/{big_file}", method="get").json()
    assert (shown["status"], shown["job_status"], shown["cost"]) == ("failed_upload_missing", "failed", 0)


@pytest.mark.long
def test_file_that_is_no_recording(post, big_file, tmp_path):
    send("file_000001", b"no recording" * 50, tmp_path=tmp_path)
    post(f"/transcribe/{big_file}/upload-completed")
    run_all()
    shown = post(f"/transcribe/{big_file}", method="get").json()
    assert (shown["status"], shown["job_status"]) == ("failed_unsupported_format", "failed")


@pytest.mark.long
def test_balance_that_does_not_cover_the_files(post, big_file, tmp_path):
    Wallet.objects.update(balance_micros=50)
    send("file_000001", tmp_path=tmp_path)
    post(f"/transcribe/{big_file}/upload-completed")
    run_all()
    shown = post(f"/transcribe/{big_file}", method="get").json()
    assert (shown["status"], shown["job_status"]) == ("failed_insufficient_credits", "insufficient_funds")


@pytest.mark.long
def test_files_that_have_more_than_the_limit_together(post, batch, tmp_path):
    # As if others had come.
    Job.objects.update(received_bytes=MAX_BATCH_BYTES - len(WAV) - 1)
    for reference in ("a", "b"):
        send(reference, tmp_path=tmp_path)
    run_all()
    shown = post(f"/transcribe/{batch}", method="get").json()
    assert (shown["status"], shown["job_status"]) == ("failed_batch_too_large", "failed")


def test_language_of_one_file_is_its_own(post):
    body = {"files": [{"reference_id": "a", "language": "auto"}, {"reference_id": "b"}], "language": "en"}
    post("/transcribe", body)
    items = Job.objects.get().items.order_by("position")
    assert [item.requested_language for item in items] == ["auto", ""]
    assert Job.objects.get().options["language"] == "en"


def test_limits_of_the_documentation():
    assert (manifest.MAX_FILES, manifest.MAX_TOTAL_BYTES) == (10_000, 10_000_000_000)
