"""Redis hears of work here. Losing everything in it costs time only: the clock asks the database and enqueues again.

In which order workers empty the queues is in `voxsite/serve/programs.py`.
"""

import logging
from collections.abc import Sequence

import django_rq
from django.conf import settings
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job as RqJob
from rq.queue import EnqueueData, Queue

from transcription.models import Job, JobItem, Priority

logger = logging.getLogger(__name__)

RUN_TASK = "transcription.tasks.run_item"
VERIFY_TASK = "transcription.tasks.verify_item"
IMPORTS = "imports"
IMPORT_TASK = "transcription.tasks.fetch_imports"
# Tasks of a batch that one round trip to Redis carries.
ENQUEUE_BATCH_SIZE = 500


def enqueue(items: Sequence[JobItem], *, job: Job) -> bool:
    """Tell the workers of a job's items: to verify those without a recording, and to transcribe the others.

    Returns False when Redis does not answer; the clock tells the workers later.
    """
    try:
        waiting = django_rq.get_queue(job.priority)
        for first in range(0, len(items), ENQUEUE_BATCH_SIZE):
            waiting.enqueue_many([_task(item) for item in items[first : first + ENQUEUE_BATCH_SIZE]])
    except RedisError:
        logger.exception("Items of job %s are not enqueued: Redis does not answer.", job.pk)
        return False
    return True


def enqueue_if_lost(item: JobItem, *, job: Job) -> bool:
    """Tell the workers of an item again unless it still waits in its queue. Returns whether they were told."""
    try:
        waiting = django_rq.get_queue(job.priority)
        if waiting.get_job_position(task_id(item)) is not None:
            return False
        _forget(item)
    except RedisError:
        logger.exception("Item %s is not looked for: Redis does not answer.", item.pk)
        return False
    return enqueue([item], job=job)


def enqueue_imports() -> bool:
    """Tell the importers that an import waits. Returns False when Redis does not answer; the clock tells them later.

    One task that waits is enough for all: it finds whatever was committed before it starts.
    """
    try:
        waiting = django_rq.get_queue(IMPORTS)
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
    """Return RQ's id of an item's next task. It is always the same, so the queue can be searched for it.

    RQ runs a task that was enqueued twice two times (rq 2.12): the claim of the item lets one of them work.
    """
    return f"item-{item.pk}-{item.attempt}" if item.media_id else f"verify-{item.pk}"


def _task(item: JobItem) -> EnqueueData:
    return Queue.prepare_data(
        RUN_TASK if item.media_id else VERIFY_TASK,
        args=(str(item.pk),),
        job_id=task_id(item),
        timeout=settings.RQ_TASK_SECONDS,
        result_ttl=0,
        failure_ttl=0,
    )


def _forget(item: JobItem) -> None:
    try:
        RqJob.fetch(task_id(item), connection=django_rq.get_connection(Priority.STANDARD)).delete()
    except NoSuchJobError:
        return
