"""The connections to Redis of requests, which share what they know of it: whether it answers.

A request meets Redis several times: it is counted, signed in, queued and told of. A Redis that hangs would keep it
waiting each time. So the first one that gets no answer in time lets all others go on without Redis at once. They go on
as they handle every RedisError. A thread of its own asks Redis until it answers again, so no request pays for that.

RQ's workers and what subscribes to events have connections of their own, which wait on purpose.
"""

import os
import threading
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import BlockingConnectionPool, Redis, exceptions
from redis.exceptions import RedisError

from accounts import outages

# Connections of one process, and how long a request waits for a free one.
MAX_CONNECTIONS = 8
POOL_SECONDS = 1.0
ANSWER_SECONDS = 1.0
# As operators see them in CLIENT LIST.
CLIENT_NAME = "voxsite"

_rest = outages.Rest()
# Threads that come first together would each make a client, with connections of its own.
_lock = threading.Lock()
# The threads that ask whether Redis answers again: one, or two for a moment.
_asking: set[threading.Thread] = set()


class Resting(exceptions.ConnectionError):
    """Redis was not asked, because it did not answer a moment ago."""


class Pool(BlockingConnectionPool):
    """Connections that are given out only while Redis answers. A pool of each kind of use may share one process."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Do what redis-py's pool does. Raises Resting at once while Redis rests."""
        if _rest.is_on:
            if _rest.may_ask():
                asking = threading.Thread(target=self._ask, name="redis-outage", daemon=True)
                _asking.add(asking)
                asking.start()
            raise Resting("Redis did not answer a moment ago.")
        return self._get(*args, **kwargs)

    def release(self, connection: Any) -> None:
        """Do what redis-py's pool does, and learn whether the connection had an answer: else redis-py has closed it."""
        if connection._sock is None:
            _rest.begin()
        else:
            _rest.end()
        super().release(connection)  # type: ignore[no-untyped-call]  # redis-py has no types here

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # redis-py has no types here
        except RedisError:
            _rest.begin()
            raise

    def _ask(self) -> None:
        try:
            connection = self._get()
            try:
                connection.send_command("PING")
                connection.read_response()
            finally:
                self.release(connection)
        except RedisError:
            pass  # `_get` and `release` have noted it.
        finally:
            _asking.discard(threading.current_thread())


class AskingPool(Pool):
    """Connections that are given out also while Redis rests: what is told once is lost if Redis has just come back."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        return self._get(*args, **kwargs)


def client() -> Redis:
    """Return the client of this process for what a request, or a job, asks Redis in passing."""
    with _lock:
        return _client(settings.REDIS_URL, Pool)


def asking_client() -> Redis:
    """Return a client that asks Redis in any case, and may wait for a second."""
    with _lock:
        return _client(settings.REDIS_URL, AskingPool)


def rest() -> None:
    """Let all go on without Redis for a moment: it answered, and could not do what it was asked, because it is full."""
    _rest.begin()


def forget() -> None:
    """Forget that Redis did not answer, also what a thread that asks is about to learn. For tests."""
    for asking in list(_asking):
        asking.join()
    _rest.end()


@lru_cache
def _client(url: str, kind: type[Pool]) -> Redis:
    pool = kind.from_url(
        url,
        max_connections=MAX_CONNECTIONS,
        timeout=POOL_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_connect_timeout=ANSWER_SECONDS,
        client_name=CLIENT_NAME,
    )
    return Redis(connection_pool=pool)


def _after_fork() -> None:
    # The locks may have been held by threads that there are not in the child.
    global _rest, _lock
    _rest, _lock = outages.Rest(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
