"""RQ's worker, as the workers and the importer begin."""

import logging
import sys
import time
from types import TracebackType
from typing import Any, cast

from django.conf import settings
from redis.exceptions import RedisError
from rq.job import Job
from rq.queue import Queue
from rq.utils import now
from rq.worker import Worker as RqWorker
from rq.worker import WorkerStatus

from accounts import database_connection, tracing

logger = logging.getLogger(__name__)

# As `sys.exc_info` returns it.
ExceptionOf = tuple[type[BaseException], BaseException, TracebackType | None]
# Of the importer's child. Sixteen downloads run at once, and each asks the database for a moment, now and then.
IMPORT_CONNECTIONS = 8
# How long a child waits for its reports of errors to be sent.
REPORT_SECONDS = 2.0


class BaseWorker(RqWorker):
    """Finds Redis again soon, and keeps its command line."""

    # RQ would wait for up to a minute after Redis is back.
    max_connection_wait_time = 1.0

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Do a task in the child, which ends without the usual steps of an interpreter. Send what it has to tell."""
        try:
            return super().perform_job(job, queue)
        finally:
            tracing.flush()
            # Loaded where reports are on (voxsite/error_reports.py).
            if sentry := sys.modules.get("sentry_sdk"):
                sentry.flush(REPORT_SECONDS)

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log what a task raised, as an exception. RQ logs a text, so that all reports of errors would be one."""
        logger.error("Task %s failed.", job.id, exc_info=cast("ExceptionOf", exc_info))

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Have a child do a task. The worker goes on although RQ's record of it has expired.

        A worker that stood still for more than a minute, with its machine for example, has let the record expire and
        then writes a part of it again. RQ cannot read that, and the worker would end (rq 2.12).
        """
        try:
            super().execute_job(job, queue)
        except (KeyError, ValueError):
            logger.exception("RQ has no whole record of task %s any more.", job.id)
            self.set_state(WorkerStatus.IDLE)

    def run_maintenance_tasks(self) -> None:
        """Clean RQ's registries, of which nothing here needs anything: the clock finds the items of dead workers.

        A killed worker leaves an entry there. Once the record of its execution has expired, RQ's cleaning raises, and
        the worker would end: one of them each quarter of an hour (rq 2.12). So such entries are dropped.
        """
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]  # RQ has no types here
        except RedisError:
            raise
        except Exception:
            logger.exception("RQ's registries could not be cleaned. What has expired in them is dropped.")
            for queue in self.queues:
                self.connection.zremrangebyscore(queue.started_job_registry.key, 0, time.time())
            self.last_cleaned_at = now()  # type: ignore[assignment]  # RQ sets it so too

    def procline(self, message: str) -> None:
        """Change no title: people and tests know a process by `voxsite.serve.child` and its name. RQ sets its own."""


class Importer(BaseWorker):
    """Has its child's threads share connections to PostgreSQL.

    A download releases its connection while it waits for a customer's server, at least twice. Opening one anew cost
    PostgreSQL 19 ms and the importer 9 ms of processor time (measured with 10,000 small files).
    """

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Do a task in the child, which has no fork before it."""
        # At least two: the loop that begins downloads asks beside them.
        size = max(2, min(settings.DATABASE_POOL, IMPORT_CONNECTIONS)) if settings.DATABASE_POOL else 0
        database_connection.share(max_size=size)
        return super().perform_job(job, queue)
