"""What the processes of all hosts tell each other of the circuit breakers of upstreams, in Redis.

A process counts failures for itself. When its breaker opens, all others open theirs within SYNC_SECONDS, and of all
processes one at a time asks the upstream again. While Redis does not answer, each process decides for itself
(docs/decisions/0001, 0080). These functions wait for Redis; `upstream` calls them in a thread.
"""

import logging
from collections.abc import Sequence
from typing import cast

from redis import Redis
from redis.exceptions import RedisError

from accounts import redis_connections

logger = logging.getLogger(__name__)

# How old what a process knows of other processes' breakers may be.
SYNC_SECONDS = 1.0
# How long an open breaker is remembered. Only a success closes it, and for a day nobody may have asked.
KEPT_SECONDS = 24 * 3600


def note_open(upstream: str, *, recovery_seconds: float) -> None:
    """Tell all processes that the breaker is open, for so long from now on."""
    try:
        with _client().pipeline(transaction=True) as pipeline:
            pipeline.set(_open_key(upstream), 1, ex=KEPT_SECONDS)
            pipeline.set(_rest_key(upstream), 1, px=_ms(recovery_seconds))
            pipeline.execute()
    except RedisError as error:
        _note_outage(error)


def note_closed(upstream: str) -> None:
    """Tell all processes that the upstream works."""
    try:
        _client().delete(_open_key(upstream), _rest_key(upstream))
    except RedisError as error:
        _note_outage(error)


def may_try(upstream: str, *, recovery_seconds: float) -> bool:
    """Tell whether this process is the one that asks an upstream that failed. For so long, others are not."""
    try:
        return bool(_client().set(_rest_key(upstream), 1, nx=True, px=_ms(recovery_seconds)))
    except RedisError as error:
        _note_outage(error)
        return True


def seconds_open(upstreams: Sequence[str]) -> list[float | None] | None:
    """Return for each upstream how long its breaker stays open: 0 if one may try now, None if it is closed.

    Returns None for all together while Redis does not answer.
    """
    try:
        with _client().pipeline(transaction=True) as pipeline:
            for upstream in upstreams:
                pipeline.exists(_open_key(upstream))
                pipeline.pttl(_rest_key(upstream))
            found = cast("list[int]", pipeline.execute())
    except RedisError as error:
        _note_outage(error)
        return None
    return [
        max(0, rest_ms) / 1000 if is_open else None for is_open, rest_ms in zip(found[::2], found[1::2], strict=True)
    ]


def _client() -> Redis:
    return redis_connections.client()


def _note_outage(error: RedisError) -> None:
    if isinstance(error, redis_connections.Resting):
        return
    redis_connections.rest()
    logger.warning("Each process has breakers of its own: %s: %s", type(error).__name__, error)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _open_key(upstream: str) -> str:
    return f"voxsite:breaker:{upstream}"


def _rest_key(upstream: str) -> str:
    return f"voxsite:breaker:{upstream}:rest"
