"""What happens to a job while somebody watches: a Redis stream per job, and the word to stop.

Everything here is a convenience that may be lost: the truth is in the database, which watchers ask when nothing comes.
"""

import asyncio
import json
import logging
import uuid
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import redis.asyncio
from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# Events that a latecomer still gets, and for how long after the last one.
KEPT_EVENTS = 20_000
KEPT_SECONDS = 3600
# How long a watcher waits before it looks at the database.
PATIENCE_SECONDS = 5.0
END = "end"


@dataclass(frozen=True, slots=True)
class Event:
    """name: "started", "progress", "segment" or "end". data: JSON values."""

    name: str
    data: dict[str, Any]


def publish(job_id: uuid.UUID, name: str, **data: Any) -> None:
    """Tell those who watch a job. Never raises: nobody's work may fail because nobody could be told."""
    key = _key(job_id)
    try:
        with _client().pipeline(transaction=False) as pipeline:
            pipeline.xadd(key, {"name": name, "data": json.dumps(data)}, maxlen=KEPT_EVENTS, approximate=True)
            pipeline.expire(key, KEPT_SECONDS)
            pipeline.execute()
    except RedisError as error:
        logger.warning("An event of job %s was not sent: %s", job_id, type(error).__name__)


async def watch(job_id: uuid.UUID, *, patience_seconds: float = PATIENCE_SECONDS) -> AsyncGenerator[Event | None, None]:
    """Yield a job's events from the first that is kept, and None whenever nothing came for a while. Never ends itself.

    While Redis does not answer, nothing comes; what was published meanwhile is lost.
    """
    last = "0"
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=patience_seconds + 5)
    try:
        while True:
            try:
                found = await client.xread({_key(job_id): last}, count=100, block=int(patience_seconds * 1000))
            except RedisError as error:
                logger.warning("Events of job %s are not to be had: %s", job_id, type(error).__name__)
                await asyncio.sleep(patience_seconds)
                found = []
            if not found:
                yield None
                continue
            for entry_id, fields in found[0][1]:
                last = entry_id
                yield Event(name=fields[b"name"].decode(), data=json.loads(fields[b"data"]))
    finally:
        await client.aclose()


def ask_to_stop(job_id: uuid.UUID) -> None:
    """Have the workers of a job hear at once that it was canceled, and not only at their next heartbeat."""
    try:
        _client().set(_stop_key(job_id), 1, ex=KEPT_SECONDS)
    except RedisError as error:
        logger.warning("Workers of job %s were not told to stop: %s", job_id, type(error).__name__)


def is_asked_to_stop(job_id: uuid.UUID) -> bool:
    """Tell whether a job's workers should stop. False when Redis does not answer: the database tells them soon."""
    try:
        return bool(_client().exists(_stop_key(job_id)))
    except RedisError:
        return False


def _key(job_id: uuid.UUID) -> str:
    return f"voxsite:events:{job_id}"


def _stop_key(job_id: uuid.UUID) -> str:
    return f"voxsite:stop:{job_id}"


@lru_cache
def _client() -> "Redis":
    # redis-py's pool notices a fork and starts over in the child.
    return Redis.from_url(settings.REDIS_URL, socket_timeout=2)
