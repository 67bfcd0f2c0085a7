"""Streams of events as clients open and leave them: what they hold, and how many an organization gets."""

import asyncio
import json
import random
import threading

import pytest
from django.db import connection

from accounts import api_keys
from accounts.gate import concurrency
from tests.asgi_stream import AsgiStream
from tests.transcription.factories import make_job
from transcription import jobs
from transcription.dialects import event_stream
from transcription.jobs import events
from transcription.models import Job

pytestmark = pytest.mark.django_db(transaction=True)
STREAMS = 60


@pytest.fixture
def strangers_key(charlies):
    return api_keys.issue(charlies, name="test", by=None)[1]


def watch(job, key):
    return AsgiStream(f"/v1/jobs/{job.pk}/events", key=key)


def streams_of(organization):
    return concurrency.slots_in_use((event_stream.SLOTS, organization.pk))


def cancel(job):
    try:
        jobs.cancel(Job.objects.get(pk=job.pk))
    finally:
        connection.close()


@pytest.mark.long
def test_open_streams_hold_no_threads(organization, key):
    """The thread of the request ends before its response begins to stream; looks at the database share one."""
    job = make_job(organization)
    before = threading.active_count()

    async def act():
        streams = [watch(job, key) for _ in range(STREAMS)]
        for stream in streams:
            await stream.begin()
        # A thread that was told to end takes a moment for it.
        for _ in range(1000):
            if threading.active_count() - before < 10:
                break
            await asyncio.sleep(0.01)
        open_threads = threading.active_count() - before
        await asyncio.to_thread(cancel, job)
        for stream in streams:
            await stream.end()
        return open_threads, streams

    open_threads, streams = asyncio.run(act())
    assert open_threads < 10
    assert {stream.status for stream in streams} == {200}
    assert all(b'"status": "canceled"' in stream.received for stream in streams)
    assert streams_of(organization) == 0


def test_organization_has_a_limited_number_of_open_streams(settings, organization, key, charlies, strangers_key):
    settings.MAX_EVENT_STREAMS = 3
    job, theirs = make_job(organization), make_job(charlies)

    async def act():
        streams = [watch(job, key) for _ in range(3)]
        for stream in streams:
            await stream.begin()
        refused = watch(job, key)
        await refused.end()
        assert (refused.status, refused.json["error"]["type"]) == (429, "too_many_open")
        assert refused.json["error"]["message"] == (
            "Your organization has 3 open event streams, which is the limit. Try again when one ends."
        )
        other = watch(theirs, strangers_key)
        await other.begin()
        assert other.status == 200
        await other.leave()
        # One that left makes space for another one.
        await streams.pop().leave()
        again = watch(job, key)
        await again.begin()
        assert again.status == 200
        for stream in (*streams, again):
            await stream.leave()

    asyncio.run(act())
    assert streams_of(organization) == streams_of(charlies) == 0


def test_stream_of_an_ended_job_gives_its_place_back(settings, organization, key):
    settings.MAX_EVENT_STREAMS = 1
    job = make_job(organization)
    jobs.cancel(job)

    async def act():
        for _ in range(3):
            stream = watch(job, key)
            await stream.end()
            assert (stream.status, b"event: end" in stream.received) == (200, True)

    asyncio.run(act())


@pytest.mark.long
def test_clients_who_vanish_at_any_moment_leave_no_open_stream(organization, key):
    """During authentication, before the first byte, between two events, or while they read nothing."""
    job = make_job(organization)
    for number in range(300):
        events.publish(job.pk, "progress", progress=number % 100)

    async def act():
        chance = random.Random(3)
        for _ in range(6):
            streams = [watch(job, key) for _ in range(10)]
            for stream in streams[::3]:
                stream.is_reading.clear()
            for stream in chance.sample(streams, len(streams)):
                await asyncio.sleep(chance.random() / 20)
                await stream.leave()

    asyncio.run(act())
    assert streams_of(organization) == 0


@pytest.mark.long
def test_client_who_reads_nothing_gets_it_all_later(organization, key):
    job = make_job(organization)
    count = 1_000

    async def act():
        stream = watch(job, key)
        await stream.begin()
        stream.is_reading.clear()
        await asyncio.to_thread(lambda: [events.publish(job.pk, "progress", progress=n) for n in range(count)])
        stream.is_reading.set()
        await asyncio.to_thread(cancel, job)
        await stream.end()
        return stream.received.decode()

    received = asyncio.run(act())
    lines = [line.removeprefix("data: ") for line in received.splitlines() if line.startswith("data: ")]
    assert [json.loads(line)["progress"] for line in lines[:-1]] == list(range(count))
    assert received.count("event: end") == 1
