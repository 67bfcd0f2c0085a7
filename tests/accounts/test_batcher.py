"""The batcher without a database: which items form a batch, and what a failing item does to the rest of its batch."""

import asyncio
import gc
import os
import threading
import time
from contextlib import closing

import psycopg
import pytest
from django.db import connection

from accounts import log_context
from accounts.batcher import MAX_BATCH_SIZE, THREADS, Batcher

URL = os.environ.get("DATABASE_URL", "")
SERVER = pytest.mark.skipif(not URL.startswith("postgres"), reason="needs PostgreSQL in DATABASE_URL")


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


def test_work_of_a_loop_that_has_ended_stops_no_thread():
    """As many as there are threads: each of them would be missed."""
    work = Work(0.05)

    async def leave(batcher):
        for number in range(THREADS):
            waiting = asyncio.ensure_future(batcher.submit(number, group=number))
            await asyncio.sleep(0)
            waiting.cancel()

    batcher = Batcher(work)
    asyncio.run(leave(batcher))
    assert submit_all(work, (7, "a")) == [14]


@pytest.fixture
def pool(transactional_db, monkeypatch):
    """Give the threads a pool, as the web process does, and return it."""
    options = connection.settings_dict["OPTIONS"] | {"pool": {"min_size": 1, "max_size": 4, "timeout": 20}}
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", options)
    opened = connection.pool
    opened.open()
    yield opened
    connection.close_pool()


def server_process(items):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return [cursor.fetchone()[0]] * len(items)


def ask_one_after_another(count, *, handle=server_process):
    async def act():
        batcher = Batcher(handle)
        return [await batcher.submit(1, group="a") for _ in range(count)]

    return asyncio.run(act())


def wait_until(is_so):
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@SERVER
def test_thread_keeps_its_connection_until_it_has_no_work(pool):
    ask_one_after_another(20)
    # Fewer than one for each: a thread that has just ended its work may not wait yet, and another one takes the next.
    assert pool.get_stats()["requests_num"] < 15
    wait_until(lambda: pool.get_stats()["pool_available"] == pool.get_stats()["pool_size"])


@SERVER
def test_connection_that_the_server_has_ended_is_left_before_the_work(pool):
    calls = []

    def handle(items):
        (pid,) = server_process(items)
        calls.append(pid)
        with closing(psycopg.connect(URL, autocommit=True)) as operator:
            operator.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        return [pid]

    pids = ask_one_after_another(5, handle=handle)
    # Nothing was done twice, and nothing failed.
    assert calls == pids
    assert len(set(pids)) == 5


@SERVER
def test_kept_connections_are_given_to_those_who_wait(pool):
    """All of the pool's are kept by threads or in use; who waits gets one soon."""
    held = [pool.getconn() for _ in range(3)]
    try:
        ask_one_after_another(1)
        with pool.connection(timeout=10) as one:
            assert one.execute("SELECT 1").fetchone() == (1,)
    finally:
        for each in held:
            pool.putconn(each)
