"""Work that nobody does any more is given back: after a dead worker, an emptied Redis, or an upload that never came."""

from datetime import timedelta

import django_rq
import pytest
from django.conf import settings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from redis import Redis
from rq.job import Job as RqJob
from rq.worker import Worker as RqWorker

from billing import statements
from billing.models import Hold
from tests.fixtures import recordings as samples
from tests.transcription.broken_rows import broken
from tests.transcription.factories import make_job, make_media, make_submission
from tests.transcription.jobs.single_jobs import claim, grow_silent, usage
from transcription import jobs, submissions
from transcription.jobs import queue
from transcription.jobs.submission import Source
from transcription.models import Import, Job, JobItem, Status, Upload, UploadState
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


@pytest.mark.long
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


def names_of(tasks):
    """Return what the tasks are called without what makes one that was enqueued again another one."""
    return sorted(task.partition(queue.AGAIN)[0] for task in tasks)


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
    assert names_of(waiting()) == [queue.task_id(enqueued.items.get())]


def test_task_popped_by_a_worker_that_died_is_enqueued_again(enqueued):
    with Redis.from_url(settings.REDIS_URL) as client:
        client.lpop("rq:queue:standard")
    assert jobs.reconcile(now=after_a_while()) == 1
    assert len(waiting()) == 1
    assert jobs.reconcile(now=after_a_while()) == 0


def test_task_of_a_worker_that_has_not_claimed_its_item_yet_stays_its_own(enqueued):
    """Between the two a busy machine may need a second. RQ lost its own record of the task, and the worker ended."""
    with Redis.from_url(settings.REDIS_URL) as client:
        task = RqJob.fetch(client.lpop("rq:queue:standard").decode(), connection=client)
        worker = RqWorker(["standard"], connection=client)
        worker.prepare_execution(task)
        before = client.hgetall(task.key)
        assert jobs.reconcile(now=after_a_while()) == 1
        assert client.hgetall(task.key) == before
        assert task.get_executions()
        assert waiting() != [task.id]


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
    assert names_of(queue.waiting_task_ids("standard")) == [queue.task_id(job.items.get())]


def cost_of_a_round(later):
    """Return (queries, rows that they brought) of a round of the clock that finds nothing."""
    with CaptureQueriesContext(connection) as captured:
        assert jobs.reconcile(now=later, window_size=10) == 0
    selects = [query["sql"] for query in captured.captured_queries if query["sql"].startswith("SELECT")]
    rows = 0
    with connection.cursor() as cursor:
        for sql in selects:
            cursor.execute(sql)
            rows += len(cursor.fetchall())
    return len(captured), rows


def test_round_of_the_clock_costs_the_same_however_many_wait(organization):
    """It read all imports, and all items that wait with their uploads, every five seconds."""
    costs = []
    for count in (10, 200):
        sources = [Source(reference=str(n), url=f"https://example.com/{n}.mp3") for n in range(count)]
        jobs.submit_sources(make_submission(organization), sources=sources)
        costs.append(cost_of_a_round(timezone.now() + timedelta(minutes=1)))
    assert costs[0] == costs[1]
    assert costs[1][1] <= 10 + 2


@pytest.mark.long
def test_lost_item_among_many_is_found_within_a_walk(organization):
    sources = [Source(reference=str(n), url=f"https://example.com/{n}.mp3") for n in range(45)]
    job = jobs.submit_sources(make_submission(organization), sources=sources)
    # All of one time, as those of one UPDATE are.
    job.items.update(touched_at=timezone.now())
    for round_of_walk in range(2):
        lost = job.items.filter(status=Status.UPLOADING).order_by("pk").last()
        refused = {"state": UploadState.REFUSED, "error_type": "url_not_found", "error_message": "No."}
        Upload.objects.filter(pk=lost.upload_id).update(**refused)
        later = timezone.now() + timedelta(minutes=1)
        assert sum(jobs.reconcile(now=later, window_size=10) for _ in range(6)) == 1, round_of_walk
        lost.refresh_from_db()
        assert (lost.status, lost.error_type) == (Status.FAILED, "url_not_found")


def test_walk_that_runs_out_of_time_goes_on_where_it_was(organization):
    sources = [Source(reference=str(n), url=f"https://example.com/{n}.mp3") for n in range(3)]
    job = jobs.submit_sources(make_submission(organization), sources=sources)
    Upload.objects.update(state=UploadState.REFUSED, error_type="url_not_found", error_message="No.")
    later = timezone.now() + timedelta(minutes=1)
    assert [jobs.reconcile(now=later, seconds=0) for _ in range(4)] == [1, 1, 1, 0]
    job.refresh_from_db()
    assert (job.status, job.error_type) == (Status.FAILED, "url_not_found")


def make_broken_untold(organization):
    """Return the item of a job that nobody told of the end of its upload, and that cannot be told."""
    job = submissions.submit_url(make_submission(organization), url="https://example.com/a.mp3")
    refused = {"state": UploadState.REFUSED, "error_type": "url_not_found", "error_message": "No."}
    Upload.objects.filter(items__job=job).update(**refused)
    # By hand, which the product never does: the column takes no number below zero.
    Job.objects.filter(pk=job.pk).update(items_unverified=0)
    return job.items.get()


