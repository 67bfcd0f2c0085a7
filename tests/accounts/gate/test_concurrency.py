import asyncio
import contextvars
import threading
from contextlib import suppress

from accounts.gate import concurrency
from accounts.gate.concurrency import ConcurrencySlot


def test_limit_applies_to_each_organization():
    slots = [ConcurrencySlot() for _ in range(3)]
    assert [slot.acquire("ours", limit=2) for slot in slots] == [True, True, False]
    assert ConcurrencySlot().acquire("theirs", limit=2)
    slots[0].release()
    assert slots[2].acquire("ours", limit=2)
    assert concurrency.slots_in_use("ours") == 2


def test_acquire_and_release_are_idempotent():
    first, second = ConcurrencySlot(), ConcurrencySlot()
    assert all(first.acquire("twice", limit=1) for _ in range(3))
    assert concurrency.slots_in_use("twice") == 1
    first.release()
    assert second.acquire("twice", limit=1)
    first.release()
    assert concurrency.slots_in_use("twice") == 1
    second.release()
    assert concurrency.slots_in_use("twice") == 0


def test_acquire_fails_after_release():
    """Admission runs in a thread and may reach the slot after its relay has ended."""
    slot = ConcurrencySlot()
    slot.release()
    assert not slot.acquire("late", limit=1)
    assert concurrency.slots_in_use("late") == 0


def test_threads_together_never_exceed_the_limit():
    barrier = threading.Barrier(8)
    found = []

    def act():
        mine = [ConcurrencySlot() for _ in range(500)]
        barrier.wait()
        found.append(sum(slot.acquire("many", limit=1000) for slot in mine))

    threads = [threading.Thread(target=act) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 1000


def test_slot_of_a_request_is_released_when_the_request_is_over():
    with suppress(ConnectionError), concurrency.request():
        assert concurrency.slot_of_request().acquire("request", limit=1)
        assert concurrency.slots_in_use("request") == 1
        raise ConnectionError
    assert concurrency.slots_in_use("request") == 0


def test_view_that_outlives_its_request_acquires_nothing():
    """Its thread goes on for a moment after the client has left."""
    with concurrency.request():
        context = contextvars.copy_context()
    assert not context.run(concurrency.slot_of_request).acquire("outlived", limit=1)
    assert concurrency.slots_in_use("outlived") == 0


def test_requests_have_slots_of_their_own():
    async def act(number):
        with concurrency.request():
            await asyncio.sleep(0)
            acquired = concurrency.slot_of_request().acquire("own", limit=2)
            await asyncio.sleep(0.01)
            return acquired

    async def both():
        return await asyncio.gather(*(act(number) for number in range(3)))

    assert asyncio.run(both()) == [True, True, False]
    assert concurrency.slots_in_use("own") == 0


def test_what_is_to_be_done_on_release_is_done_once_and_at_once_if_it_is_late():
    slot, done = ConcurrencySlot(), []
    assert slot.on_release(lambda: done.append("first"))
    slot.release()
    slot.release()
    assert done == ["first"]
    assert not slot.on_release(lambda: done.append("late"))
    assert done == ["first", "late"]
