"""Run database work from the event loop in threads, in batches per group.

While the batch of one group runs, further items of that group wait. They form the next batch, which is one transaction.
Reason: every completion of a customer changes the same wallet row. With one transaction for each completion, 32
concurrent callers were admitted one after another, each with a disk flush of its own. Two groups never share a
transaction, so no customer waits for another customer's lock, and each transaction locks one wallet.
"""

import asyncio
import contextvars
import logging
import queue
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connection

from accounts import database_connection

logger = logging.getLogger(__name__)

THREADS = 4
MAX_BATCH_SIZE = 32
# A thread without work gives its connection back after the first time, and one with work now and then after the second,
# so that the pool can replace old connections. What waits for a connection of a pool that is used up waits that long.
KEEP_SECONDS = 0.1
MAX_KEEP_SECONDS = 30.0

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Threads:
    """Threads that do work in its order, started as they are needed. They end with the process.

    A thread keeps its connection of a pool from one work to the next: to take one and give it back takes as long as
    everything else that Python does for a batch of one (docs/benchmarks.md).
    """

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._lock = threading.Lock()
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._count = 0
        # Threads that wait for work. One too few is harmless: then a thread more is started.
        self._free_count = 0

    def run(self, work: Callable[[], None]) -> None:
        """Do the work soon. It must not raise."""
        self._work.put(work)
        with self._lock:
            if self._free_count:
                self._free_count -= 1
                return
            if self._count == self._max_count:
                return
            self._count += 1
            name = f"batcher-{self._count}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def _serve(self) -> None:
        ends_at = time.monotonic() + MAX_KEEP_SECONDS
        while True:
            work = self._next_work()
            work()
            # What it refers to, such as an event loop, must not live until the next work.
            del work
            if not database_connection.is_kept() or time.monotonic() >= ends_at:
                database_connection.release()
                ends_at = time.monotonic() + MAX_KEEP_SECONDS

    def _next_work(self) -> Callable[[], None]:
        with suppress(queue.Empty):
            return self._work.get_nowait()
        with self._lock:
            self._free_count += 1
        if database_connection.is_kept():
            with suppress(queue.Empty):
                return self._work.get(timeout=KEEP_SECONDS)
            database_connection.release()
        return self._work.get()


_threads = _Threads(THREADS)


class _LoopState(Generic[Item, Result]):
    """The waiting items of one event loop, and the groups that have a batch running or scheduled."""

    def __init__(self) -> None:
        self.waiting: dict[Hashable, list[tuple[Item, asyncio.Future[Result]]]] = {}
        self.busy: set[Hashable] = set()


class Batcher(Generic[Item, Result]):
    """Batches one kind of work.

    handle: processes the items of one batch, all of one group, and returns one result for each, in order. It must be
        idempotent, because it is called again after a failure.
        A result that is an exception is raised for its item.
    delay_seconds: how long the first item of an idle group waits for further items.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Item]], Sequence[Result | Exception]],
        *,
        delay_seconds: float = 0.0,
        max_batch_size: int = MAX_BATCH_SIZE,
    ) -> None:
        self._handle = handle
        self._delay_seconds = delay_seconds
        self._max_batch_size = max_batch_size
        # A page that asks once has an event loop of its own. Loops share no batch, and a closed loop leaves no state.
        self._states: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopState[Item, Result]] = WeakKeyDictionary()

    async def submit(self, item: Item, *, group: Hashable) -> Result:
        """Return the result for the item. Cancelling the caller does not cancel the work."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        state = self._states.setdefault(loop, _LoopState())
        state.waiting.setdefault(group, []).append((item, future))
        if group not in state.busy:
            state.busy.add(group)
            if self._delay_seconds:
                loop.call_later(self._delay_seconds, self._start_batch, group, loop)
            else:
                self._start_batch(group, loop)
        return await future

    def _start_batch(self, group: Hashable, loop: asyncio.AbstractEventLoop) -> None:
        state = self._states[loop]
        waiting = state.waiting.pop(group)
        batch, rest = waiting[: self._max_batch_size], waiting[self._max_batch_size :]
        if rest:
            state.waiting[group] = rest
        items = [item for item, _ in batch]

        def work() -> None:
            # A context of its own, since a thread keeps what is set in it: the ids of log lines would stand in those of
            # later batches, which are other customers'.
            results = contextvars.Context().run(self._run_in_thread, items)
            # A loop that has ended meanwhile wants no results.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._finish_batch, group, loop, batch, results)

        _threads.run(work)

    def _finish_batch(
        self,
        group: Hashable,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Item, asyncio.Future[Result]]],
        results: list[Result | Exception],
    ) -> None:
        for (_, future), result in zip(batch, results, strict=True):
            # Whoever waited for a cancelled one has left.
            if future.cancelled():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        state = self._states[loop]
        if group in state.waiting:
            self._start_batch(group, loop)
        else:
            state.busy.discard(group)

    def _run_in_thread(self, items: list[Item]) -> list[Result | Exception]:
        """Return a result or an exception for each item. Items of a failed batch run again one by one."""
        try:
            return list(self._handle_with_one_retry(items))
        except Exception as error:  # noqa: BLE001 - the caller gets it. One bad item must not fail the others of its batch.
            # Whatever it was: the next work begins with another connection.
            database_connection.release()
            if len(items) == 1:
                return [error]
            return [result for item in items for result in self._run_in_thread([item])]
        finally:
            if not database_connection.is_kept():
                database_connection.release()

    def _handle_with_one_retry(self, items: list[Item]) -> Sequence[Result | Exception]:
        database_connection.leave_ended()
        try:
            return self._handle(items)
        except (OperationalError, InterfaceError):
            logger.warning("The database failed; trying once more.", exc_info=True)
            connection.close()
            return self._handle(items)