@pytest.mark.long
@pytest.mark.parametrize("seconds", [0, 60])
def test_item_that_cannot_be_told_hides_no_lost_one_behind_it(organization, enqueued, seconds, caplog):
    """Each round ended with it, before it kept its place: what Redis had lost was found for nobody any more."""
    broken, lost = make_broken_untold(organization), enqueued.items.get()
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    for item, minutes in ((broken, 2), (lost, 1)):
        JobItem.objects.filter(pk=item.pk).update(touched_at=timezone.now() - timedelta(minutes=minutes))
    for _ in range(3):
        jobs.reconcile(now=timezone.now(), seconds=seconds, window_size=1)
    assert names_of(waiting()) == [queue.task_id(lost)]
    assert f"Item {broken.pk} could not be told" in caplog.text
    # It is told once its row is whole.
    Job.objects.filter(pk=broken.job_id).update(items_unverified=1)
    jobs.reconcile(now=timezone.now() + timedelta(minutes=1))
    broken.refresh_from_db()
    assert (broken.status, broken.error_type) == (Status.FAILED, "url_not_found")


@pytest.mark.parametrize("state", [UploadState.REFUSED, UploadState.RECEIVED])
def test_item_that_cannot_be_told_keeps_no_other_one_of_its_upload_waiting(organization, state, caplog):
    """Jobs of one file: those after it were told in no round."""
    upload = uploads.begin(organization, name="a.mp3", declared_bytes=10)
    items = [submissions.submit_upload(make_submission(organization), upload=upload).items.get() for _ in range(3)]
    refused = {"error_type": "url_not_found", "error_message": "No."} if state == UploadState.REFUSED else {}
    Upload.objects.filter(pk=upload.pk).update(state=state, **refused)
    with broken(items[1], act="UPDATE"):  # it is between the others in every order
        jobs.reconcile(now=timezone.now() + timedelta(minutes=1))
    assert f"Item {items[1].pk} could not be told" in caplog.text
    assert list(JobItem.objects.filter(status=Status.UPLOADING)) == [items[1]]


def test_import_that_cannot_be_ended_keeps_no_other_waiting(organization, settings):
    broken, whole = (
        submissions.submit_url(make_submission(organization), url="https://example.com/a.mp3") for _ in range(2)
    )
    Job.objects.filter(pk=broken.pk).update(items_unverified=0)
    for job, minutes in ((broken, 2), (whole, 1)):
        Import.objects.filter(upload__items__job=job).update(
            attempt=settings.JOB_ATTEMPTS, touched_at=timezone.now() - timedelta(minutes=minutes)
        )
    jobs.reconcile(now=timezone.now())
    whole.refresh_from_db()
    assert (whole.status, whole.error_type) == (Status.FAILED, "worker_lost")
    assert not Import.objects.exists()


def batch_of(organization, *, count):
    """Return a batch whose items wait to be transcribed since a minute, and whose tasks Redis has."""
    recording = make_media(organization)
    job = jobs.submit_batch(make_submission(organization), recordings=[recording] * count, name="many")
    items = list(job.items.all())
    for first in range(0, count, queue.ENQUEUE_BATCH_SIZE):
        queue.enqueue(items[first : first + queue.ENQUEUE_BATCH_SIZE], job=job)
    JobItem.objects.update(touched_at=timezone.now() - timedelta(minutes=1))
    return job


def test_batch_that_waits_is_looked_at_and_not_changed(organization):
    """Each round wrote up to 500 rows, for as long as a batch waited."""
    job = batch_of(organization, count=25)
    before = list(job.items.values())
    assert [jobs.reconcile(now=timezone.now(), window_size=10) for _ in range(4)] == [0, 0, 0, 0]
    assert list(job.items.values()) == before
    assert len(queue.waiting_task_ids(job.priority)) == 25


def test_lost_tasks_of_a_batch_are_found_within_a_walk_and_enqueued_once(organization):
    job = batch_of(organization, count=25)
    lost = [queue.task_id(item) for item in job.items.filter(position__in=(0, 12, 24))]
    with Redis.from_url(settings.REDIS_URL) as client:
        for task_id in lost:
            client.lrem(f"rq:queue:{job.priority}", 1, task_id)
    assert sum(jobs.reconcile(now=timezone.now(), window_size=10) for _ in range(3)) == 3
    assert names_of(queue.waiting_task_ids(job.priority)) == sorted(queue.task_id(item) for item in job.items.all())


@pytest.mark.long
def test_emptied_redis_is_filled_by_more_tasks_than_one_request_carries(organization):
    """A worker that tells the rest would tell those again that wait already."""
    count = 2 * queue.ENQUEUE_BATCH_SIZE + 5
    job = batch_of(organization, count=count)
    with Redis.from_url(settings.REDIS_URL) as client:
        client.flushdb()
    assert jobs.reconcile(now=timezone.now()) == count
    assert names_of(queue.waiting_task_ids(job.priority)) == sorted(queue.task_id(item) for item in job.items.all())
    assert waiting() == []
