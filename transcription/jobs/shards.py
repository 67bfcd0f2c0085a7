"""Small shards of a batch: a child that has done one task of the bulk queue goes on with the next ones for a moment.

A fork, a connection to the database and the loading of a few modules take longer than two seconds of speech. So a child
does as many tasks as it begins within SHARD_SECONDS. It ends earlier when anything waits in a more urgent queue: the
worker, which asks the queues in their order, takes that next.

A task that was taken from Redis by a child that dies is lost there. The clock enqueues its item again, as after every
such loss (`reconciliation`).
"""

import logging
import time
from collections.abc import Callable

import django_rq
from django.db import DatabaseError, InterfaceError
from redis.exceptions import RedisError
from rq.exceptions import NoSuchJobError
from rq.job import Job as RqJob

from accounts import database_connection
from transcription.models import Priority

logger = logging.getLogger(__name__)

# No single recording waits longer for a shard of short ones.
SHARD_SECONDS = 1.0
MORE_URGENT = (Priority.INTERACTIVE, Priority.STANDARD)


def go_on(*, queue: str, started: float, now: Callable[[], float] = time.monotonic) -> int:
    """Do the tasks that wait in the bulk queue until the time of the shard is over. Returns how many.

    queue: the one of the task that was done; only a child of the bulk queue goes on. started: when that task began.
    """
    done = 0
    while queue == Priority.BULK and now() - started < SHARD_SECONDS:
        task = _take_next()
        if task is None:
            break
        done += 1
        try:
            task.func(*task.args)
        except Exception as error:
            # As RQ does with a task of its own: the item is found by the clock.
            logger.exception("Task %s failed.", task.id)
            # It may be a connection that was cut, which each next task would find too.
            database_connection.release()
            if isinstance(error, (DatabaseError, InterfaceError)):
                break  # Tasks that are taken while the database is away are lost until the clock finds their items.
    return done


def _take_next() -> RqJob | None:
    """Take the next task of the bulk queue. Returns None when there is none, or something more urgent."""
    try:
        if any(django_rq.get_queue(priority).count for priority in MORE_URGENT):
            return None
        waiting = django_rq.get_queue(Priority.BULK)
        # RQ's own `pop_job_id` raises ValueError for an empty queue (rq 2.12).
        while (task_id := waiting.connection.lpop(waiting.key)) is not None:
            try:
                task = RqJob.fetch(task_id.decode(), connection=waiting.connection)
            except NoSuchJobError:
                continue
            task.delete()
            return task
    except RedisError:
        logger.exception("No other task is taken: Redis does not answer.")
    return None
