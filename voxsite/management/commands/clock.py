"""The clock process: runs the periodic duties. Several clocks may run, because every duty is a conditional write.

Each duty has a thread of its own. Some wait for Stripe or a mail server, half a minute for one request, and lost jobs
must be queued again meanwhile.
"""

import logging
import math
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from django.utils import timezone
from redis import Redis
from redis.exceptions import RedisError

from accounts import account_deletion, audit_log, closures, database_connection, log_context, mail_queue
from accounts.gate import idempotency, request_log
from apex import completions
from billing import periodic
from transcription import jobs, recordings
from transcription.dialects import joining
from transcription.recordings import expiry, orderable, uploads
from transcription.webhooks import delivery, keys

logger = logging.getLogger(__name__)

STRAY_FILE_SECONDS = 24 * 3600


def cancel_abandoned() -> None:
    joining.cancel_abandoned(now=timezone.now())


class SteadySweep(ABC):
    """Ends the work of dead processes, which is what has no recent heartbeat.

    No process can write a heartbeat while the database is away. So nothing is swept after a fault of the database until
    every living process has had the time to write one.
    """

    def __init__(self, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._steady_since: float | None = self.first_steady()

    def __call__(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
            if self._steady_since is None:
                self._steady_since = self._seconds()
            if self._seconds() - self._steady_since >= self.silent_seconds():
                self.sweep()
        except (DatabaseError, InterfaceError):
            self._steady_since = None
            raise

    def first_steady(self) -> float | None:
        """Return since when the database has been steady at the start; None if that is unknown."""
        return None

    @abstractmethod
    def silent_seconds(self) -> float:
        """Return after how long without a heartbeat a process counts as dead."""

    @abstractmethod
    def sweep(self) -> None:
        """End what dead processes have left."""


class CompletionSweep(SteadySweep):
    """Ends completions. Their processes may have died with the clock, so it waits after the start too."""

    __name__ = "sweep_completions"

    def silent_seconds(self) -> float:
        return float(settings.APEX_SILENT_SECONDS)

    def sweep(self) -> None:
        completions.sweep()


class Reconciliation(SteadySweep):
    """Takes items and imports back from dead workers: hours of work, if their workers live."""

    __name__ = "reconcile"

    def first_steady(self) -> float | None:
        return -math.inf

    def silent_seconds(self) -> float:
        return float(settings.SILENT_WORKER_SECONDS)

    def sweep(self) -> None:
        jobs.reconcile(now=timezone.now())


def purge_idempotency_records() -> None:
    idempotency.purge()


def purge_stray_files() -> None:
    for path in recordings.stray_files(older_than_seconds=STRAY_FILE_SECONDS, now=time.time()):
        try:
            Path(path).unlink(missing_ok=True)
        except OSError:  # One that cannot be removed must not keep the others.
            logger.exception("A stray file could not be removed.")


def purge_incoming() -> None:
    uploads.purge_incoming(now=timezone.now())


def forget_ended_uploads() -> None:
    expiry.forget_ended(now=timezone.now())


def sweep() -> None:
    recordings.sweep(now=timezone.now())


def expire_uploads() -> None:
    jobs.fail_expired_uploads(now=timezone.now())


def purge_orderable() -> None:
    orderable.purge(now=timezone.now())


def purge_jobs() -> None:
    jobs.purge(now=timezone.now())


def purge_share_links() -> None:
    jobs.purge_links(now=timezone.now())


def end_work_of_closed_organizations() -> None:
    closures.end_late_work(now=timezone.now())


def delete_organizations() -> None:
    closures.delete_due(now=timezone.now())


def delete_accounts() -> None:
    account_deletion.delete_due(now=timezone.now())


def purge_request_log() -> None:
    request_log.purge(now=timezone.now())


def purge_audit_log() -> None:
    audit_log.purge(now=timezone.now())


def rotate_webhook_keys() -> None:
    keys.rotate(now=timezone.now())


def sweep_webhooks() -> None:
    delivery.sweep(now=timezone.now(), older_than=timedelta(days=settings.WEBHOOK_LOG_DAYS))


def send_waiting_mail() -> None:
    mail_queue.send_waiting()


# (period in seconds, duty). A duty has one step: it would end at its first one that fails, in each round.
DUTIES: tuple[tuple[float, Callable[[], None]], ...] = (
    (5, Reconciliation()),
    (5, cancel_abandoned),
    (2, send_waiting_mail),
    (5, CompletionSweep()),
    (60, expire_uploads),
    (60, purge_orderable),
    (60, purge_jobs),
    (10, end_work_of_closed_organizations),
    (10, delete_organizations),
    (60, delete_accounts),
    (3600, purge_idempotency_records),
    (3600, purge_stray_files),
    (3600, purge_incoming),
    (3600, forget_ended_uploads),
    (3600, purge_share_links),
    (600, purge_request_log),
    (3600, purge_audit_log),
    (3600, rotate_webhook_keys),
    (3600, sweep_webhooks),
    (6 * 3600, sweep),
    *periodic.DUTIES,
)


# Less than the supervisor waits. A duty that is still running then is cut off as by a crash, which it must survive.
STOP_SECONDS = 2.0


class Command(BaseCommand):
    help = "Run the periodic duties until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        # The thread that waits writes it: a duty that hangs shows in what it should have done.
        with Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            run(DUTIES, stopped=stopped, beat=lambda: client.set(settings.HEARTBEAT_KEYS["clock"], time.time()))


def run(
    duties: Sequence[tuple[float, Callable[[], None]]],
    *,
    stopped: threading.Event,
    beat: Callable[[], Any] = lambda: None,
) -> None:
    """Run each duty after a second and then once in its period, in parallel, until the event is set.

    beat: called every second; it may raise RedisError.
    """
    threads = [
        threading.Thread(target=_repeat, args=(period, duty, stopped), name=duty.__name__, daemon=True)
        for period, duty in duties
    ]
    for thread in threads:
        thread.start()
    # Waits in short steps: the signal handler runs in this thread, between two of them.
    while not stopped.wait(1):
        with suppress(RedisError):  # The readiness check reports Redis itself.
            beat()
    end = time.monotonic() + STOP_SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))


def _repeat(period: float, duty: Callable[[], None], stopped: threading.Event) -> None:
    log_context.begin(duty=duty.__name__)
    due = time.monotonic() + 1
    while not stopped.wait(max(0.0, due - time.monotonic())):
        due = time.monotonic() + period
        _do(duty)


def _do(duty: Callable[[], None]) -> None:
    close_old_connections()
    try:
        duty()
    except Exception:  # A duty that fails, for example because the database restarts, must not end the clock.
        logger.exception("The duty %s failed; it will be tried again.", duty.__name__)
    finally:
        # The thread may sleep for an hour, so it keeps no connection.
        database_connection.release()
