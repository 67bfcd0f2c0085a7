"""Jobs of files that are still to come: files that are broken, missing, late or not covered, and what stays of them."""

from datetime import timedelta

import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.utils import timezone

from accounts.errors import BadRequest, Conflict, PaymentRequired
from billing.models import Hold
from tests.transcription.factories import make_media, make_submission
from tests.transcription.jobs.sources_sent import (
    SENTENCE,
    SIZE,
    URL,
    Counter,
    file_source,
    finish,
    held,
    leave,
    nothing_was_made,
    receive,
    statuses,
    stored_keys,
    submit,
    verify,
)
from transcription import jobs, submissions
from transcription.jobs import Source, queue
from transcription.jobs.submission import MAX_BATCH_BYTES
from transcription.models import Job, Media, Status, UploadState
from transcription.recordings import expiry, orderable


def test_recordings_that_were_sent_before_and_are_not_covered_leave_nothing(organization):
    media = [make_media(organization, duration_ms=36_000_000) for _ in range(3)]
    with pytest.raises(PaymentRequired):
        submit(organization, [Source(stored=one) for one in media])
    assert nothing_was_made()
    assert Media.objects.count() == 3


def test_job_that_is_not_covered_ends_without_a_charge_and_without_its_files(
    organization, django_capture_on_commit_callbacks
):
    job = submit(organization, [file_source("a"), file_source("b")])
    spare = leave(organization, 100)
    with django_capture_on_commit_callbacks(execute=True):
        for item in job.items.all():
            receive(item)
        assert len(stored_keys()) == 2
        verify(job)
    assert (job.status, job.error_type, job.cost_micros) == (Status.FAILED, "insufficient_balance", None)
    assert statuses(job) == [(Status.FAILED, "insufficient_balance")] * 2
    assert held(organization) == spare
    assert not Media.objects.exists()
    assert stored_keys() == set()
    # Lists still name the files.
    assert [item.name for item in job.items.all()] == ["call.wav", "call.wav"]


@pytest.mark.long
def test_job_that_is_not_covered_keeps_what_other_jobs_need(organization, django_capture_on_commit_callbacks):
    kept = make_media(organization)
    with django_capture_on_commit_callbacks(execute=True):
        orderable.offer(kept, in_transaction=lambda _: None)
        job = submit(organization, [file_source("own"), Source(reference="kept", stored=kept), file_source("shared")])
        own, _, shared = job.items.all()
        receive(own)
        receive(shared)
        verify(job)
        assert job.status == Status.QUEUED
        other = submissions.submit_upload(make_submission(organization), upload=shared.upload)
        jobs.cancel(job)
        again = submit(
            organization, [file_source("own"), Source(reference="kept", stored=kept), Source(stored=shared.upload)]
        )
        leave(organization, 100)
        receive(again.items.first())
        verify(again)
    assert (again.status, again.error_type) == (Status.FAILED, "insufficient_balance")
    assert not default_storage.exists(again.items.first().upload.storage_key)
    assert set(Media.objects.all()) == {
        kept,
        own.upload.media or shared.upload.media,
        *Media.objects.filter(items__job=job),
    }
    shared.upload.refresh_from_db()
    assert shared.upload.state == UploadState.ACCEPTED
    assert default_storage.exists(shared.upload.storage_key)
    verify(other)
    assert other.error_type in ("", "insufficient_balance")


