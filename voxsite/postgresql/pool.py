"""A pool of connections that answers quickly while PostgreSQL is away, and at once when it is back.

psycopg_pool 3.3 lets a request wait for a connection as long as for a busy one (20 s here) also when none can be made,
tries again after 1, 2, 4 s and so on up to minutes (39 s were seen), and gives out connections that the server has
closed. And a server that hangs, because its process or its disk stands still, answers no query and refuses none.
Decision 55 has the reasons.
"""

import contextlib
import logging
import select
import threading
import time
import weakref
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg.errors import ConnectionTimeout, TooManyConnections
from psycopg_pool import ConnectionPool
from psycopg_pool.pool import AddConnection

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
# A request waits so long for a connection while none can be made.
AWAY_SECONDS = 1.0
# A query may take longer. After each of these periods a new connection is tried, to learn whether the server lives.
QUERY_SECONDS = 2.0
CONNECT_SECONDS = 2
# What a probe found serves all threads for so long.
PROBE_SECONDS = 1.0
# After so long a pause the pool tries again, while a request waits and the server has no connection left.
RETRY_SECONDS = 0.5
# The server answers, but has no connection left: that of another thread will be free soon. libpq 18 tells no SQLSTATE
# of a refused connection, so the texts of PostgreSQL and PgBouncer are read. In other languages than English such a
# server counts as away, if the pool has no connection that lives.
_BUSY = ("too many clients", "remaining connection slots", "too many connections", "no more connections allowed")


class Hangs(psycopg.OperationalError):
    """The server accepted the query, and does not answer any more. What the query did is not known.

    The same is true after a lost connection. What must happen once has a reference in the ledger, or a key.
    """


class WatchedConnection(psycopg.Connection[Any]):
    """A connection whose queries end when the server hangs."""

    _pool: "Pool | None" = None

    @property
    def has_ended(self) -> bool:
        """Tell whether the server has closed this idle connection: then its end, or a last message, can be read."""
        with contextlib.suppress(psycopg.OperationalError, ValueError):
            poller = select.poll()
            poller.register(self.fileno(), select.POLLIN)
            return bool(poller.poll(0))
        return True

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what psycopg's connection does. Raises Hangs, and is closed then."""
        pool = self._pool
        if pool is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_watched(gen, is_hung=pool.hangs, query_seconds=pool.query_seconds), *args, **kwargs)
        except Hangs:
            self.pgconn.finish()
            raise


class _Probe(psycopg.Connection[Any]):
    """A connection that learns whether the server answers. It asks no pool, so it may run while others wait for it."""

    query_seconds: float = QUERY_SECONDS

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Do what psycopg's connection does, for `query_seconds` at most. Raises Hangs."""
        return super().wait(_watched(gen, is_hung=lambda: True, query_seconds=self.query_seconds), *args, **kwargs)


def _watched(
    steps: Generator[Any, Any, Result],
    *,
    is_hung: Callable[[], bool],
    query_seconds: float,
    clock: Callable[[], float] = time.monotonic,
) -> Generator[Any, Any, Result]:
    """Wrap the steps of a query: when they have waited for long, ask whether the server hangs. Raises Hangs."""
    try:
        awaited = next(steps)
        asks_at = clock() + query_seconds
        while True:
            # psycopg resumes a generator ten times a second, with a false value while nothing has come.
            ready = yield awaited
            if not ready and clock() >= asks_at:
                if is_hung():
                    raise Hangs("The database does not answer.")
                asks_at = clock() + query_seconds
            awaited = steps.send(ready)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return]  # StopIteration is not generic


