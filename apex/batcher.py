"""Hands database work from the event loop to threads, gathered by group.

While a group's work is being done, what comes for the same group waits and is then done together, in one transaction.
A busy wallet is a row that everybody waits for: one transaction per completion admitted 32 callers one after another,
each with its own wait for the disk. Groups never share a transaction, so a customer waits for nobody else's lock, and
a transaction locks one wallet.
"""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from django.db import InterfaceError, OperationalError, connection

from accounts import connections

logger = logging.getLogger(__name__)

THREADS = 4
LARGEST_GATHERING = 32

Item = TypeVar("Item")
Result = TypeVar("Result")

_threads = ThreadPoolExecutor(THREADS, thread_name_prefix="apex-desk")


class _Groups(Generic[Item, Result]):
    """What one event loop waits for, and which of its groups are being worked for."""

    def __init__(self) -> None:
        self.waiting: dict[Hashable, list[tuple[Item, asyncio.Future[Result]]]] = {}
        self.busy: set[Hashable] = set()


class Desk(Generic[Item, Result]):
    """One kind of work.

    act: does the work of several items of one group and returns one result for each. It may be called again for items
    whose work failed, so it must be idempotent. pause_seconds: how long the first item waits for company.
    """

    def __init__(self, act: Callable[[Sequence[Item]], Sequence[Result]], *, pause_seconds: float = 0.0) -> None:
        self._act = act
        self._pause_seconds = pause_seconds
        # Event loops (each page that asks once has its own) share no gathering, and one that died leaves nothing.
        self._groups: WeakKeyDictionary[asyncio.AbstractEventLoop, _Groups[Item, Result]] = WeakKeyDictionary()

    async def do(self, item: Item, *, group: Hashable) -> Result:
        """Return the result of the item's work. Work that was begun is finished, whether or not it is waited for."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        groups = self._groups.setdefault(loop, _Groups())
        groups.waiting.setdefault(group, []).append((item, future))
        if group not in groups.busy:
            groups.busy.add(group)
            if self._pause_seconds:
                loop.call_later(self._pause_seconds, self._start, group, loop)
            else:
                self._start(group, loop)
        return await asyncio.shield(future)

    def _start(self, group: Hashable, loop: asyncio.AbstractEventLoop) -> None:
        groups = self._groups[loop]
        waiting = groups.waiting.pop(group)
        gathering, rest = waiting[:LARGEST_GATHERING], waiting[LARGEST_GATHERING:]
        if rest:
            groups.waiting[group] = rest
        work = loop.run_in_executor(_threads, self._work, [item for item, _ in gathering])
        work.add_done_callback(lambda done: self._finish(group, loop, gathering, done))

    def _finish(
        self,
        group: Hashable,
        loop: asyncio.AbstractEventLoop,
        gathering: list[tuple[Item, asyncio.Future[Result]]],
        done: "asyncio.Future[list[Result | Exception]]",
    ) -> None:
        for (_, future), result in zip(gathering, done.result(), strict=True):
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        groups = self._groups[loop]
        if group in groups.waiting:
            self._start(group, loop)
        else:
            groups.busy.discard(group)

    def _work(self, items: list[Item]) -> list[Result | Exception]:
        """Run in a thread."""
        try:
            return list(self._act_once_more_after_a_lost_connection(items))
        except Exception as error:  # noqa: BLE001 - told to who waits. One bad item must not fail those that it was gathered with.
            if len(items) == 1:
                return [error]
            return [result for item in items for result in self._work([item])]
        finally:
            connections.release()

    def _act_once_more_after_a_lost_connection(self, items: list[Item]) -> Sequence[Result]:
        try:
            return self._act(items)
        except (OperationalError, InterfaceError):
            logger.warning("The database failed; trying once more.", exc_info=True)
            connection.close()
            return self._act(items)
