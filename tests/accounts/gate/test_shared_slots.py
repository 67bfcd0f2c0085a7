"""Open requests that are counted over all processes: here two clients of Redis, and a process that is killed."""

import subprocess
import sys
import threading
import time
import uuid

import pytest
from django.conf import settings as site_settings
from redis import Redis

from accounts.gate import concurrency, shared_slots
from accounts.gate.concurrency import ConcurrencySlot
from accounts.gate.shared_slots import SharedSlots
from tests.product import PROJECT_DIR, environment_of

# Holds two slots and says so.
HOLDER = """
import sys, time, django
django.setup()
from accounts.gate.shared_slots import SharedSlots
slots = SharedSlots(lease_seconds=1, renew_seconds=0.1)
print([bool(slots.acquire(sys.argv[1], limit=9)) for _ in range(2)], flush=True)
time.sleep(60)
"""


# Acquires a slot while no thread can be started, and then a second one. Says what came of both, twice.
WITHOUT_THREADS = """
import resource, sys, threading, time, django
django.setup()
from accounts.gate.shared_slots import SharedSlots
slots = SharedSlots(lease_seconds=2, renew_seconds=0.1)
limits = resource.getrlimit(resource.RLIMIT_AS)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
threading.stack_size(1 << 30)
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), limits[1]))
try:
    slots.acquire(sys.argv[1], limit=1)
except RuntimeError as error:
    print(error, flush=True)
resource.setrlimit(resource.RLIMIT_AS, limits)
threading.stack_size(0)
print(bool(slots.acquire(sys.argv[1], limit=1)), len(slots._held[sys.argv[1]]), flush=True)
time.sleep(60)
"""


@pytest.fixture
def key():
    # Of one test alone: threads of earlier tests go on renewing what those held.
    return f"voxsite:slots:test:{uuid.uuid4()}"


@pytest.fixture
def process_of(redis_of_tests):
    """Makes the slots of another process, with a client of its own."""
    clients = []

    def make(**choices):
        clients.append(Redis.from_url(site_settings.REDIS_URL))
        return SharedSlots(lambda client=clients[-1]: client, **choices)

    yield make
    for client in clients:
        client.close()


def wait_until(is_true):
    ends_at = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < ends_at
        time.sleep(0.02)


def test_two_processes_together_have_the_limit_and_what_one_releases_the_other_gets(key, process_of):
    ours, theirs = process_of(), process_of()
    first = ours.acquire(key, limit=2)
    assert first
    assert theirs.acquire(key, limit=2)
    assert ours.is_full(key, limit=2)
    assert theirs.is_full(key, limit=2)
    assert (ours.acquire(key, limit=2), theirs.acquire(key, limit=2)) == (None, None)
    assert theirs.acquire(f"{key}:other", limit=2)
    ours.release(key, first)
    # At once: a client that saw the end of a stream may open the next one in another process.
    assert theirs.acquire(key, limit=2)
    assert ours.acquire(key, limit=2) is None


def test_threads_of_two_processes_never_exceed_the_limit(key, process_of):
    barrier, found = threading.Barrier(8), []

    def act(slots):
        barrier.wait()
        found.extend(slots.acquire(key, limit=20) for _ in range(4))

    processes = [process_of(), process_of()]
    threads = [threading.Thread(target=act, args=(processes[number % 2],)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([slot for slot in found if slot]) == 20


@pytest.mark.long
def test_slots_of_a_killed_process_are_free_soon_and_those_of_a_living_one_stay(key, process_of, tmp_path):
    command = [sys.executable, "-c", HOLDER, key]
    environment = environment_of(
        REDIS_URL=site_settings.REDIS_URL,
        DJANGO_SETTINGS_MODULE="voxsite.settings",
        VOXSITE_ENV="development",
        VOXSITE_DATA_DIR=str(tmp_path),
    )
    ours = process_of()
    with subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "[True, True]\n"
        # Longer than its leases: it renews them.
        time.sleep(1.5)
        assert ours.is_full(key, limit=2)
        other.kill()
    wait_until(lambda: not ours.is_full(key, limit=1))


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="a limit of memory")
def test_slot_that_found_no_thread_leaves_nothing_and_the_next_one_is_renewed(key, process_of, tmp_path):
    environment = environment_of(
        REDIS_URL=site_settings.REDIS_URL,
        DJANGO_SETTINGS_MODULE="voxsite.settings",
        VOXSITE_ENV="development",
        VOXSITE_DATA_DIR=str(tmp_path),
    )
    command = [sys.executable, "-c", WITHOUT_THREADS, key]
    with subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert [other.stdout.readline() for _ in range(2)] == ["can't start new thread\n", "True 1\n"]
            # Longer than its lease.
            time.sleep(3)
            assert process_of().is_full(key, limit=1)
        finally:
            other.kill()


def test_leases_that_redis_lost_come_back(key, process_of, redis_of_tests):
    ours, theirs = process_of(), process_of()
    assert ours.acquire(key, limit=1)
    redis_of_tests.flushdb()
    assert not theirs.is_full(key, limit=1)
    ours.renew()
    assert theirs.is_full(key, limit=1)


def test_released_slot_is_not_renewed(key, process_of):
    ours, theirs = process_of(), process_of()
    slot = ours.acquire(key, limit=1)
    ours.release(key, slot)
    ours.renew()
    ours.tell_released()
    assert not theirs.is_full(key, limit=1)


def test_without_redis_each_process_counts_for_itself_and_tells_later(key, process_of, redis_of_tests, caplog):
    reached = redis_of_tests
    away = Redis(unix_socket_path="/nowhere/redis.sock")
    redis = away
    ours, theirs = SharedSlots(lambda: redis, renew_seconds=3600), process_of()
    assert theirs.acquire(key, limit=1)
    slot = ours.acquire(key, limit=1)
    assert slot
    assert "Each process counts open requests for itself" in caplog.text
    redis = reached
    ours.renew()
    assert theirs.is_full(key, limit=2)
    redis = away
    ours.release(key, slot)
    redis = reached

    def is_told():
        # A thread of its own may be about to learn that Redis is away.
        ours.tell_released()
        return not theirs.is_full(key, limit=2)

    wait_until(is_told)


def test_request_has_its_slot_until_it_is_over(process_of):
    organization_id, theirs = uuid.uuid4(), process_of()
    key = f"voxsite:slots:calls:{organization_id}"
    with concurrency.request():
        slot = concurrency.slot_of_request()
        assert shared_slots.acquire(slot, kind="calls", organization_id=organization_id, limit=1)
        assert theirs.is_full(key, limit=1)
        assert shared_slots.is_full(kind="calls", organization_id=organization_id, limit=1)
    assert not theirs.is_full(key, limit=1)


def test_request_that_other_processes_leave_no_room_is_refused_and_holds_nothing(process_of):
    organization_id, theirs = uuid.uuid4(), process_of()
    theirs.acquire(f"voxsite:slots:calls:{organization_id}", limit=1)
    slot = ConcurrencySlot()
    assert not shared_slots.acquire(slot, kind="calls", organization_id=organization_id, limit=1)
    assert concurrency.slots_in_use(("calls", organization_id)) == 0
    assert shared_slots.acquire(ConcurrencySlot(), kind="calls", organization_id=organization_id, limit=2)


def test_view_that_outlives_its_request_holds_nothing(process_of):
    organization_id, slot = uuid.uuid4(), ConcurrencySlot()
    slot.release()
    assert not shared_slots.acquire(slot, kind="calls", organization_id=organization_id, limit=1)
    assert not process_of().is_full(f"voxsite:slots:calls:{organization_id}", limit=1)
