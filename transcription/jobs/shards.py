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
from rq.job import Job as RqJob
from rq.queue import Queue

from accounts import database_connection
from transcription.models import Priority

logger = logging.getLogger(__name__)

# Shorter than HEARTBEAT_SECONDS: RQ's heartbeat would write down the first task of the shard again, which has ended.
# A worker that is told to stop waits for its child too. No other recording does: before each task, the child looks for
# more urgent ones.
SHARD_SECONDS = 2.0
# Takes a task and deletes it. With RQ's own functions that took 25 messages, and one of them searched the whole queue.
# KEYS: the queue, more urgent ones. ARGV: what RQ's keys of tasks begin with.
# Returns the id of the task, and names and values of its fields; nothing if nothing is to be taken.
TAKE_NEXT = """
for number = 2, #KEYS do
    if redis.call('LLEN', KEYS[number]) > 0 then return false end
end
while true do
    local id = redis.call('LPOP', KEYS[1])
    if not id then return false end
    local key = ARGV[1] .. id
    local fields = redis.call('HGETALL', key)
    redis.call('DEL', key)
    if #fields > 0 then
        table.insert(fields, 1, id)
        return fields
    end
end
"""
MORE_URGENT = (Priority.INTERACTIVE, Priority.STANDARD)


def go_on(*, queue: str, started: float, now: Callable[[], float] = time.monotonic) -> int:
    """Do the tasks that wait in the bulk queue until the time of the shard is over. Returns how many.

    queue: the one of the task that was done; only a child of the bulk queue goes on. started: when that task began.
    """
    done = 0
    if queue != Priority.BULK:
        return done
    # django_rq makes a client and a connection for each queue that it is asked for.
    waiting = django_rq.get_queue(Priority.BULK)
    while now() - started < SHARD_SECONDS:
        task = _take_next(waiting)
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


def _take_next(waiting: Queue) -> RqJob | None:
    """Take the next task of the bulk queue. Returns None when there is none, or something more urgent."""
    keys = [waiting.key, *(f"{Queue.redis_queue_namespace_prefix}{priority.value}" for priority in MORE_URGENT)]
    try:
        taken = waiting.connection.register_script(TAKE_NEXT)(keys=keys, args=[RqJob.redis_job_namespace_prefix])
    except RedisError:
        logger.exception("No other task is taken: Redis does not answer.")
        return None
    if taken is None:
        return None
    task_id, *fields = taken
    task = RqJob(task_id.decode(), connection=waiting.connection)
    task.restore(dict(zip(fields[::2], fields[1::2], strict=True)))
    return task
