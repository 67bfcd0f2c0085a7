"""The hub against a Redis of its own: many watchers, slow ones, ones that vanish, and connections that break."""

import asyncio
import contextlib
import random
import threading
import uuid

import pytest
from redis import Redis

from transcription.jobs import event_hub, events
from transcription.jobs.event_hub import MAX_CONNECTIONS, MAX_QUEUED
from voxsite.serve import embedded_redis

PATIENCE_SECONDS = 0.5
WATCHERS = 200


@pytest.fixture
def own_redis(settings, tmp_path):
    """A client of a Redis that nobody else uses."""
    process, settings.REDIS_URL = embedded_redis.start(tmp_path)
    try:
        with Redis.from_url(settings.REDIS_URL) as client:
            yield client
    finally:
        embedded_redis.stop(process)


def hub_connections(client):
    return [each for each in client.client_list() if each["name"] == "voxsite-events"]


async def until(condition):
    """Wait until a condition holds, for a minute at most."""
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("It did not come about.")


async def numbers_of(job_id, *, up_to, pause=None, begun=None):
    """Return the numbers of a job's events until one of them is `up_to`. pause: awaited after each."""
    found = []
    async with contextlib.aclosing(events.watch(job_id, patience_seconds=PATIENCE_SECONDS)) as watching:
        async for event in watching:
            if begun is not None:
                begun.set()
            if event is None:
                continue
            found.append(event.data["number"])
            if event.data["number"] == up_to:
                return found
            if pause is not None:
                await pause()
    return found


def publish_numbers(job_id, numbers):
    for number in numbers:
        events.publish(job_id, "progress", number=number)


def test_watchers_share_connections_and_take_no_threads(own_redis):
    job_ids = [uuid.uuid4() for _ in range(20)]
    publish_numbers(job_ids[0], [0])
    threads = threading.active_count()
    seen = {}

    async def act():
        watching = [asyncio.create_task(numbers_of(job_ids[i % 20], up_to=9)) for i in range(WATCHERS)]
        await until(lambda: len(own_redis.pubsub_channels("voxsite:events:*")) == len(job_ids))
        seen["connections"], seen["threads"] = len(hub_connections(own_redis)), threading.active_count()
        for job_id in job_ids:
            publish_numbers(job_id, [1, 2, 9])
        return await asyncio.gather(*watching)

    found = asyncio.run(act())
    assert found == [[0, 1, 2, 9] if i % 20 == 0 else [1, 2, 9] for i in range(WATCHERS)]
    assert 0 < seen["connections"] <= MAX_CONNECTIONS
    assert seen["threads"] == threads


@pytest.mark.long
def test_watchers_who_come_at_any_moment_get_everything_once_and_in_order(own_redis):
    """The publisher does not wait for them, so some begin with nothing, some in the middle, some after the end."""
    job_id, count = uuid.uuid4(), 2_000

    async def join_late(seconds):
        await asyncio.sleep(seconds)
        return await numbers_of(job_id, up_to=count - 1)

    async def act():
        chance = random.Random(1)
        publishing = asyncio.create_task(asyncio.to_thread(publish_numbers, job_id, range(count)))
        watching = [asyncio.create_task(join_late(chance.random() * 2)) for _ in range(30)]
        await publishing
        return await asyncio.gather(*watching, numbers_of(job_id, up_to=count - 1))

    assert asyncio.run(act()) == [list(range(count))] * 31


@pytest.mark.long
def test_slow_watcher_holds_few_events_and_delays_nobody(own_redis):
    """It takes one event and no other until all are published and the others have theirs. Nothing is lost to it."""
    job_id, count = uuid.uuid4(), 3_000

    async def act():
        may_read = asyncio.Event()
        slow = asyncio.create_task(numbers_of(job_id, up_to=count - 1, pause=may_read.wait))
        fast = asyncio.create_task(numbers_of(job_id, up_to=count - 1))
        await asyncio.to_thread(publish_numbers, job_id, range(count))
        assert await fast == list(range(count))
        (hub,) = [each for loop, each in event_hub._hubs.items() if loop is asyncio.get_running_loop()]
        (topic,) = hub._topics.values()
        held = max(len(watcher._queue) for watcher in topic.watchers)
        may_read.set()
        return held, await slow

    held, found = asyncio.run(act())
    assert held <= MAX_QUEUED
    assert found == list(range(count))


