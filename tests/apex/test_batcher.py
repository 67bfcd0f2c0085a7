"""Gathering, without a database: what is done together, what is not, and what one bad item does to the others."""

import asyncio
import gc
import threading
import time

import pytest

from apex.batcher import LARGEST_GATHERING, Desk


class Work:
    """Remembers what was done together."""

    def __init__(self, seconds=0.0):
        self.gatherings = []
        self.seconds = seconds
        self.most_at_once = 0
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, items):
        with self._lock:
            self._running += 1
            self.most_at_once = max(self.most_at_once, self._running)
            self.gatherings.append(list(items))
        time.sleep(self.seconds)
        with self._lock:
            self._running -= 1
        if any(item < 0 for item in items):
            raise ValueError(items)
        return [item * 2 for item in items]


def do(work, *pairs, **options):
    async def act():
        desk = Desk(work, **options)
        return await asyncio.gather(*(desk.do(item, group=group) for item, group in pairs), return_exceptions=True)

    return asyncio.run(act())


def test_what_comes_while_a_group_is_busy_is_done_together():
    work = Work(0.05)
    assert do(work, *[(item, "a") for item in range(5)]) == [0, 2, 4, 6, 8]
    assert work.gatherings == [[0], [1, 2, 3, 4]]


def test_groups_are_done_apart_and_at_the_same_time():
    work = Work(0.1)
    do(work, (1, "a"), (2, "b"), (3, "a"))
    assert sorted(work.gatherings) == [[1], [2], [3]]
    assert work.most_at_once == 2


def test_pause_lets_the_first_wait_for_company():
    work = Work()
    do(work, (1, "a"), (2, "a"), (3, "a"), pause_seconds=0.02)
    assert work.gatherings == [[1, 2, 3]]


def test_gathering_has_a_limit():
    work = Work()
    count = LARGEST_GATHERING + 3
    assert len(do(work, *[(item, "a") for item in range(count)], pause_seconds=0.02)) == count
    assert [len(gathering) for gathering in work.gatherings] == [LARGEST_GATHERING, 3]


def test_bad_item_fails_alone():
    results = do(Work(), (1, "a"), (-1, "a"), (3, "a"), pause_seconds=0.02)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 6


def test_group_goes_on_after_a_failure():
    async def act():
        desk = Desk(Work())
        with pytest.raises(ValueError, match="-1"):
            await desk.do(-1, group="a")
        return await desk.do(4, group="a")

    assert asyncio.run(act()) == 8


def test_work_is_finished_though_nobody_waits_any_more():
    work = Work(0.05)

    async def act():
        desk = Desk(work)
        waiting = asyncio.ensure_future(desk.do(1, group="a"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        return await desk.do(2, group="a")

    assert asyncio.run(act()) == 4
    assert work.gatherings == [[1], [2]]


def test_loop_that_died_in_the_middle_leaves_nothing():
    """A later one may lie where it lay, and would wait for it for ever."""
    work = Work(0.2)
    desk = Desk(work)

    async def leave():
        left = asyncio.ensure_future(desk.do(1, group="a"))
        await asyncio.sleep(0.05)
        left.cancel()

    asyncio.run(leave())
    time.sleep(0.3)
    gc.collect()
    assert not desk._groups
    assert asyncio.run(desk.do(2, group="a")) == 4
