"""Redis hears of work here. Losing everything in it costs time only: the clock asks the database and enqueues again."""

import logging

import django_rq
from django.conf import settings
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job as RqJob

from transcription.models import Job, JobItem

logger = logging.getLogger(__name__)

INTERACTIVE, STANDARD, BULK = "interactive", "standard", "bulk"
TASK = "transcription.tasks.run_item"


def queue_name(job: Job) -> str:
    """Return the queue that a job belongs to: somebody watches a page, so pages go before programs."""
    return INTERACTIVE if job.dialect == "pages" else STANDARD


def enqueue(item: JobItem, *, job: Job) -> bool:
    """Tell the workers of an item. Returns False when Redis does not answer; the clock will tell them later."""
    try:
        django_rq.get_queue(queue_name(job)).enqueue_call(
            TASK,
            args=(str(item.pk),),
            job_id=task_id(item),
            timeout=settings.RQ_QUEUES[STANDARD]["DEFAULT_TIMEOUT"],
            result_ttl=0,
            failure_ttl=0,
        )
    except RedisError:
        logger.exception("Item %s is not enqueued: Redis does not answer.", item.pk)
        return False
    return True


def enqueue_if_lost(item: JobItem, *, job: Job) -> bool:
    """Tell the workers of an item again unless it still waits in its queue. Returns whether they were told."""
    try:
        waiting = django_rq.get_queue(queue_name(job))
        if waiting.get_job_position(task_id(item)) is not None:
            return False
        _forget(item)
    except RedisError:
        logger.exception("Item %s is not looked for: Redis does not answer.", item.pk)
        return False
    return enqueue(item, job=job)


def task_id(item: JobItem) -> str:
    """Return RQ's id of an item's next attempt, always the same: telling twice is telling once."""
    return f"item-{item.pk}-{item.attempt}"


def _forget(item: JobItem) -> None:
    try:
        RqJob.fetch(task_id(item), connection=django_rq.get_connection(STANDARD)).delete()
    except NoSuchJobError:
        return
