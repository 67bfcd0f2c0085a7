"""The clock: periodic duties. Any number may run; every duty is a conditional write."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand
from django.db import close_old_connections
from django.utils import timezone

from accounts.gate import idempotency
from transcription import jobs, media

logger = logging.getLogger(__name__)

STRAY_FILE_SECONDS = 24 * 3600


def reconcile() -> None:
    jobs.reconcile(now=timezone.now())


def purge() -> None:
    idempotency.purge()
    for path in media.stray_files(older_than_seconds=STRAY_FILE_SECONDS, now=time.time()):
        Path(path).unlink(missing_ok=True)


def sweep() -> None:
    media.sweep(now=timezone.now())


# Seconds between two rounds of each duty.
DUTIES: tuple[tuple[float, Callable[[], None]], ...] = ((5, reconcile), (3600, purge), (6 * 3600, sweep))


class Command(BaseCommand):
    help = "Do the periodic duties, until SIGTERM."

    def handle(self, *args: Any, **options: Any) -> None:
        stopped = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopped.set())
        due = {duty: 0.0 for _, duty in DUTIES}
        while not stopped.wait(1):
            for period, duty in DUTIES:
                if time.monotonic() >= due[duty]:
                    due[duty] = time.monotonic() + period
                    _do(duty)


def _do(duty: Callable[[], None]) -> None:
    close_old_connections()
    try:
        duty()
    except Exception:  # One failing duty (the database restarts, say) must not end the others.
        logger.exception("The duty %s failed; it will be tried again.", duty.__name__)
    finally:
        close_old_connections()
