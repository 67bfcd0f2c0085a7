"""The loop of the deliverer process: claims what is due, sends it, records what came of it.

Requests are tasks of one event loop. All work with the database is done by one thread, a claim and the results since
the last one together: so the number of open requests costs no connections. Several deliverers may run.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from django.db import DatabaseError, InterfaceError, OperationalError
from django.utils import timezone

from accounts import database_connection, log_context, tracing
from transcription.webhooks import delivery, sending
from transcription.webhooks.delivery import Request, Result
from transcription.webhooks.lanes import Lanes

logger = logging.getLogger(__name__)

# Results that come within this time are recorded together.
GATHER_SECONDS = 0.02
# Look-ups of host names block a thread each. Those of one customer must not use them up.
RESOLVER_THREADS = 64

Send = Callable[[Request], Awaitable[Result]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a deliverer waits.

    poll_seconds: until the database is asked again when nothing else happens. pause_seconds: after a fault of the
    database. stop_seconds: for open requests when the process is told to stop. The lease brings back the others.
    """

    poll_seconds: float = 0.5
    pause_seconds: float = 2.0
    stop_seconds: float = 3.0


PACE = Pace()


class Deliverer:
    """Delivers until it is stopped."""

    def __init__(self, *, send: Send = sending.send, lanes: Lanes | None = None, pace: Pace = PACE) -> None:
        self._send = send
        self._pace = pace
        self._lanes = lanes or Lanes()
        self._ended: list[Result] = []
        self._unrecorded: list[Result] = []
        self._open: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Claim nothing more, and end `run`. Call it in the event loop."""
        self._stopped.set()
        self._wake.set()

    async def run(self) -> None:
        """Deliver until `stop` is called."""
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVER_THREADS, thread_name_prefix="resolver"))
        with ThreadPoolExecutor(1, thread_name_prefix="database") as database:
            while not self._stopped.is_set():
                pause_seconds = await self._turn(database)
                await self._sleep(pause_seconds)
            if self._open:
                await asyncio.wait(self._open, timeout=self._pace.stop_seconds)
            self._unrecorded += self._ended
            await loop.run_in_executor(database, self._record)
            await loop.run_in_executor(database, database_connection.release)

    async def _turn(self, database: ThreadPoolExecutor) -> float:
        """Record, claim and start requests. Returns how long to wait if nothing happens meanwhile.

        Only this coroutine and the claim that it waits for use the lanes.
        """
        loop = asyncio.get_running_loop()
        ended, self._ended = self._ended, []
        for result in ended:
            self._lanes.leave(result.request.receiver, answered=result.status is not None)
        self._unrecorded += ended
        try:
            await loop.run_in_executor(database, self._record)
            requests = await loop.run_in_executor(database, self._claim)
        except (DatabaseError, InterfaceError):
            logger.exception("The database did not answer the deliverer; it will ask again.")
            await loop.run_in_executor(database, database_connection.release)
            return self._pace.pause_seconds
        for request in requests:
            task = asyncio.create_task(self._deliver(request))
            self._open.add(task)
            task.add_done_callback(self._open.discard)
        # There may be more than one claim takes.
        return 0.0 if len(requests) == delivery.CLAIM_BATCH_SIZE else self._pace.poll_seconds

    async def _deliver(self, request: Request) -> None:
        log_context.begin(delivery_id=request.delivery_id)
        with tracing.span("webhook", kind="client", parent=request.trace_context, attempt=request.attempt) as span:
            result = await self._send(request)
            if result.status is not None:
                span.set(**{"http.response.status_code": result.status})
            if result.fault is not None:
                span.fail(result.fault.value)
        # Only now: the list is another one than before the wait.
        self._ended.append(result)
        self._wake.set()

    async def _sleep(self, seconds: float) -> None:
        """Wait until a request ends or the process is stopped, at most so long."""
        if not self._ended and not self._stopped.is_set():
            self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        if self._ended and not self._stopped.is_set():
            await asyncio.sleep(GATHER_SECONDS)

    def _record(self) -> None:
        """Record what is unrecorded. Results that cannot be written are logged: their lease brings them back."""
        while self._unrecorded:
            try:
                delivery.record(self._unrecorded[0])
            except (OperationalError, InterfaceError):
                raise
            except Exception:  # One broken result must not hold all others.
                logger.exception("A result of %s was refused.", self._unrecorded[0].request.delivery_id)
            self._unrecorded.pop(0)

    def _claim(self) -> list[Request]:
        return delivery.claim(now=timezone.now(), lanes=self._lanes)
