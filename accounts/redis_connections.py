"""The connections to Redis of requests, which share what they know of it: whether it answers.

A request meets Redis several times: it is counted, signed in, queued and told of. A Redis that hangs would keep it
waiting each time. So the first one that gets no answer in time lets all others go on without Redis at once. They go on
as they handle every RedisError. A thread of its own asks Redis each second until it answers again, whether requests
come or not, and none of them pays for that.

RQ's workers and what subscribes to events have connections of their own, which wait on purpose.
"""

import os
import queue
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from django.conf import settings
from redis import BlockingConnectionPool, Redis, exceptions
from redis.exceptions import RedisError

from accounts import outages

# Connections of one process, and how long a request waits for a free one. Redis has one only while it answers, some
# tenths of a millisecond. More of them are descriptors of each process, and clients of Redis, that carry nothing.
MAX_CONNECTIONS = 4
POOL_SECONDS = 1.0
ANSWER_SECONDS = 1.0
# How often Redis is asked whether it answers again.
ASK_SECONDS = 1.0
# As operators see them in CLIENT LIST.
CLIENT_NAME = "voxsite"


class _Outage:
    """A rest of Redis, and the thread that ends it."""

    def __init__(self) -> None:
        self.rest = outages.Rest()
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        # Set when the thread need not wait for its next turn: the rest is over.
        self._is_over = threading.Event()

    def begin(self, *, is_answered: Callable[[], bool]) -> None:
        """Let all go on without Redis until it is answered again."""
        with self._lock:
            if self._asking is None:
                self._is_over.clear()
                asking = threading.Thread(target=self._ask, args=(is_answered,), name="redis-outage", daemon=True)
                try:
                    asking.start()
                except RuntimeError:
                    # There can be no thread now, and nothing else would end the rest. So each asks Redis for itself.
                    return
                self._asking = asking
            self.rest.begin()

    def end(self) -> None:
        """End the rest, and wait until the thread has noticed."""
        self.rest.end()
        self._is_over.set()
        asking = self._asking
        if asking is not None:
            asking.join()
        self.rest.end()

    def _ask(self, is_answered: Callable[[], bool]) -> None:
        began_at = time.monotonic()
        while True:
            if self._is_over.wait(max(began_at + ASK_SECONDS - time.monotonic(), 0.0)):
                self._is_over.clear()
            with self._lock:
                if not self.rest.is_on:
                    self._asking = None
                    return
            began_at = time.monotonic()
            if is_answered():
                self.rest.end()


_outage = _Outage()
# Threads that come first together would each make a client, with connections of its own.
_lock = threading.Lock()


class Resting(exceptions.ConnectionError):
    """Redis was not asked, because it did not answer a moment ago."""


class Pool(BlockingConnectionPool):
    """Connections that are given out only while Redis answers. A pool of each kind of use may share one process."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        """Do what redis-py's pool does. Raises Resting at once while Redis rests."""
        if not _outage.rest.is_on:
            connection = self._get(*args, **kwargs)
            if not _outage.rest.is_on:
                return connection
            # Who had it before learned that Redis does not answer.
            super().release(connection)
        raise Resting("Redis did not answer a moment ago.")

    def release(self, connection: Any) -> None:
        """Do what redis-py's pool does, and learn whether the connection had an answer: else redis-py has closed it."""
        if connection._sock is None:
            self.rest()
        else:
            _outage.rest.end()
        super().release(connection)  # type: ignore[no-untyped-call]  # redis-py has no types here

    def rest(self) -> None:
        """Let all go on without Redis until a connection like those of this pool is answered."""
        _outage.begin(is_answered=self._is_answered)

    def _get(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().get_connection(*args, **kwargs)  # type: ignore[no-untyped-call]  # redis-py has no types here
        except RedisError as error:
            # Without a free connection nobody has asked Redis, and those who have the connections may be answered.
            if not isinstance(error.__context__, queue.Empty):
                self.rest()
            raise

    def _is_answered(self) -> bool:
        # A connection beside the pool's, all of which may be in use.
        connection = self.connection_class(**self.connection_kwargs)
        try:
            connection.send_command("PING")
            connection.read_response()
        except (RedisError, OSError):
            return False
        finally:
            connection.disconnect()
        return True


class AskingPool(Pool):
    """Connections that are given out also while Redis rests: what is told once is lost if Redis has just come back."""

    def get_connection(self, *args: Any, **kwargs: Any) -> Any:
        return self._get(*args, **kwargs)


def client(url: str = "") -> Redis:
    """Return the client of this process for what a request, or a job, asks Redis in passing. url: if not the site's."""
    with _lock:
        return _client(url or settings.REDIS_URL, Pool)


def asking_client() -> Redis:
    """Return a client that asks Redis in any case, and may wait for a second."""
    with _lock:
        return _client(settings.REDIS_URL, AskingPool)


def rest() -> None:
    """Let all go on without Redis for a moment: it answered, and could not do what it was asked, because it is full."""
    pool = client().connection_pool
    assert isinstance(pool, Pool), "the clients here have no other pools"
    pool.rest()


def forget() -> None:
    """Forget that Redis did not answer, also what a thread that asks is about to learn. For tests."""
    _outage.end()


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
    global _outage, _lock
    _outage, _lock = _Outage(), threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
