"""Which exceptions are an outage, and what rests after one."""

import errno
import sqlite3

import psycopg
import pytest
from django.db import IntegrityError, InterfaceError, OperationalError, ProgrammingError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from accounts import outages


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "exception",
    [
        OperationalError("server closed the connection"),
        InterfaceError("connection is closed"),
        RedisConnectionError(),
        RedisTimeoutError(),
        OutOfMemoryError(),
    ],
)
def test_part_that_is_away_is_told_with_a_time(exception):
    error = outages.error_of(exception)
    assert error is not None
    assert (error.http_status, error.type, error.headers) == (503, "unavailable", {"Retry-After": "2"})


def full_sqlite() -> Exception:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


@pytest.mark.parametrize(
    "exception",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        caused(OperationalError(), psycopg.errors.DiskFull()),
        caused(OperationalError(), full_sqlite()),
    ],
)
def test_full_disk_is_no_room(exception):
    error = outages.error_of(exception)
    assert error is not None
    assert (error.http_status, error.type) == (503, "no_room")
    assert int(error.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "exception", [IntegrityError(), ProgrammingError(), ValueError(), OSError(errno.EACCES, "Permission denied")]
)
def test_fault_of_the_site_is_no_outage(exception):
    assert outages.error_of(exception) is None


def test_one_caller_asks_after_a_rest():
    now = [0.0]
    rest = outages.Rest(seconds=1.0, clock=lambda: now[0])
    assert rest.may_ask()
    rest.begin()
    assert not rest.may_ask()
    now[0] = 1.0
    assert rest.may_ask()
    assert not rest.may_ask(), "the others wait for what the one finds"
    rest.end()
    assert rest.may_ask()
    assert rest.may_ask()
