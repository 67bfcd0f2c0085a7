"""A child goes on with a batch for a moment, unless anything more urgent waits."""

import django_rq
import pytest
from django.db import OperationalError
from rq.job import Job as RqJob

from transcription.jobs import shards

done: list[str] = []


def task(name: str) -> None:
    done.append(name)
    if name == "broken":
        raise ValueError(name)
    if name == "cut":
        raise OperationalError(name)


@pytest.fixture(autouse=True)
def nothing_done():
    done.clear()


def enqueue(*names, queue="bulk"):
    for name in names:
        django_rq.get_queue(queue).enqueue_call("tests.transcription.jobs.test_shards.task", args=(name,), job_id=name)


class Clock:
    """A clock that goes on by so many seconds whenever it is read."""

    def __init__(self, step):
        self.step, self.seconds = step, 0.0

    def __call__(self):
        self.seconds += self.step
        return self.seconds


def go_on(*, queue="bulk", step=0.0):
    return shards.go_on(queue=queue, started=0.0, now=Clock(step))


def test_tasks_of_a_batch_are_done_after_each_other():
    enqueue("a", "b", "c")
    assert go_on() == 3
    assert done == ["a", "b", "c"]
    assert django_rq.get_queue("bulk").count == 0
    assert not RqJob.exists("a", connection=django_rq.get_connection("bulk"))


def test_shard_ends_with_its_time():
    enqueue("a", "b", "c", "d")
    assert go_on(step=shards.SHARD_SECONDS / 2.5) == 2
    assert django_rq.get_queue("bulk").job_ids == ["c", "d"]


@pytest.mark.parametrize("queue", ["interactive", "standard"])
def test_shard_ends_when_anything_more_urgent_waits(queue):
    enqueue("a")
    enqueue("urgent", queue=queue)
    assert go_on() == 0
    assert done == []
    assert django_rq.get_queue("bulk").job_ids == ["a"]


def test_task_that_redis_has_lost_is_passed_over():
    enqueue("a", "b")
    django_rq.get_connection("bulk").delete(RqJob.key_for("a"))
    assert go_on() == 1
    assert done == ["b"]


@pytest.mark.parametrize("queue", ["interactive", "standard"])
def test_child_of_another_queue_does_not_go_on(queue):
    enqueue("a")
    assert go_on(queue=queue) == 0
    assert done == []


def test_broken_task_does_not_end_the_shard(caplog):
    enqueue("broken", "b")
    assert go_on() == 2
    assert done == ["broken", "b"]
    assert "Task broken failed." in caplog.text


def test_cut_connection_costs_no_other_task_of_the_batch():
    """The child kept the dead connection, and lost each next task by taking it from Redis."""
    enqueue("cut", "b")
    assert go_on() == 1
    assert done == ["cut"]
    assert django_rq.get_queue("bulk").job_ids == ["b"]


def test_task_that_redis_lost_is_skipped():
    enqueue("a", "b")
    django_rq.get_connection("bulk").delete(RqJob.key_for("a"))
    assert go_on() == 1
    assert done == ["b"]


def test_silent_redis_ends_the_shard(settings, monkeypatch, caplog):
    enqueue("a")
    for name in ("interactive", "standard", "bulk"):
        monkeypatch.setitem(settings.RQ_QUEUES[name], "URL", "redis://127.0.0.1:1/0")
    assert go_on() == 0
    assert "Redis does not answer" in caplog.text
