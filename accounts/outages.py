"""What an exception of another part (database, Redis, disk) means to a caller: the part is away, and comes back.

Money fails closed: without the database nothing is admitted (decision 1). The caller is told so at once, and when to
try again, instead of being told of a fault of the site.
"""

import errno
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from django.db import InterfaceError, OperationalError
from redis.exceptions import RedisError

from accounts.errors import NoRoom, Unavailable, VoxsiteError

FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
RETRY_SECONDS = 2
# PostgreSQL and SQLite themselves have no room: "53100 disk_full" and SQLITE_FULL.
_DISK_FULL_STATE, _SQLITE_FULL = "53100", "SQLITE_FULL"


class Rest:
    """Leaves a part alone for a moment after it did not answer, so that not every request waits for it in vain.

    When the moment is over, one caller asks again, and the others go on without the part until it has an answer.
    Thread-safe.
    """

    def __init__(self, *, seconds: float = 1.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._ends_at: float | None = None

    @property
    def is_on(self) -> bool:
        """Whether the part did not answer the last time."""
        return self._ends_at is not None

    def may_ask(self) -> bool:
        """Tell whether the caller shall ask the part. It then calls `begin` or `end`."""
        if self._ends_at is None:
            return True
        with self._lock:
            if self._ends_at is not None:
                if self._clock() < self._ends_at:
                    return False
                self._ends_at = self._clock() + self._seconds
        return True

    def begin(self) -> None:
        """The part did not answer."""
        with self._lock:
            self._ends_at = self._clock() + self._seconds

    def end(self) -> None:
        """The part has answered."""
        if self._ends_at is not None:
            with self._lock:
                self._ends_at = None


def error_of(exception: BaseException) -> VoxsiteError | None:
    """Return the error that callers are told, or None if the exception is no outage.

    An OperationalError is also what a deadlock or a lock that was not had in time raises. Another try is right there
    too.
    """
    if _is_full(exception):
        return NoRoom(
            "There is no room for more data at present. Nothing was stored or charged; try again later.",
            retry_after=RETRY_SECONDS,
        )
    if isinstance(exception, OperationalError | InterfaceError | RedisError):
        return Unavailable(retry_after=RETRY_SECONDS)
    return None


def _is_full(exception: BaseException) -> bool:
    cause = exception.__cause__ if isinstance(exception, OperationalError) else None
    is_full_database = getattr(cause, "sqlstate", None) == _DISK_FULL_STATE
    with suppress(AttributeError):
        is_full_database |= cause.sqlite_errorname == _SQLITE_FULL  # type: ignore[union-attr]  # SQLite's errors alone
    return is_full_database or (isinstance(exception, OSError) and exception.errno in FULL_DISK)
