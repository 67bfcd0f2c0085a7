"""Work that nobody does any more is given back: after a dead worker, an emptied Redis, or an upload that never came."""

from datetime import timedelta

import django_rq
import pytest
from django.conf import settings
from django.utils import timezone
from redis import Redis

from billing import statements
from billing.models import Hold
from tests.fixtures import recordings as samples
from tests.transcription.factories import make_job, make_submission
from tests.transcription.jobs.single_jobs import claim, grow_silent, usage
from transcription import jobs, submissions
from transcription.jobs import queue
from transcription.models import JobItem, Status
from transcription.recordings import uploads

SENTENCE = samples.named("sentence-slt.wav")


@pytest.fixture
def enqueued(organization, django_capture_on_commit_callbacks):
    """A job whose item waits in Redis."""
    with django_capture_on_commit_callbacks(execute=True):
        return make_job(organization)


def begin(organization):
    return uploads.begin(organization, name="call.wav", declared_bytes=SENTENCE.path.stat().st_size)


def test_living_worker_keeps_its_item(job):
    item = claim(job)
    grow_silent(item)
    jobs.touch(item, progress=40)
    assert jobs.reconcile(now=timezone.now()) == 0
    job.refresh_from_db()
    assert job.progress == 40


def test_item_whose_workers_keep_dying_fails_without_charge(organization, job, settings):
    for _ in range(settings.JOB_ATTEMPTS):
        grow_silent(claim(job))
        jobs.reconcile(now=timezone.now())
    job.refresh_from_db()
    assert job.status == Status.FAILED
    assert job.error_type == "worker_lost"
    assert job.cost_micros is None
    assert usage(organization) == []
    assert statements.balance(organization).held_micros == 0


def test_one_broken_item_does_not_keep_the_others_waiting(organization):
    broken, whole = make_job(organization), make_job(organization)
    for each in (broken, whole):
        JobItem.objects.filter(job=each).update(attempt=2)
        grow_silent(claim(each))
    # The hold gets another reference by hand, which the product never does: the job cannot release it.
    Hold.objects.filter(reference=broken.hold_reference).update(reference="lost")
    JobItem.objects.filter(job=broken).update(touched_at=timezone.now() - timedelta(days=1))
    assert jobs.reconcile(now=timezone.now()) == 1
    whole.refresh_from_db()
    assert whole.status == Status.FAILED


def test_broken_items_do_not_use_up_every_round(organization):
    broken = [make_job(organization) for _ in range(3)]
    whole = make_job(organization)
    for each in (*broken, whole):
        JobItem.objects.filter(job=each).update(attempt=2)
        grow_silent(claim(each))
    references = [job.hold_reference for job in broken]
    for number, reference in enumerate(references):
        Hold.objects.filter(reference=reference).update(reference=f"lost:{number}")
    JobItem.objects.filter(job__in=broken).update(touched_at=timezone.now() - timedelta(days=1))
    # One time for all rounds: on a busy machine those of the first rounds may be silent again before the last one.
    now = timezone.now()
    assert [jobs.reconcile(now=now, seconds=0) for _ in range(4)] == [0, 0, 0, 1]
    whole.refresh_from_db()
    assert whole.status == Status.FAILED
    # They are tried again, and succeed once the rows are whole.
    for number, reference in enumerate(references):
        Hold.objects.filter(reference=f"lost:{number}").update(reference=reference)
    later = timezone.now() + timedelta(seconds=settings.SILENT_WORKER_SECONDS + 1)
    assert jobs.reconcile(now=later) == 3


def waiting():
    return django_rq.get_queue("standard").job_ids


def after_a_while():
    JobItem.objects.update(touched_at=timezone.now() - timedelta(minutes=1))
    return timezone.now()


def test_round_that_has_no_time_left_leaves_the_rest_to_the_next(organization):
    items = [claim(make_job(organization)) for _ in range(3)]
    for item in items:
        grow_silent(item)
    assert [jobs.reconcile(now=timezone.now(), seconds=0) for _ in range(4)] == [1, 1, 1, 0]


def test_item_that_still_waits_is_not_enqueued_twice(enqueued):
    assert jobs.reconcile(now=after_a_while()) == 0
    assert len(waiting()) == 1


def test_emptied_redis_is_filled_again(enqueued):
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    assert jobs.reconcile(now=after_a_while()) == 1
    assert waiting() == [queue.task_id(enqueued.items.get())]


def test_task_popped_by_a_worker_that_died_is_enqueued_again(enqueued):
    with Redis.from_url(settings.REDIS_URL) as client:
        client.lpop("rq:queue:standard")
    assert jobs.reconcile(now=after_a_while()) == 1
    assert len(waiting()) == 1


def test_item_queued_a_moment_ago_is_left_alone(enqueued):
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    assert jobs.reconcile(now=timezone.now()) == 0


def test_upload_that_never_comes_fails_its_job(organization):
    job = submissions.submit_upload(make_submission(organization), upload=begin(organization))
    later = timezone.now() + timedelta(hours=25)
    assert jobs.fail_expired_uploads(now=later) == 1
    assert jobs.fail_expired_uploads(now=later) == 0
    job.refresh_from_db()
    assert (job.status, job.error_type) == (Status.FAILED, "upload_expired")


def test_lost_verification_is_enqueued_again(organization):
    upload = begin(organization)
    job = submissions.submit_upload(make_submission(organization), upload=upload)
    uploads.receive(upload, path=SENTENCE.path)
    jobs.bytes_have_come(upload)
    JobItem.objects.update(touched_at=timezone.now() - timedelta(minutes=1))
    assert jobs.reconcile(now=timezone.now()) == 1
    assert queue.waiting_task_ids("standard") == [queue.task_id(job.items.get())]
