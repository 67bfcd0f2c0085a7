"""The archive of an organization: everything that it has, and nothing of others."""

import io
import json
import zipfile

import pytest
from django.utils import timezone

from accounts import api_keys
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.models import Job
from transcription.pages import exports


def finish(job, text="hello"):
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript(text))
    job.refresh_from_db()
    return job


def unpacked(organization):
    with zipfile.ZipFile(io.BytesIO(b"".join(exports.zip_of(organization)))) as archive:
        assert archive.testzip() is None
        return {name: archive.read(name).decode() for name in archive.namelist()}


def test_archive_has_transcripts_ledger_people_and_keys(organization, bob):
    api_keys.issue(organization, name="production", by=None)
    finish(make_job(organization), "good morning")
    files = unpacked(organization)
    assert sorted(files) == ["ledger.csv", "organization.json", "sentence-slt.json", "sentence-slt.txt"]
    assert "good morning" in files["sentence-slt.txt"]
    assert json.loads(files["sentence-slt.json"])["segments"][0]["text"] == "good morning"
    described = json.loads(files["organization.json"])
    assert [member["email"] for member in described["members"]] == ["alice@example.com", "bob@example.com"]
    assert [key["name"] for key in described["api_keys"]] == ["production"]
    # The heading, the credit of the sign-up and the charge.
    assert len(files["ledger.csv"].splitlines()) == 3


def test_archive_has_no_secret_of_a_key(organization):
    _, secret = api_keys.issue(organization, name="production", by=None)
    text = "".join(unpacked(organization).values())
    assert secret not in text
    assert api_keys.digest(secret) not in text


def test_archive_has_nothing_of_another_organization(organization, charlies):
    finish(make_job(charlies), "their secret")
    files = unpacked(organization)
    assert sorted(files) == ["ledger.csv", "organization.json"]
    assert "charlie" not in files["organization.json"]


def test_recordings_that_failed_or_are_not_ready_are_told(organization):
    failed = make_job(organization)
    jobs.reject_item(jobs.claim(failed.items.get().pk), error_type="not_audio", message="This is no audio.")
    make_job(organization)
    begun = make_batch(organization, 2)
    jobs.finish_item(jobs.claim(begun.items.first().pk), transcript=make_transcript("ready early"))
    files = unpacked(organization)
    told = files["not transcribed.txt"].splitlines()
    assert sorted(told) == [
        "sentence-slt.wav: Queued",
        "sentence-slt.wav: Queued",
        "sentence-slt.wav: This is no audio.",
    ]
    assert "ready early" in files["sentence-slt.txt"]


def test_all_files_of_many_jobs_are_there_under_names_of_their_own(organization):
    for _ in range(3):
        finish(make_batch(organization, 2))
    names = [name for name in unpacked(organization) if name.endswith(".json") and name != "organization.json"]
    assert len(set(names)) == 6


def test_what_is_deleted_after_its_retrieval_counts_as_retrieved(organization):
    job = finish(make_job(organization))
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    assert job.delete_at is None
    unpacked(organization)
    job.refresh_from_db()
    assert job.delete_at > timezone.now()


def test_what_is_deleted_after_its_retrieval_stays_when_the_download_breaks_at_its_last_piece(organization):
    job = finish(make_job(organization), "much that was paid for " * 2_000)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    count = len(list(exports.zip_of(organization)))
    Job.objects.filter(pk=job.pk).update(delete_at=None)
    pieces = exports.zip_of(organization)
    for _ in range(count):
        assert next(pieces)
    pieces.close()
    job.refresh_from_db()
    assert job.delete_at is None


def test_what_is_not_ready_does_not_count_as_retrieved(organization):
    job = make_batch(organization, 2)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    jobs.finish_item(jobs.claim(job.items.first().pk), transcript=make_transcript("ready early"))
    unpacked(organization)
    jobs.finish_item(jobs.claim(job.items.last().pk), transcript=make_transcript("ready late"))
    job.refresh_from_db()
    assert job.is_completed
    assert job.delete_at is None


@pytest.mark.parametrize("name", ["organization", "ledger"])
def test_recording_with_the_name_of_a_list_is_numbered(organization, name):
    job = finish(make_job(organization))
    Job.objects.filter(pk=job.pk).update(name=f"{name}.wav")
    files = unpacked(organization)
    assert {f"{name}.txt", "organization.json", "ledger.csv"} <= files.keys()
    assert (f"{name} (2).json" if name == "organization" else f"{name}.json") in files