def test_more_bytes_than_were_known_end_the_job_and_leave_no_file(organization, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = submit(organization, [Source(name="a"), Source(name="b"), Source(url=URL), Source(name="d")])
        # As if others had come.
        Job.objects.filter(pk=job.pk).update(received_bytes=MAX_BATCH_BYTES - 2 * SIZE + 1)
        for item in job.items.all()[:2]:
            receive(item)
        verify(job)
    assert (job.status, job.error_type, job.items_left) == (Status.FAILED, "batch_too_large", 0)
    assert statuses(job) == [(Status.FAILED, "batch_too_large")] * 4
    assert stored_keys() == set()
    assert not Hold.objects.exists()
    with pytest.raises(Conflict) as caught:
        receive(job.items.get(position=3))
    assert caught.value.type == "upload_expired"


def test_broken_file_fails_alone(organization, no_recording):
    job = submit(organization, [file_source("a"), file_source("b")])
    bad, good = job.items.all()
    receive(bad, path=no_recording)
    receive(good)
    verify(job)
    assert (job.status, job.items_failed) == (Status.QUEUED, 1)
    finish(job)
    assert (job.status, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, job.quoted_micros)
    assert statuses(job) == [(Status.FAILED, "not_audio"), (Status.COMPLETED, "")]


def test_broken_files_alone_fail_the_job(organization, no_recording):
    job = submit(organization, [file_source("a"), file_source("b")])
    for item in job.items.all():
        receive(item, path=no_recording)
    verify(job)
    assert (job.status, job.error_type, job.items_left) == (Status.FAILED, "not_audio", 0)
    assert not Hold.objects.exists()
    assert stored_keys() == set()


def test_file_of_another_size_than_declared_may_be_sent_again(organization, no_recording):
    job = submit(organization, [file_source(declared_bytes=SIZE + 1)])
    with pytest.raises(BadRequest) as caught:
        receive(job.items.get())
    assert caught.value.type == "upload_size_mismatch"
    job.refresh_from_db()
    assert job.status == Status.UPLOADING
    assert stored_keys() == set()


def test_empty_file_of_unknown_size_is_refused(organization, tmp_path):
    (tmp_path / "empty").touch()
    job = submit(organization, [Source(name="call.wav")])
    with pytest.raises(BadRequest) as caught:
        receive(job.items.get(), path=tmp_path / "empty")
    assert caught.value.type == "upload_size_mismatch"


def test_job_canceled_while_uploading_costs_nothing_and_its_late_bytes_go(
    organization, django_capture_on_commit_callbacks
):
    job = submit(organization, [file_source("a"), file_source("b"), Source(url=URL)])
    first, second, _ = job.items.all()
    receive(first)
    jobs.cancel(job)
    # A receiver that had begun ends now.
    with django_capture_on_commit_callbacks(execute=True):
        receive(second)
    verify(job)
    assert (job.status, job.cost_micros, held(organization)) == (Status.CANCELED, None, 0)
    assert queue.waiting_task_ids("bulk") == []
    with pytest.raises(Conflict):
        jobs.uploads_completed(job)
    expiry.expire(now=timezone.now() + timedelta(hours=25))
    assert stored_keys() == set()


def test_files_that_were_not_sent_fail_when_the_customer_says_that_all_were(organization):
    job = submit(organization, [file_source("a"), file_source("b"), file_source("c")])
    receive(job.items.first())
    assert jobs.uploads_completed(job) == 2
    assert statuses(job)[1:] == [(Status.FAILED, "upload_missing")] * 2
    assert (job.items_left, job.items_unverified, job.status) == (1, 1, Status.VERIFYING)
    verify(job)
    finish(job)
    assert (job.status, job.cost_micros) == (Status.COMPLETED_WITH_ERRORS, job.quoted_micros)


def test_job_is_queued_at_once_if_only_files_are_missing_that_were_not_sent(organization):
    job = submit(organization, [file_source("a"), file_source("b")])
    receive(job.items.first())
    verify(job)
    assert jobs.uploads_completed(job) == 1
    assert job.status == Status.QUEUED
    assert held(organization) == job.quoted_micros > 0


def test_job_of_no_file_fails_when_the_customer_says_that_all_were_sent(organization):
    job = submit(organization, [file_source("a"), file_source("b")])
    assert jobs.uploads_completed(job) == 2
    assert (job.status, job.error_type, job.cost_micros) == (Status.FAILED, "upload_missing", None)
    assert not Hold.objects.exists()


def test_file_that_comes_after_the_word_that_all_were_sent_is_refused(organization, no_recording):
    job = submit(organization, [file_source("a"), file_source("b")])
    late = job.items.last()
    receive(job.items.first())
    jobs.uploads_completed(job)
    with pytest.raises(Conflict) as caught:
        receive(late)
    assert caught.value.type == "upload_expired"
    assert stored_keys() == {job.items.first().upload.storage_key}


def test_files_that_never_come_fail_together(organization):
    job = submit(organization, [file_source(str(number)) for number in range(60)])
    with connection.execute_wrapper(counter := Counter()):
        assert jobs.fail_expired_uploads(now=timezone.now() + timedelta(hours=25)) == 60
    # Each upload ends by an UPDATE of its own, and the items by one.
    assert counter.count < 60 + 30
    job.refresh_from_db()
    assert (job.status, job.error_type) == (Status.FAILED, "upload_expired")


def test_nobody_stores_for_nothing_by_files_that_never_come(organization, settings):
    """Attack: announce two files, send one, cancel, and so on. A canceled job keeps its files to be run again."""
    settings.MAX_ORDERABLE_BYTES = 2 * SENTENCE.path.stat().st_size
    for _ in range(2):
        job = submit(organization, [file_source(), file_source()])
        receive(job.items.get(position=0))
        verify(job)
        jobs.cancel(job)
    for sources in ([file_source()], [Source(url="https://example.com/a.mp3")]):
        with pytest.raises(Conflict) as caught:
            submissions.submit_sources(make_submission(organization), sources=sources)
        assert caught.value.type == "too_many_stored_files"
    with pytest.raises(Conflict):
        submissions.submit_url(make_submission(organization), url="https://example.com/a.mp3")
    jobs.delete(job)
    submissions.submit_url(make_submission(organization), url="https://example.com/a.mp3")
