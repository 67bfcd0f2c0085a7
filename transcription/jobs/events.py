"""What happens to a job while somebody watches: a Redis stream per job, and the word to stop.

Everything here is a convenience that may be lost: the truth is in the database, which watchers ask when nothing comes.
"""

import asyncio
import json
import logging
import math
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from redis.commands.core import Script
from redis.exceptions import RedisError

from accounts import redis_connections, stopping
from transcription.jobs import event_hub
from transcription.jobs.event_hub import Event

__all__ = ["END", "Event", "ask_to_stop", "forget", "is_asked_to_stop", "publish", "watch", "watch_together"]

logger = logging.getLogger(__name__)

# Events that a latecomer still gets, and for how long after the last one.
KEPT_EVENTS = 20_000
KEPT_SECONDS = 3600
# How long a watcher waits before it looks at the database.
PATIENCE_SECONDS = 5.0
END = "end"


# Adds an event, unless the job is deleted.
# KEYS: the job's stream, its mark of deletion. ARGV: name and data of the event, the most events, seconds.
PUBLISH = """
if redis.call('EXISTS', KEYS[2]) == 1 then return 0 end
redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], '*', 'name', ARGV[1], 'data', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
redis.call('PUBLISH', KEYS[1], '')
return 1
"""


def publish(job_id: uuid.UUID, name: str, **data: Any) -> None:
    """Tell those who watch a job. Never raises: nobody's work may fail because nobody could be told."""
    keys = [event_hub.key_of(job_id), _deleted_key(job_id)]
    try:
        _publish_script()(keys=keys, args=[name, json.dumps(data), KEPT_EVENTS, KEPT_SECONDS])
    except RedisError as error:
        logger.warning("An event of job %s was not sent: %s", job_id, type(error).__name__)


def forget(job_id: uuid.UUID) -> None:
    """Remove a deleted job's events, which have its text. If Redis does not answer, they go after an hour.

    A mark stays for longer than a worker can go on with the job: what it tells until it hears of the deletion would
    otherwise bring the text back.
    """
    try:
        with redis_connections.client().pipeline(transaction=True) as pipeline:
            pipeline.set(_deleted_key(job_id), 1, ex=KEPT_SECONDS)
            pipeline.delete(event_hub.key_of(job_id))
            pipeline.execute()
    except RedisError as error:
        logger.warning("The events of job %s were not removed: %s", job_id, type(error).__name__)


async def watch(job_id: uuid.UUID, *, patience_seconds: float = PATIENCE_SECONDS) -> AsyncGenerator[Event | None, None]:
    """Yield a job's events from the first that is kept, and None whenever nothing came for a while. Never ends itself.

    Their text is not paid yet: `dialects.shown_text` decides what of it may be shown.
    """
    async with aclosing(watch_together(job_id, patience_seconds=patience_seconds)) as watching:
        async for found in watching:
            if not found:
                yield None
            for event in found:
                yield event


async def watch_together(
    job_id: uuid.UUID, *, patience_seconds: float = PATIENCE_SECONDS
) -> AsyncGenerator[list[Event], None]:
    """Yield what `watch` yields, in lists of the events that have come, and an empty one when nothing came for a while.

    All watchers of a process share one subscription (`event_hub`). While Redis does not answer, nothing comes; what was
    published meanwhile is lost. A process that must end its streams says so by an empty list.
    """
    with event_hub.watching(job_id) as watcher, stopping.noticed(watcher.wake):
        while True:
            yield await watcher.take(until=_end_of_silence(patience_seconds))


def ask_to_stop(job_id: uuid.UUID) -> None:
    """Have the workers of a job hear at once that it was canceled, and not only at their next heartbeat."""
    try:
        redis_connections.client().set(_stop_key(job_id), 1, ex=KEPT_SECONDS)
    except RedisError as error:
        logger.warning("Workers of job %s were not told to stop: %s", job_id, type(error).__name__)


def is_asked_to_stop(job_id: uuid.UUID) -> bool:
    """Tell whether a job's workers should stop. False when Redis does not answer: the database tells them soon."""
    try:
        return bool(redis_connections.client().exists(_stop_key(job_id)))
    except RedisError:
        return False


def _end_of_silence(patience_seconds: float) -> float:
    """Return when a silence that begins now is told, by the loop's clock: after the patience, and at most 1.2 times it.

    Watchers whose times are close together are told at one moment, so that one look at the database serves them all.
    """
    step = patience_seconds / 5
    return math.ceil((asyncio.get_running_loop().time() + patience_seconds) / step) * step


def _stop_key(job_id: uuid.UUID) -> str:
    return f"voxsite:stop:{job_id}"


def _deleted_key(job_id: uuid.UUID) -> str:
    return f"voxsite:deleted:{job_id}"


def _publish_script() -> Script:
    return redis_connections.asking_client().register_script(PUBLISH)
