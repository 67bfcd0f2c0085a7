"""The clock: periodic duties. Any number may run; every duty is a conditional write.

Each duty has a thread of its own: some wait for Stripe or a mail server, which may be silent for half a minute per
question, and lost jobs must be given back meanwhile.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections
from django.utils import timezone

from accounts import database_connection
from accounts.gate import idempotency
from apex import completions
from apex.models import Completion
from billing import periodic
from transcription import jobs, recordings

logger = logging.getLogger(__name__)

STRAY_FILE_SECONDS = 24 * 3600


def reconcile() -> None:
    jobs.reconcile(now=timezone.now())


class CompletionSweep:
    """Ends the completions of dead processes, which are those without a recent heartbeat.

    No process can write a heartbeat while the database is away. So nothing is swept after a fault of the database, or
    after the start, until every living process has had the time to write one.
    """

    __name__ = "sweep_completions"

    def __init__(self, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._steady_since: float | None = None

    def __call__(self) -> None:
        try:
            Completion.objects.running().exists()
            if self._steady_since is None:
                self._steady_since = self._seconds()
            if self._seconds() - self._steady_since >= settings.APEX_SILENT_SECONDS:
                completions.sweep()
        except DatabaseError:
            self._steady_since = None
            raise


def purge() -> None:
    idempotency.purge()
    for path in recordings.stray_files(older_than_seconds=STRAY_FILE_SECONDS, now=time.time()):
        Path(path).unlink(missing_ok=True)


def sweep() -> None:
    recordings.sweep(now=timezone.now())


def expire_uploads() -> None:
    jobs.fail_expired_uploads(now=timezone.now())


# Seconds between two rounds of each duty.
DUTIES: tuple[tuple[float, Callable[[], None]], ...] = (
    (5, reconcile),
    (5, CompletionSweep()),
    (60, expire_uploads),
    (3600, purge),
    (6 * 3600, sweep),
    *periodic.DUTIES,
)


# Below the supervisor's patience. What a duty is in the middle of then, it leaves as a crash would: whole.
LAST_WORDS_SECONDS = 2.0


class Command(BaseCommand):
    help = "Do the periodic duties, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        run(DUTIES, stopped=stopped)


def run(duties: Sequence[tuple[float, Callable[[], None]]], *, stopped: threading.Event) -> None:
    """Do each duty a second from now and then once in its period, none waiting for another, until the event is set."""
    threads = [
        threading.Thread(target=_repeat, args=(period, duty, stopped), name=duty.__name__, daemon=True)
        for period, duty in duties
    ]
    for thread in threads:
        thread.start()
    # In turns, not for good: a signal's handler runs in this thread, between two of them.
    while not stopped.wait(1):
        pass
    end = time.monotonic() + LAST_WORDS_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _repeat(period: float, duty: Callable[[], None], stopped: threading.Event) -> None:
    due = time.monotonic() + 1
    while not stopped.wait(max(0.0, due - time.monotonic())):
        due = time.monotonic() + period
        _do(duty)


def _do(duty: Callable[[], None]) -> None:
    close_old_connections()
    try:
        duty()
    except Exception:  # One failing duty (the database restarts, say) must not end the others.
        logger.exception("The duty %s failed; it will be tried again.", duty.__name__)
    finally:
        # In a thread that sleeps for an hour: keep none.
        database_connection.release()
