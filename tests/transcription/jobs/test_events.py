import asyncio
import uuid

import pytest

from transcription.jobs import events
from voxsite.serve import embedded_redis

PATIENCE_SECONDS = 1


def watched(job_id, *, count):
    async def watch():
        found = []
        async for event in events.watch(job_id, patience_seconds=PATIENCE_SECONDS):
            found.append(event)
            if len(found) == count:
                break
        return found

    return asyncio.run(watch())


@pytest.mark.long
def test_latecomer_gets_all_events_in_order():
    job_id = uuid.uuid4()
    events.publish(job_id, "started", attempt=1)
    events.publish(job_id, "progress", progress=40)
    events.publish(uuid.uuid4(), "progress", progress=99)
    assert watched(job_id, count=3) == [
        events.Event("started", {"attempt": 1}),
        events.Event("progress", {"progress": 40}),
        None,
    ]


def test_watcher_hears_what_comes_later():
    job_id = uuid.uuid4()

    async def both():
        async def tell():
            await asyncio.sleep(0.05)
            await asyncio.to_thread(events.publish, job_id, "end")

        telling = asyncio.create_task(tell())
        try:
            async for event in events.watch(job_id, patience_seconds=PATIENCE_SECONDS):
                if event is not None:
                    return event
        finally:
            await telling

    assert asyncio.run(both()) == events.Event("end", {})


@pytest.mark.long
def test_watcher_waits_for_a_redis_that_ended(settings, tmp_path):
    """What it held is lost. What comes afterwards is heard, and nothing twice."""
    job_id = uuid.uuid4()
    redis, settings.REDIS_URL = embedded_redis.start(tmp_path)

    async def watch():
        nonlocal redis
        watching = events.watch(job_id, patience_seconds=PATIENCE_SECONDS)
        events.publish(job_id, "progress", progress=1)
        found = [await anext(watching)]
        embedded_redis.stop(redis)
        found += [await anext(watching), await anext(watching)]
        redis, _ = embedded_redis.start(tmp_path)
        events.publish(job_id, "progress", progress=2)
        while (event := await anext(watching)) is None:
            pass
        await watching.aclose()
        return [*found, event]

    try:
        one, two = (events.Event("progress", {"progress": number}) for number in (1, 2))
        assert asyncio.run(watch()) == [one, None, None, two]
    finally:
        embedded_redis.stop(redis)


@pytest.mark.long
def test_nothing_of_a_deleted_job_comes_back(redis_of_tests):
    """Its worker goes on until it hears of the deletion, and tells text meanwhile."""
    job_id = uuid.uuid4()
    events.publish(job_id, "segment", text="secret")
    events.forget(job_id)
    events.publish(job_id, "segment", text="secret too")
    events.publish(job_id, "end")
    assert watched(job_id, count=1) == [None]
    # Threads of other tests of this process may write keys of their own.
    (mark,) = redis_of_tests.keys(f"*{job_id}*")
    assert redis_of_tests.type(mark) == b"string"
    assert 0 < redis_of_tests.ttl(mark) <= events.KEPT_SECONDS


def test_word_to_stop():
    job_id = uuid.uuid4()
    assert not events.is_asked_to_stop(job_id)
    events.ask_to_stop(job_id)
    assert events.is_asked_to_stop(job_id)
    assert not events.is_asked_to_stop(uuid.uuid4())


def test_silent_redis_harms_nobody(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    events.publish(uuid.uuid4(), "progress", progress=1)
    events.ask_to_stop(uuid.uuid4())
    assert not events.is_asked_to_stop(uuid.uuid4())
