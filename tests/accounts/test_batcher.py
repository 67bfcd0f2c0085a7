"""The batcher without a database: which items form a batch, and what a failing item does to the rest of its batch."""

import asyncio
import gc
import threading
import time

import pytest

from accounts import log_context
from accounts.batcher import MAX_BATCH_SIZE, THREADS, Batcher


class Work:
    """A handler that records its batches. It fails for a batch with a negative number."""

    def __init__(self, seconds=0.0):
        self.batches = []
        self.seconds = seconds
        self.max_concurrent = 0
        self._running = 0
        self._lock = threading.Lock()

    def __call__(self, items):
        with self._lock:
            self._running += 1
            self.max_concurrent = max(self.max_concurrent, self._running)
            self.batches.append(list(items))
        time.sleep(self.seconds)
        with self._lock:
            self._running -= 1
        if any(item < 0 for item in items):
            raise ValueError(items)
        return [item * 2 for item in items]


def submit_all(work, *pairs, **options):
    async def act():
        batcher = Batcher(work, **options)
        return await asyncio.gather(
            *(batcher.submit(item, group=group) for item, group in pairs), return_exceptions=True
        )

    return asyncio.run(act())


def test_items_of_a_busy_group_form_one_batch():
    work = Work(0.05)
    assert submit_all(work, *[(item, "a") for item in range(5)]) == [0, 2, 4, 6, 8]
    assert work.batches == [[0], [1, 2, 3, 4]]


def test_groups_have_batches_of_their_own_that_run_concurrently():
    work = Work(0.1)
    submit_all(work, (1, "a"), (2, "b"), (3, "a"))
    assert sorted(work.batches) == [[1], [2], [3]]
    assert work.max_concurrent == 2


def test_delay_lets_the_first_item_wait_for_others():
    work = Work()
    submit_all(work, (1, "a"), (2, "a"), (3, "a"), delay_seconds=0.02)
    assert work.batches == [[1, 2, 3]]


def test_batch_has_a_maximum_size():
    work = Work()
    count = MAX_BATCH_SIZE + 3
    assert len(submit_all(work, *[(item, "a") for item in range(count)], delay_seconds=0.02)) == count
    assert [len(batch) for batch in work.batches] == [MAX_BATCH_SIZE, 3]


def test_bad_item_fails_alone():
    results = submit_all(Work(), (1, "a"), (-1, "a"), (3, "a"), delay_seconds=0.02)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 6


def test_group_continues_after_a_failure():
    async def act():
        batcher = Batcher(Work())
        with pytest.raises(ValueError, match="-1"):
            await batcher.submit(-1, group="a")
        return await batcher.submit(4, group="a")

    assert asyncio.run(act()) == 8


def test_work_is_finished_when_its_caller_is_cancelled():
    work = Work(0.05)

    async def act():
        batcher = Batcher(work)
        waiting = asyncio.ensure_future(batcher.submit(1, group="a"))
        await asyncio.sleep(0.01)
        waiting.cancel()
        return await batcher.submit(2, group="a")

    assert asyncio.run(act()) == 4
    assert work.batches == [[1], [2]]


@pytest.mark.long
def test_closed_loop_leaves_no_state():
    """A later loop can have the same id. With the old state it would find the group busy and wait for ever."""
    work = Work(0.2)
    batcher = Batcher(work)

    async def leave():
        left = asyncio.ensure_future(batcher.submit(1, group="a"))
        await asyncio.sleep(0.05)
        left.cancel()

    asyncio.run(leave())
    deadline = time.monotonic() + 60
    while batcher._states:
        assert time.monotonic() < deadline
        gc.collect()  # The thread of the work ends after its loop, and holds the loop until then.
        time.sleep(0.05)
    assert asyncio.run(batcher.submit(2, group="a")) == 4


def test_ids_of_a_batch_stand_in_no_log_line_of_later_ones():
    seen = []

    def note(items):
        seen.append(dict(log_context.ids_now()))
        log_context.add(organization_id=items[0])
        return items

    async def act():
        log_context.begin(request_id="req_1")
        batcher = Batcher(note)
        # More than there are threads, so that some are used again.
        for number in range(3 * THREADS):
            await batcher.submit(number, group=number)

    asyncio.run(act())
    assert seen == [{}] * (3 * THREADS)
