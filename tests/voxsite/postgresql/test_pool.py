"""The pool before a real server: that of the tests, whose connections are cut, and sockets that never answer."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from psycopg.errors import CannotConnectNow, TooManyConnections

from tests.product import free_port
from voxsite.postgresql import pool
from voxsite.postgresql.pool import Pool

pytestmark = pytest.mark.enable_socket
URL = os.environ.get("DATABASE_URL", "")
SERVER = pytest.mark.skipif(not URL.startswith("postgres"), reason="needs PostgreSQL in DATABASE_URL")


@contextmanager
def pool_of(url: str, *, kind: type[Pool] = Pool, **options: Any) -> Iterator[Pool]:
    options = {"min_size": 1, "max_size": 4, "timeout": 20, **options}
    with kind(conninfo=url, kwargs={"autocommit": True}, open=True, **options) as opened:
        yield opened


@pytest.fixture
def connections() -> Iterator[Pool]:
    with pool_of(URL) as opened:
        yield opened


@SERVER
def test_connections_that_the_server_has_closed_are_never_given(connections):
    """All at once, as after its restart; psycopg_pool would give each of them to a request."""
    held = [connections.getconn() for _ in range(4)]
    pids = [one.info.backend_pid for one in held]
    for one in held:
        connections.putconn(one)
    with closing(psycopg.connect(URL, autocommit=True)) as operator:
        for pid in pids:
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    for _ in range(4):
        with connections.connection() as one:
            assert one.execute("SELECT 1").fetchone() == (1,)
            assert one.info.backend_pid not in pids


@SERVER
def test_slow_query_of_a_server_that_lives_goes_on():
    with pool_of(URL, query_seconds=0.1) as connections, connections.connection() as one:
        assert one.execute("SELECT 7 FROM pg_sleep(1)").fetchone() == (7,)


class PoolOfHungServer(Pool):
    """A pool that finds its server hung whenever it looks."""

    def hangs(self) -> bool:
        return True


@SERVER
def test_query_that_hangs_is_given_up():
    with pool_of(URL, kind=PoolOfHungServer, query_seconds=0.1) as connections:
        one = connections.getconn()
        with pytest.raises(pool.Hangs):
            one.execute("SELECT pg_sleep(60)")
        assert one.closed
        connections.putconn(one)
        with connections.connection() as another:
            assert another.execute("SELECT 1").fetchone() == (1,)


def test_server_that_is_away_is_told_at_once():
    """Not after the 20 s for which a request waits for a busy pool."""
    url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
    with pool_of(url) as connections, pytest.raises(psycopg.OperationalError, match="No connection can be made"):
        connections.getconn()


@pytest.mark.long
def test_server_that_takes_connections_and_never_answers_hangs():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none"
        with pool_of(url) as connections:
            assert connections.hangs()
            begun = time.monotonic()
            assert connections.hangs(), "what was found serves for a moment"
            assert connections._probed_at <= begun


READY_FOR_QUERY = b"Z\x00\x00\x00\x05I"


def until(is_so: Callable[[], bool]) -> None:
    for _ in range(3000):
        if is_so():
            return
        time.sleep(0.02)
    raise AssertionError("It did not come about.")


@contextmanager
def deaf_after_login() -> Iterator[str]:
    """Serve the URL of a pooler before a server that hangs: everybody is let in, and no query is answered."""
    ends = threading.Event()
    opened: list[socket.socket] = []
    real = psycopg.conninfo.conninfo_to_dict(URL)

    def relay(client: socket.socket) -> None:
        server = socket.create_connection((str(real.get("host", "127.0.0.1")), int(real.get("port", 5432))))
        opened.extend([client, server])
        while not ends.is_set():
            for one in select.select([client, server], [], [], 0.05)[0]:
                received = one.recv(65536)
                if not received:
                    return
                (server if one is client else client).sendall(received)
                if one is server and received.endswith(READY_FOR_QUERY):
                    return

    def accept() -> None:
        while not ends.is_set():
            if select.select([listening], [], [], 0.05)[0]:
                threads.submit(relay, listening.accept()[0])

    try:
        with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(16) as threads:
            threads.submit(accept)
            try:
                port = listening.getsockname()[1]
                yield make_conninfo(URL, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
            finally:
                ends.set()
    finally:
        for one in opened:
            one.close()


def set_zone(connection: psycopg.Connection) -> None:
    connection.execute("SELECT set_config('TimeZone', 'UTC', false)")


@SERVER
def test_pooler_before_a_hung_server_is_seen_and_blocks_nobody():
    """PgBouncer lets everybody in, so the first query of the configuration hangs, in the probe too."""
    with (
        deaf_after_login() as url,
        pool_of(url, configure=set_zone, max_size=None, timeout=300, query_seconds=0.2) as deaf,
    ):
        found: list[bool] = []
        # A thread, because a deadlock would otherwise end the run and not the test.
        asking = threading.Thread(target=lambda: found.append(deaf.hangs()), daemon=True)
        asking.start()
        asking.join(20)
        assert found == [True]
        with pytest.raises(psycopg.OperationalError):
            deaf.getconn()


@SERVER
def test_failed_attempt_refuses_nobody_while_a_connection_lives():
    url = [URL]
    options = {"kwargs": {"autocommit": True}, "min_size": 1, "max_size": 2, "timeout": 60, "open": True}
    with Pool(conninfo=lambda: url[0], **options) as connections, ThreadPoolExecutor(1) as threads:
        connections.wait()
        held = connections.getconn()
        url[0] = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        waits = threads.submit(connections.getconn)
        until(lambda: waits.done() or connections.get_stats().get("connections_errors", 0) >= 2)
        assert not waits.done()
        connections.putconn(held)
        assert waits.result() is held
        # Now the only one ends, in the middle of a query.
        with closing(psycopg.connect(URL, autocommit=True)) as operator:
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", [held.info.backend_pid])
        with pytest.raises(psycopg.OperationalError, match="No connection can be made"):
            connections.getconn()
        connections.putconn(held)


@pytest.fixture
def limited() -> Iterator[str]:
    """Give the URL of a role that may have one connection."""
    name = f"limited_{os.getpid()}"
    with closing(psycopg.connect(URL, autocommit=True)) as operator:
        operator.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'limited' CONNECTION LIMIT 1")
        try:
            yield make_conninfo(URL, user=name, password="limited")
        finally:
            operator.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = %s", [name])
            operator.execute(f"DROP ROLE {name}")


@SERVER
def test_waiting_request_gets_a_connection_once_the_server_has_one(limited):
    """Also after the second at which psycopg_pool gives up, and in a pool that has no connection of its own."""
    taken = psycopg.connect(limited)
    with pool_of(limited) as connections, ThreadPoolExecutor(1) as threads:
        waits = threads.submit(connections.getconn)
        until(lambda: waits.done() or connections.get_stats().get("connections_errors", 0) >= 5)
        assert not waits.done()
        taken.close()
        connections.putconn(waits.result())


@SERVER
def test_pool_tries_no_longer_than_somebody_waits(limited):
    with closing(psycopg.connect(limited)), pool_of(limited) as connections:
        with pytest.raises(psycopg.OperationalError, match="couldn't get a connection"):
            connections.getconn(timeout=2.5)
        until(lambda: connections._nconns == 0)
        assert not connections._waiting
        assert not connections._growing


@pytest.mark.parametrize(
    ("error", "is_busy"),
    [
        (TooManyConnections("désolé, trop de clients"), True),
        (psycopg.OperationalError('FATAL:  too many connections for role "web"'), True),
        (psycopg.OperationalError("FATAL:  no more connections allowed (max_client_conn)"), True),
        (CannotConnectNow("the database system is starting up"), False),
        (psycopg.OperationalError("Connection refused"), False),
    ],
)
def test_server_without_a_free_connection_is_busy_and_not_away(error, is_busy):
    assert pool._is_busy(error) == is_busy
