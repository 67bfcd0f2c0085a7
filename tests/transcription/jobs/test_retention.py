from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from tests.contention import contend
from tests.transcription.factories import make_batch, make_job, make_transcript
from transcription import jobs
from transcription.jobs import Retention, retention
from transcription.models import Job, JobItem, Status


def finish(job):
    for item in job.items.all():
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())
    job.refresh_from_db()
    return job


def fail(job):
    jobs.reject_item(jobs.claim(job.items.get().pk), error_type="not_audio", message="No audio.")
    job.refresh_from_db()
    return job


def test_job_is_kept_unless_something_else_was_chosen(organization):
    job = finish(make_job(organization))
    assert jobs.retrieve(job).text == "hello"
    job.refresh_from_db()
    assert job.delete_at is None
    assert retention.of(job) == retention.KEEP


@pytest.mark.parametrize("end", [finish, fail, jobs.cancel])
def test_days_count_from_the_end_however_the_job_ended(organization, end):
    job = make_job(organization, retention=Retention(days=30))
    assert job.delete_at is None
    end(job)
    assert job.delete_at - job.finished_at == timedelta(days=30)
    assert retention.of(job) == Retention(days=30)


def test_completed_job_waits_for_its_retrieval_however_long(organization):
    job = finish(make_job(organization, retention=Retention(after_retrieval=True)))
    assert job.delete_at is None


@pytest.mark.parametrize("end", [fail, jobs.cancel])
def test_job_that_cannot_be_retrieved_goes_after_a_day(organization, end):
    job = end(make_job(organization, retention=Retention(after_retrieval=True)))
    assert job.delete_at - job.finished_at == timedelta(days=1)


def test_first_retrieval_counts_and_leaves_an_hour(organization):
    job = finish(make_job(organization, retention=Retention(after_retrieval=True)))
    before = timezone.now()
    jobs.retrieve(job)
    job.refresh_from_db()
    first = job.delete_at
    assert before + retention.RETRIEVAL_GRACE <= first <= timezone.now() + retention.RETRIEVAL_GRACE
    jobs.retrieve(job)
    jobs.retrieve_item(job.items.get())
    job.refresh_from_db()
    assert job.delete_at == first


def test_reading_without_giving_away_is_no_retrieval(organization):
    job = finish(make_job(organization, retention=Retention(after_retrieval=True)))
    jobs.transcript_of(job)
    jobs.transcript_of_item(job.items.get())
    job.refresh_from_db()
    assert job.delete_at is None


@pytest.fixture
def batch(organization):
    job = make_batch(organization, 3)
    Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True)
    job.refresh_from_db()
    return job


def retrieve(job, *positions):
    for item in job.items.select_related("job").filter(position__in=positions):
        jobs.retrieve_item(item)
    job.refresh_from_db()


def test_job_of_several_recordings_is_retrieved_with_the_last_of_them(batch):
    finish(batch)
    retrieve(batch, 0, 1, 0, 1)
    assert batch.delete_at is None
    retrieve(batch, 2)
    first = batch.delete_at
    assert timedelta() < first - timezone.now() <= retention.RETRIEVAL_GRACE
    retrieve(batch, 0)
    assert batch.delete_at == first


def test_recordings_without_a_result_are_not_waited_for(batch):
    first, second, third = batch.items.order_by("position")
    jobs.finish_item(jobs.claim(first.pk), transcript=make_transcript())
    jobs.reject_item(jobs.claim(second.pk), error_type="not_audio", message="No audio.")
    jobs.finish_item(jobs.claim(third.pk), transcript=make_transcript())
    retrieve(batch, 0)
    assert (batch.status, batch.delete_at) == (Status.COMPLETED_WITH_ERRORS, None)
    retrieve(batch, 2)
    assert batch.delete_at is not None


def test_hour_begins_with_the_end_when_all_was_retrieved_before(batch):
    for item in batch.items.order_by("position")[:2]:
        jobs.finish_item(jobs.claim(item.pk), transcript=make_transcript())
    retrieve(batch, 0, 1)
    assert (batch.is_final, batch.delete_at) == (False, None)
    jobs.cancel(batch)
    assert batch.status == Status.COMPLETED_WITH_ERRORS
    assert batch.delete_at == batch.finished_at + retention.RETRIEVAL_GRACE


def test_document_with_all_recordings_is_a_retrieval_of_all(batch):
    finish(batch)
    retention.record_whole_retrieval(batch)
    batch.refresh_from_db()
    assert batch.delete_at is not None


@pytest.mark.django_db(transaction=True)
def test_two_last_recordings_that_are_retrieved_at_once_end_the_job(batch):
    finish(batch)
    contend(retrieve_one, batch.pk, kind="threads", worker_count=3)
    batch.refresh_from_db()
    assert batch.delete_at is not None


def retrieve_one(job_id, worker):
    jobs.retrieve_item(JobItem.objects.select_related("job").get(job=job_id, position=worker))


def test_job_that_is_run_again_keeps_its_metadata_and_retention(organization):
    chosen = {"retention": Retention(days=3), "metadata": {"order": "7"}}
    again = jobs.run_again(fail(make_job(organization, **chosen)))
    assert (again.metadata, retention.of(again), again.delete_at) == ({"order": "7"}, Retention(days=3), None)


@pytest.mark.parametrize("days", [0, -1, retention.MAX_DAYS + 1])
def test_impossible_days_are_a_bug(days):
    with pytest.raises(AssertionError):
        Retention(days=days)


def test_two_retentions_are_a_bug_and_no_row(organization):
    with pytest.raises(AssertionError):
        Retention(after_retrieval=True, days=1)
    job = make_job(organization)
    with pytest.raises(IntegrityError, match="job_has_one_retention"), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(deletes_after_retrieval=True, retention_days=1)
    with pytest.raises(IntegrityError, match="job_ends_before_it_falls_due"), transaction.atomic():
        Job.objects.filter(pk=job.pk, status=Status.QUEUED).update(delete_at=timezone.now())
