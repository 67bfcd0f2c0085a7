import threading

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
