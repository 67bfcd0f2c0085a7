"""Who waits for the end of a job, counted in Redis, because a retry may reach another process than the first request.

Only a client that left is taken off. Whoever was answered needs no counting, since the job has ended then. A process
that dies leaves its waiters here: its jobs run to their end, and a retry gets their answer.
"""

import logging
import secrets
import uuid
from functools import lru_cache

from django.conf import settings
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# More than the longest wait and the grace after it.
SPARE_SECONDS = 3600


def join(job_id: uuid.UUID) -> str:
    """Note that somebody waits for a job. Returns the name by which they leave."""
    name = secrets.token_hex(8)
    try:
        with _client().pipeline(transaction=False) as pipeline:
            pipeline.sadd(_key(job_id), name)
            pipeline.expire(_key(job_id), settings.MAX_WAIT_SECONDS + SPARE_SECONDS)
            pipeline.execute()
    except RedisError as error:
        logger.warning("A waiter for job %s is not counted: %s", job_id, type(error).__name__)
    return name


def leave(job_id: uuid.UUID, *, name: str) -> None:
    """Note that somebody does not wait for a job any more."""
    try:
        _client().srem(_key(job_id), name)
    except RedisError as error:
        logger.warning("A waiter for job %s stays counted: %s", job_id, type(error).__name__)


def is_awaited(job_id: uuid.UUID) -> bool:
    """Tell whether anybody waits for a job. True when Redis does not answer: then nobody knows."""
    try:
        return bool(_client().exists(_key(job_id)))
    except RedisError:
        return True


def _key(job_id: uuid.UUID) -> str:
    return f"voxsite:waiters:{job_id}"


@lru_cache
def _client() -> "Redis":
    return Redis.from_url(settings.REDIS_URL, socket_timeout=2)
