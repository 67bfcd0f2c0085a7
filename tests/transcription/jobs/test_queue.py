import uuid
from datetime import timedelta

import django_rq
import pytest
from django.test import override_settings
from django.utils import timezone

from accounts import redis_connections
from tests.transcription.factories import make_batch, make_job
from transcription import jobs
from transcription.jobs import queue
from transcription.models import JobItem, Priority


def waiting():
    return django_rq.get_queue("standard").job_ids


def after_a_while():
    JobItem.objects.update(touched_at=timezone.now() - timedelta(minutes=1))
    return timezone.now()


@pytest.fixture
def job(organization, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        return make_job(organization)


def test_submitted_job_is_enqueued_on_commit(organization, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=False) as callbacks:
        make_job(organization)
    assert waiting() == []
    for callback in callbacks:
        callback()
    assert len(waiting()) == 1


def test_silent_redis_loses_nothing(organization, django_capture_on_commit_callbacks):
    with override_settings(REDIS_URL="redis://127.0.0.1:1/0"), django_capture_on_commit_callbacks(execute=True):
        job = make_job(organization)
    redis_connections.forget()
    assert waiting() == []
    assert jobs.reconcile(now=after_a_while()) == 1
    (task,) = waiting()
    assert task.startswith(queue.task_id(job.items.get()))


def test_job_waits_in_the_queue_of_its_priority(organization, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        job = make_job(organization, priority=Priority.INTERACTIVE)
    assert queue.waiting_task_ids("standard") == []
    assert queue.waiting_task_ids("interactive") == [queue.task_id(job.items.get())]


@pytest.mark.long
def test_worker_enqueues_all_but_the_first_items_of_a_large_batch(organization, django_capture_on_commit_callbacks):
    at_once = queue.ENQUEUE_BATCH_SIZE
    with django_capture_on_commit_callbacks(execute=True):
        job = make_batch(organization, 2 * at_once + 5)
    items = list(job.items.all())
    assert queue.waiting_task_ids("bulk") == [queue.task_id(item) for item in items[:at_once]]
    (task,) = django_rq.get_queue("standard").jobs
    jobs.claim(items[at_once + 2].pk)
    task.func(*task.args)
    expected = [queue.task_id(item) for item in items if item != items[at_once + 2]]
    assert queue.waiting_task_ids("bulk") == expected


def test_rest_of_a_deleted_batch_is_not_enqueued(organization, db):
    assert queue.enqueue_rest(uuid.uuid4(), position=0) == 0
