"""Redis hears of work here. Losing everything in it costs time only: the clock asks the database and enqueues again.

In which order workers empty the queues is in `voxsite/serve/programs.py`.
"""

import logging
import secrets
import uuid
from collections.abc import Iterable, Sequence
from itertools import groupby

import django_rq
from django.conf import settings
from django.db.models import Q
from redis.exceptions import RedisError
from rq.queue import EnqueueData, Queue

from accounts import redis_connections
from transcription.models import Job, JobItem, Priority, Status

logger = logging.getLogger(__name__)

RUN_TASK = "transcription.tasks.run_item"
VERIFY_TASK = "transcription.tasks.verify_item"
IMPORTS = "imports"
ENQUEUE_TASK = "transcription.tasks.enqueue_rest"
IMPORT_TASK = "transcription.tasks.fetch_imports"
# In the id of a task that was enqueued again, before what makes it another one.
AGAIN = "_"
# Tasks of a batch that one round trip to Redis carries.
ENQUEUE_BATCH_SIZE = 500


def enqueue(items: Sequence[JobItem], *, job: Job) -> bool:
    """Tell the workers of a job's items: to verify those without a recording, and to transcribe the others.

    Of many items, all but the first ones are told by a worker: for 10,000 that takes seconds, and a request may wait.
    Returns False when Redis does not answer; the clock tells the workers later.
    """
    try:
        _queue(job.priority).enqueue_many([_task(item) for item in items[:ENQUEUE_BATCH_SIZE]])
        if len(items) > ENQUEUE_BATCH_SIZE:
            _queue(Priority.STANDARD).enqueue(
                ENQUEUE_TASK,
                str(job.pk),
                items[ENQUEUE_BATCH_SIZE].position,
                job_timeout=settings.RQ_TASK_SECONDS,
                result_ttl=0,
                failure_ttl=0,
            )
    except RedisError:
        logger.exception("Items of job %s are not enqueued: Redis does not answer.", job.pk)
        return False
    return True


def enqueue_rest(job_id: uuid.UUID, *, position: int) -> int:
    """Tell the workers of all items of a job that wait, from a position on. Returns how many these are.

    Does what `enqueue` has left. If the process dies, the clock tells the workers of the others.
    """
    waits = Q(status=Status.QUEUED) | Q(status=Status.VERIFYING, media__isnull=True)
    told = 0
    job = Job.objects.filter(pk=job_id).first()
    while job is not None:
        items = list(job.items.filter(waits, position__gte=position)[:ENQUEUE_BATCH_SIZE])
        if not items or not enqueue(items, job=job):
            break
        told += len(items)
        position = items[-1].position + 1
    return told


def enqueue_lost(items: Iterable[JobItem]) -> int:
    """Tell the workers again of those items that do not wait in their queues any more. Returns how many these are.

    Each queue is read once, however many items there are, and so is each job.
    """
    by_job: dict[uuid.UUID, list[JobItem]] = {}
    for item in items:
        by_job.setdefault(item.job_id, []).append(item)
    jobs = sorted(Job.objects.filter(pk__in=by_job), key=lambda job: job.priority)
    lost = 0
    for priority, of_priority in groupby(jobs, key=lambda job: job.priority):
        try:
            waiting = {task.partition(AGAIN)[0] for task in waiting_task_ids(priority)}
        except RedisError:
            logger.exception("The queue %s is not searched: Redis does not answer.", priority)
            continue
        for job in of_priority:
            missing = [item for item in by_job[job.pk] if task_id(item) not in waiting]
            lost += len(missing) if missing and _enqueue_again(missing, job=job) else 0
    return lost


def _enqueue_again(items: Sequence[JobItem], *, job: Job) -> bool:
    """Tell the workers of exactly these items of a job. Others of the job wait in the queue already.

    Each task gets an id of its own: its item may be no lost one, but in the hands of a worker that has not claimed it
    yet. RQ keeps what it knows of a running task under its id, and a worker that finds this gone or changed ends
    (rq 2.12).
    """
    again = f"{AGAIN}{secrets.token_hex(4)}"
    try:
        for first in range(0, len(items), ENQUEUE_BATCH_SIZE):
            batch = items[first : first + ENQUEUE_BATCH_SIZE]
            django_rq.get_queue(job.priority).enqueue_many([_task(item, again=again) for item in batch])
    except RedisError:
        logger.exception("Items of job %s are not enqueued: Redis does not answer.", job.pk)
        return False
    return True


def enqueue_imports() -> bool:
    """Tell the importers that an import waits. Returns False when Redis does not answer; the clock tells them later.

    One task that waits is enough for all: it finds whatever was committed before it starts.
    """
    try:
        waiting = _queue(IMPORTS)
        if not waiting.count:
            waiting.enqueue(IMPORT_TASK, job_timeout=settings.RQ_TASK_SECONDS, result_ttl=0, failure_ttl=0)
    except RedisError:
        logger.exception("Imports are not announced: Redis does not answer.")
        return False
    return True


def waiting_task_ids(priority: str) -> list[str]:
    """Return RQ's ids of the tasks that wait in a queue, the next one first. Raises RedisError."""
    return list(django_rq.get_queue(priority).job_ids)


def task_id(item: JobItem) -> str:
    """Return RQ's id of an item's next task. The queue is searched for it, or for one that has AGAIN after it.

    RQ runs a task that was enqueued twice two times (rq 2.12): the claim of the item lets one of them work.
    """
    return f"item-{item.pk}-{item.attempt}" if item.media_id else f"verify-{item.pk}"


def _queue(name: str) -> Queue:
    """Return a queue to put tasks into. RQ's own connections, with which workers read, wait for longer."""
    queue: Queue = django_rq.get_queue(name, connection=redis_connections.client())
    return queue


def _task(item: JobItem, *, again: str = "") -> EnqueueData:
    return Queue.prepare_data(
        RUN_TASK if item.media_id else VERIFY_TASK,
        args=(str(item.pk),),
        job_id=task_id(item) + again,
        timeout=settings.RQ_TASK_SECONDS,
        result_ttl=0,
        failure_ttl=0,
    )
