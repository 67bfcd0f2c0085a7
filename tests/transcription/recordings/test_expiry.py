"""Many uploads that end at once go within a round or two, with their parts, in transactions of a bounded size."""

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.errors import BadRequest
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_submission
from transcription import jobs
from transcription.jobs import lifecycle, verification
from transcription.jobs.submission import Source
from transcription.models import Job, JobItem, Status, Upload, UploadState
from transcription.recordings import expiry, imports, incoming_parts, uploads

LATER = timedelta(hours=25)


@pytest.fixture(autouse=True)
def own_incoming(settings, tmp_path):
    settings.INCOMING_DIR = tmp_path / "incoming"
    settings.INCOMING_DIR.mkdir()
    return settings.INCOMING_DIR


def announce(organization, count, **fields):
    prepared = [uploads.prepare(organization, name=f"{n}.wav", declared_bytes=5, **fields) for n in range(count)]
    uploads.begin_all(prepared)
    return prepared


def have_a_part(some):
    for upload in some:
        Upload.objects.filter(pk=upload.pk).update(multipart_id="one", part_bytes=5)
        incoming_parts.begin_parts(upload.pk, multipart_id="one")
        with incoming_parts.part(upload.pk, multipart_id="one", number=1, part_bytes=5) as part:
            part.write([b"12345"])
            part.keep()


def batch(organization, count):
    sources = [Source(reference=str(number), name="a.wav", declared_bytes=5) for number in range(count)]
    return jobs.submit_sources(make_submission(organization), sources=sources)


def updates_in(queries):
    return [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]


@pytest.mark.long
def test_all_that_are_late_end_in_one_round_with_their_parts(organization, own_incoming):
    """10,000 took twenty rounds of a minute each."""
    have_a_part(announce(organization, 3 * expiry.EXPIRE_BATCH_SIZE + 1)[::100])
    with CaptureQueriesContext(
        connection,
    ) as captured:
        assert expiry.expire(now=timezone.now() + LATER) == 3 * expiry.EXPIRE_BATCH_SIZE + 1
    assert set(Upload.objects.values_list("state", flat=True)) == {UploadState.EXPIRED}
    assert list(own_incoming.iterdir()) == []
    # A statement for each batch, and none for each row.
    assert len(updates_in(captured.captured_queries)) == 4
    assert len(captured) < 60


def test_round_ends_with_its_time_and_the_next_one_goes_on(organization):
    announce(organization, 5)
    now = timezone.now() + LATER
    assert expiry.expire(now=now, seconds=0) == 0
    assert expiry.expire(now=now, seconds=60, batch_size=2) == 5


@pytest.mark.django_db(transaction=True)
def test_upload_that_cannot_be_ended_keeps_no_other_one(organization, caplog):
    stuck, *_ = announce(organization, 5)
    with broken(stuck, act="UPDATE"):
        assert expiry.expire(now=timezone.now() + LATER, seconds=60, batch_size=2) == 4
    assert f"Upload {stuck.pk} is late and could not be ended" in caplog.text
    assert expiry.expire(now=timezone.now() + LATER) == 1


def test_upload_that_comes_while_a_batch_ends_is_kept(organization, own_incoming):
    late, coming = announce(organization, 2)
    have_a_part([late, coming])
    rows = list(Upload.objects.all())
    Upload.objects.filter(pk=coming.pk).update(state=UploadState.RECEIVED)
    assert expiry.end_all(rows) == 1
    assert [folder.stem for folder in own_incoming.iterdir()] == [str(coming.pk)]
    coming.refresh_from_db()
    assert coming.state == UploadState.RECEIVED


def test_import_goes_with_its_upload(organization):
    imports.begin(organization, url="https://example.com/a.mp3", is_for_later=True)
    assert expiry.expire(now=timezone.now() + LATER) == 1
    assert imports.claim_next() is None


@pytest.mark.django_db(transaction=True)
def test_two_clocks_at_once_end_each_upload_once(organization):
    announce(organization, 40)
    now, ended = timezone.now() + LATER, []

    def expire():
        try:
            ended.append(expiry.expire(now=now, batch_size=5))
        finally:
            connection.close()

    threads = [threading.Thread(target=expire) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ended) == 40


def test_items_of_many_jobs_fail_in_one_round(organization):
    """Only 500 jobs were told in a minute."""
    for count in (1, 1, 1, 1, 10):
        batch(organization, count)
    assert jobs.fail_expired_uploads(now=timezone.now() + LATER, max_jobs=3, max_items=4) == 14
    assert set(Job.objects.values_list("status", "error_type")) == {(Status.FAILED, "upload_expired")}
    assert set(JobItem.objects.values_list("status", flat=True)) == {Status.FAILED}


def test_job_that_cannot_be_ended_stops_no_other(organization, monkeypatch, caplog):
    broken, good = batch(organization, 1), batch(organization, 1)
    fail_expired = verification.fail_expired

    def fails(job, **kwargs):
        if job.pk == broken.pk:
            raise RuntimeError("a broken row")
        return fail_expired(job, **kwargs)

    monkeypatch.setattr(verification, "fail_expired", fails)
    assert jobs.fail_expired_uploads(now=timezone.now() + LATER) == 1
    good.refresh_from_db()
    assert good.status == Status.FAILED
    assert "a broken row" in caplog.text


@pytest.mark.parametrize("end", ["completed", "deleted", "too large"])
def test_parts_go_with_the_end_of_their_job(
    organization, own_incoming, end, monkeypatch, django_capture_on_commit_callbacks
):
    """They stayed until the purge, and a bucket kept them for ever."""
    job = batch(organization, 2)
    have_a_part(Upload.objects.all())
    assert len(list(own_incoming.iterdir())) == 2
    with django_capture_on_commit_callbacks(execute=True):
        if end == "completed":
            jobs.uploads_completed(job)
        elif end == "deleted":
            jobs.delete(job)
        else:
            error = BadRequest("Too large.", error_type="batch_too_large")
            with lifecycle.lock_job(job.pk) as locked:
                verification._refuse(locked, error=error)
    assert list(own_incoming.iterdir()) == []


def test_rows_that_ended_long_ago_are_forgotten_unless_a_job_names_them(organization):
    announce(organization, 3)
    job = batch(organization, 1)
    expiry.expire(now=timezone.now() + LATER)
    assert expiry.forget_ended(now=timezone.now() + LATER) == 0
    much_later = timezone.now() + LATER + expiry.KEPT_AFTER_END
    assert expiry.forget_ended(now=much_later) == 3
    assert list(Upload.objects.values_list("pk", flat=True)) == [job.items.get().upload_id]


def test_rows_that_wait_are_not_forgotten(organization):
    announce(organization, 1)
    assert expiry.forget_ended(now=timezone.now() + LATER + expiry.KEPT_AFTER_END) == 0
