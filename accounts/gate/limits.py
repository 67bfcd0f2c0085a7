"""Rate limits per organization, counted in Redis by the library `limits` (sliding window counter).

DRF's own throttles read, count and write in three steps and so let a burst through.
"""

import logging
import math
import time
from dataclasses import dataclass
from functools import lru_cache

from django.conf import settings
from limits import RateLimitItem, parse
from limits.storage import Storage, storage_from_string
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.exceptions import RedisError

from accounts.errors import RateLimited
from accounts.models import Organization

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of a limit: requests, and seconds until the window is whole again."""

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
    """Count one request against the scope (a name of `settings.RATE_LIMITS`) and return what is left.

    Raises RateLimited when nothing is.
    """
    item = _limit(scope)
    key = (scope, str(organization.pk))
    try:
        limiter = _limiter()
        admitted = limiter.hit(item, *key)
        stats = limiter.get_window_stats(item, *key)
    except RedisError:
        # Money is guarded by the database, not by this: better to serve without a limit than not at all.
        logger.exception("Rate limits are not counted: Redis does not answer.")
        return Allowance(limit=item.amount, remaining=item.amount, reset_seconds=0)
    reset_seconds = max(0, math.ceil(stats.reset_time - time.time()))
    allowance = Allowance(limit=item.amount, remaining=max(0, stats.remaining), reset_seconds=reset_seconds)
    if not admitted:
        raise RateLimited(retry_after=max(1, reset_seconds), headers=allowance.headers())
    return allowance


@lru_cache
def _limit(scope: str) -> RateLimitItem:
    return parse(settings.RATE_LIMITS[scope])


@lru_cache
def _limiter() -> SlidingWindowCounterRateLimiter:
    return SlidingWindowCounterRateLimiter(_storage(settings.REDIS_URL))


def _storage(url: str) -> Storage:
    # A Redis that hangs is as good as none, and must be found out soon.
    storage = storage_from_string(
        f"redis+{url}" if url.startswith("unix://") else url, socket_timeout=1, socket_connect_timeout=1
    )
    assert isinstance(storage, Storage), "an address without async+ gives a blocking storage"
    return storage
