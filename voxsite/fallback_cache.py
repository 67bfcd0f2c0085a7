"""Django's cache in Redis, and in this process for as long as Redis does not answer.

allauth counts attempts to sign in here, and remembers used codes of authenticator apps. Without this, an exception of
Redis would keep everybody out. In an outage each process counts for itself, so limits are as many times wider as there
are web processes, and never gone.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import Redis
from redis.exceptions import RedisError

from accounts import redis_connections

logger = logging.getLogger(__name__)

MAX_ENTRIES = 100_000


class _Client(RedisCacheClient):
    """Uses the connections of this process. Django would make a pool for each thread, with connections of its own."""

    def __init__(self, servers: list[str], **options: Any) -> None:
        super().__init__(servers, **options)
        (self._server,) = servers

    def get_client(self, key: Any = None, *, write: bool = False) -> Redis:
        return redis_connections.client(self._server)


class FallbackCache(RedisCache):
    """A cache that answers in any case. What was stored in the one place is not found in the other."""

    def __init__(self, server: str, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client
        # LocMemCache keeps 300 entries unless it is told otherwise: foreign keys would evict counted attempts.
        options = {"MAX_ENTRIES": MAX_ENTRIES}
        self._own = LocMemCache("redis-outage", params | {"OPTIONS": options})

    def _do(self, verb: Callable[..., Any], own_verb: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return verb(*args, **kwargs)
        except redis_connections.Resting:
            pass
        except RedisError as error:
            # Also a full Redis, which refuses to write and would still read.
            redis_connections.rest()
            logger.warning("The cache is this process's own: %s: %s", type(error).__name__, error)
        return own_verb(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().add, self._own.add, *args, **kwargs)

    def get(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().get, self._own.get, *args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().set, self._own.set, *args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().touch, self._own.touch, *args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().delete, self._own.delete, *args, **kwargs)

    def get_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().get_many, self._own.get_many, *args, **kwargs)

    def set_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().set_many, self._own.set_many, *args, **kwargs)

    def delete_many(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().delete_many, self._own.delete_many, *args, **kwargs)

    def has_key(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().has_key, self._own.has_key, *args, **kwargs)

    def incr(self, *args: Any, **kwargs: Any) -> Any:
        return self._do(super().incr, self._own.incr, *args, **kwargs)
