"""Rate limits of organizations, counted in Redis by the library `limits` (sliding window counter).

The throttles of DRF read and write in separate steps, so a burst can pass them.
"""

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from redis import BlockingConnectionPool
from redis.exceptions import RedisError

from accounts.errors import RateLimited
from accounts.models import Organization

logger = logging.getLogger(__name__)

# Connections to Redis of one process, and how long a request waits for a free one before it is served uncounted.
MAX_CONNECTIONS = 4
POOL_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit: requests, and seconds until the whole limit is available again."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        return {
            "x-ratelimit-limit-requests": str(self.limit),
            "x-ratelimit-remaining-requests": str(self.remaining),
            "x-ratelimit-reset-requests": f"{self.reset_seconds}s",
        }


def spend(organization: Organization, *, scope: str) -> Allowance:
    """Count one request against a scope, and return what is left. Raises RateLimited if nothing is left.

    scope: a name of `settings.RATE_LIMITS`.
    """
    (result,) = spend_together(organization, scopes=[scope], count=1)
    if isinstance(result, RateLimited):
        raise result
    return result


def spend_together(
    organization: Organization, *, scopes: Sequence[str], count: int
) -> Sequence[Allowance | RateLimited]:
    """Count several requests against each of the scopes. Return for each request what is left of the last scope.

    If all are admitted, this takes one call to Redis for each scope. Otherwise they are counted one by one.
    """
    keys = [(_limit(scope), scope, str(organization.pk)) for scope in scopes]
    try:
        limiter = _limiter()
        for position, key in enumerate(keys):
            if limiter.hit(*key, cost=count):
                continue
            if count == 1:
                allowance = _left(limiter, key)
                return [
                    RateLimited(retry_after=max(1, allowance.reset_seconds), headers=allowance.headers()),
                ]
            # The scopes before this one have already counted all requests.
            rest = scopes[position:]
            return [each for _ in range(count) for each in spend_together(organization, scopes=rest, count=1)]
        last = _left(limiter, keys[-1])
    except RedisError:
        # The database protects money, so it is better to serve without a rate limit than not at all.
        logger.exception("Rate limits are not counted: Redis does not answer.")
        amount = keys[-1][0].amount
        return [Allowance(limit=amount, remaining=amount, reset_seconds=0)] * count
    return [replace(last, remaining=last.remaining + later) for later in reversed(range(count))]


def _left(limiter: SlidingWindowCounterRateLimiter, key: tuple[RateLimitItem, str, str]) -> Allowance:
    stats = limiter.get_window_stats(*key)
    return Allowance(
        limit=key[0].amount,
        remaining=max(0, stats.remaining),
        reset_seconds=max(0, math.ceil(stats.reset_time - time.time())),
    )


def refuse_if_spent(organization: Organization, *, scope: str) -> None:
    """Raise RateLimited if `spend` would, without counting. Used before a large body is read."""
    item = _limit(scope)
    key = (scope, str(organization.pk))
    try:
        limiter = _limiter()
        if limiter.test(item, *key):
            return
        stats = limiter.get_window_stats(item, *key)
    except RedisError:
        return  # `spend` will log it.
    reset_seconds = max(0, math.ceil(stats.reset_time - time.time()))
    allowance = Allowance(limit=item.amount, remaining=0, reset_seconds=reset_seconds)
    raise RateLimited(retry_after=max(1, reset_seconds), headers=allowance.headers())


@lru_cache
def _limit(scope: str) -> RateLimitItem:
    return parse(settings.RATE_LIMITS[scope])


@lru_cache
def _limiter() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(_storage(settings.REDIS_URL))


def _storage(url: str) -> Storage:
    # Short time-outs: a Redis that hangs must not delay requests. A pool without a limit would open a connection for
    # each request of a burst, and keep all of them for good.
    pool = BlockingConnectionPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=POOL_SECONDS, socket_timeout=1, socket_connect_timeout=1
    )
    # `limits` declares only numbers and texts as options, and takes a pool.
    storage = storage_from_string(
        f"redis+{url}" if url.startswith("unix://") else url,
        connection_pool=pool,  # type: ignore[arg-type]  # see above
    )
    assert isinstance(storage, Storage), "an address without async+ gives a blocking storage"
    return storage