class Pool(ConnectionPool[WatchedConnection]):
    """The connections of a web process. Uses private names of psycopg_pool 3.3, on which tests keep an eye."""

    def __init__(self, *, kwargs: dict[str, Any], query_seconds: float = QUERY_SECONDS, **options: Any) -> None:
        """kwargs, options: as of psycopg_pool. query_seconds: a query that takes longer has the server tried."""
        self.query_seconds = query_seconds
        self._is_away = False
        self._probe_lock = threading.Lock()
        self._probed_at = -PROBE_SECONDS
        self._was_hung = False
        self._answered_at = -float(CONNECT_SECONDS)
        self._made: weakref.WeakSet[WatchedConnection] = weakref.WeakSet()
        # It gives up soon; the next request then tries at once, instead of after a pause that grows.
        super().__init__(
            connection_class=WatchedConnection,
            kwargs=kwargs | {"connect_timeout": CONNECT_SECONDS},
            reconnect_timeout=AWAY_SECONDS,
            **options,
        )

    @property
    def is_waited_for(self) -> bool:
        """Tell whether a thread waits for a connection, because all are in use."""
        return bool(self._waiting)

    def hangs(self) -> bool:
        """Tell whether the server takes connections and does not answer on them."""
        with self._probe_lock:
            if time.monotonic() - self._probed_at < PROBE_SECONDS:
                return self._was_hung
            self._was_hung = not self._answers()
            self._probed_at = time.monotonic()
            if self._was_hung:
                logger.warning("PostgreSQL does not answer; its connections are given up.")
                self.drain()
            return self._was_hung

    def _answers(self) -> bool:
        """Try a connection and a query: behind PgBouncer, which lives on, only the query tells of a hung server."""
        # Without `configure`, whose queries would come back to `hangs` and wait for its lock for ever.
        arguments = self._resolve_kwargs() | {"autocommit": True}
        try:
            with contextlib.closing(_Probe.connect(self._resolve_conninfo(), **arguments)) as probe:
                probe.query_seconds = self.query_seconds
                probe.execute("SELECT 1")
        except (ConnectionTimeout, Hangs):
            return self._answered_lately()
        except psycopg.Error as error:
            # It answers, if only by a refusal: the query will learn of it.
            logger.info("PostgreSQL refuses a connection: %s", error)
        return True

    def reconnect_failed(self) -> None:
        """Try again after a pause while a request waits. psycopg_pool would try only for the next request."""
        super().reconnect_failed()
        with self._lock:
            # Those that were refused or gave up stay in psycopg_pool's queue until a connection is there.
            waiting = [client for client in self._waiting if not client.conn and not client.error]
            self._waiting.clear()
            self._waiting.extend(waiting)
            if waiting and not self._growing and self._nconns < self._max_size:
                self._nconns += 1
                self._growing = True
                self.schedule_task(AddConnection(self, growing=True), RETRY_SECONDS)

    def _connect(self, timeout: float | None = None) -> WatchedConnection:
        try:
            connection = super()._connect(timeout)
        except psycopg.Error as error:
            self._is_away = not _is_busy(error) and not self._has_one_alive(error)
            if self._is_away:
                self._refuse_waiting(error)
            raise
        self._is_away = False
        with self._lock:
            self._made.add(connection)
        return connection

    def _add_to_pool(self, conn: WatchedConnection) -> None:
        self._answered_at = time.monotonic()
        super()._add_to_pool(conn)

    def _answered_lately(self) -> bool:
        return time.monotonic() - self._answered_at < CONNECT_SECONDS

    def _has_one_alive(self, error: psycopg.Error) -> bool:
        """Tell whether a connection of the pool works, for which a waiting request can wait."""
        if isinstance(error, (ConnectionTimeout, Hangs)):
            # Connections to a server that hangs look alive.
            return self._answered_lately()
        with self._lock:
            made = list(self._made)
        return any(not connection.closed and not _is_cut(connection) for connection in made)

    def _getconn_unchecked(self, timeout: float) -> WatchedConnection:
        ends_at = time.monotonic() + timeout
        while True:
            left = max(0.0, ends_at - time.monotonic())
            connection = super()._getconn_unchecked(min(left, AWAY_SECONDS) if self._is_away else left)
            if not connection.has_ended:
                return connection
            # All of them ended with the server. psycopg_pool's own check would pause after each.
            connection.close()
            self._putconn(connection, from_getconn=True)

    def _refuse_waiting(self, cause: Exception) -> None:
        with self._lock:
            waiting = list(self._waiting)
        for client in waiting:
            client.fail(psycopg.OperationalError(f"No connection can be made: {cause}"))


def _is_busy(error: psycopg.Error) -> bool:
    """Tell whether the server has no connection left. One that starts or stops (57P03) is away instead."""
    if error.sqlstate:
        return error.sqlstate == TooManyConnections.sqlstate
    return any(words in str(error) for words in _BUSY)


def _is_cut(connection: WatchedConnection) -> bool:
    """Tell whether the server has closed a connection, even one whose query another thread awaits."""
    with contextlib.suppress(psycopg.OperationalError, ValueError):
        poller = select.poll()
        poller.register(connection.fileno(), select.POLLRDHUP)
        return bool(poller.poll(0))
    return True