@pytest.mark.long
def test_who_leaves_is_forgotten(own_redis):
    ours, theirs = uuid.uuid4(), uuid.uuid4()

    async def act():
        begun = asyncio.Event()
        publish_numbers(ours, [1])
        leaving = asyncio.create_task(numbers_of(ours, up_to=9, begun=begun))
        staying = asyncio.create_task(numbers_of(theirs, up_to=9))
        await begun.wait()
        await until(lambda: len(own_redis.pubsub_channels()) == 2)
        leaving.cancel()
        await until(lambda: own_redis.pubsub_channels() == [event_hub.key_of(theirs).encode()])
        publish_numbers(theirs, [9])
        assert await staying == [9]
        # After the last one, the connections go too.
        await until(lambda: not hub_connections(own_redis))
        assert asyncio.get_running_loop() not in event_hub._hubs
        # And the next one starts them again.
        publish_numbers(ours, [9])
        assert await numbers_of(ours, up_to=9) == [1, 9]

    asyncio.run(act())


@pytest.mark.long
def test_watchers_who_are_cancelled_at_any_moment_leave_nothing(own_redis):
    job_id = uuid.uuid4()
    publish_numbers(job_id, range(500))

    async def act():
        chance = random.Random(2)
        for _ in range(20):
            watching = [asyncio.create_task(numbers_of(job_id, up_to=-1)) for _ in range(10)]
            await asyncio.sleep(chance.random() / 50)
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)
        await until(lambda: not hub_connections(own_redis))
        assert asyncio.get_running_loop() not in event_hub._hubs

    asyncio.run(act())


@pytest.mark.long
def test_event_without_a_message_is_found_by_the_sweep(own_redis):
    """As from a worker of the version before, which still runs while a site is upgraded."""
    job_id = uuid.uuid4()

    async def act():
        begun = asyncio.Event()
        publish_numbers(job_id, [1])
        watching = asyncio.create_task(numbers_of(job_id, up_to=9, begun=begun))
        await begun.wait()
        own_redis.xadd(event_hub.key_of(job_id), {"name": "progress", "data": '{"number": 9}'})
        return await watching

    assert asyncio.run(act()) == [1, 9]


@pytest.mark.long
def test_nothing_is_lost_or_doubled_while_connections_are_killed(own_redis):
    job_id, count = uuid.uuid4(), 60

    async def act():
        watching = [asyncio.create_task(numbers_of(job_id, up_to=count - 1)) for _ in range(5)]
        for number in range(count):
            await asyncio.to_thread(publish_numbers, job_id, [number])
            if number % 20 == 10:
                for each in hub_connections(own_redis):
                    own_redis.client_kill_filter(_id=each["id"])
        return await asyncio.gather(*watching)

    assert asyncio.run(act()) == [list(range(count))] * 5


def test_stream_that_vanished_keeps_nobody_from_what_comes_next(own_redis):
    """Redis forgot it (KEPT_SECONDS, or memory). A watcher who is behind must not wait for what is gone."""
    job_id, count = uuid.uuid4(), 2 * MAX_QUEUED

    async def act():
        may_read, begun = asyncio.Event(), asyncio.Event()
        slow = asyncio.create_task(numbers_of(job_id, up_to=-1, pause=may_read.wait, begun=begun))
        fast = asyncio.create_task(numbers_of(job_id, up_to=count - 1))
        await asyncio.to_thread(publish_numbers, job_id, range(count))
        await begun.wait()
        await fast
        own_redis.delete(event_hub.key_of(job_id))
        may_read.set()
        await asyncio.to_thread(publish_numbers, job_id, [-1])
        return await slow

    found = asyncio.run(act())
    assert found[-1] == -1
    assert found[:-1] == list(range(len(found) - 1))


def test_each_event_loop_has_a_hub_of_its_own(own_redis):
    job_id = uuid.uuid4()
    found = []

    def watch():
        found.append(asyncio.run(numbers_of(job_id, up_to=9)))

    threads = [threading.Thread(target=watch) for _ in range(3)]
    for thread in threads:
        thread.start()
    asyncio.run(until(lambda: dict(own_redis.pubsub_numsub(event_hub.key_of(job_id))).popitem()[1] == 3))
    publish_numbers(job_id, [1, 9])
    for thread in threads:
        thread.join()
    assert found == [[1, 9]] * 3
    assert not event_hub._hubs
