"""Waiting for a job: told of its end at once, and without a thread or a connection meanwhile."""

import asyncio
import threading
import time
import uuid

import pytest
import redis.asyncio
from django.conf import settings
from django.db import OperationalError, connection
from django.db.backends.signals import connection_created
from redis import Redis

from accounts import batcher
from tests.transcription.factories import make_job
from transcription import jobs
from transcription.dialects import steps
from transcription.jobs import event_hub
from transcription.models import Job, Status

pytestmark = pytest.mark.django_db(transaction=True)
WAITERS = 30


def wait(job, seconds):
    return asyncio.run(steps.wait_for(job.pk, seconds=seconds))


def wait_while(job, act, *, count=1, seconds=30):
    """Return what so many waiters get while `act` happens, and how long they waited for it."""

    async def both():
        waiters = [asyncio.create_task(steps.wait_for(job.pk, seconds=seconds)) for _ in range(count)]
        await until_watched(job, waiters)
        began = time.monotonic()
        await asyncio.to_thread(act)
        found = await asyncio.gather(*waiters)
        return found, time.monotonic() - began

    return asyncio.run(both())


async def until_watched(job, waiters):
    """Wait until this process listens to the job; on a busy machine this takes seconds."""
    async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client:
        while not any(waiter.done() for waiter in waiters):
            if (await client.pubsub_numsub(event_hub.key_of(job.pk)))[0][1]:
                return
            await asyncio.sleep(0.02)


def cancel(job):
    def act():
        try:
            jobs.cancel(Job.objects.get(pk=job.pk))
        finally:
            connection.close()

    return act


def test_ended_job_is_not_waited_for(organization):
    job = make_job(organization)
    jobs.cancel(job)
    assert wait(job, 30).status == Status.CANCELED


def test_waiter_hears_of_the_end(organization):
    job = make_job(organization)
    (found,), seconds = wait_while(job, cancel(job))
    assert found.status == Status.CANCELED
    assert seconds < 20


def test_patience_ends_with_the_job_as_it_is(organization):
    assert wait(make_job(organization), 0.2).status == Status.QUEUED


def test_deleted_job_is_nothing(organization):
    job = make_job(organization)

    def delete():
        try:
            jobs.delete(Job.objects.get(pk=job.pk))
        finally:
            connection.close()

    # To delete a job is to cancel it first. Who hears of this may look before the row is gone.
    (found,), _ = wait_while(job, delete)
    assert found is None or found.status == Status.CANCELED
    assert wait(job, 30) is None


def test_waiters_hold_neither_threads_nor_connections(organization):
    """Thirty callers wait as cheaply as one: one subscription tells them all, and one thread asks the database."""
    job = make_job(organization)
    before = threading.active_count()
    seen = {}

    def act():
        seen["threads"] = threading.active_count() - before
        with Redis.from_url(settings.REDIS_URL) as client:
            seen["subscriptions"] = dict(client.pubsub_numsub(event_hub.key_of(job.pk)))
        cancel(job)()

    found, _ = wait_while(job, act, count=WAITERS)
    assert [one.status for one in found] == [Status.CANCELED] * WAITERS
    assert list(seen["subscriptions"].values()) == [1]
    # Those of `act` and of the batcher.
    assert seen["threads"] <= 1 + batcher.THREADS


def test_questions_of_one_moment_are_one_query(organization):
    job, other = make_job(organization), make_job(organization)
    unknown = uuid.uuid4()
    connections = []
    # Each question takes a connection and gives it back (accounts.batcher).
    connection_created.connect(note := lambda **_: connections.append(1))

    async def act():
        return await asyncio.gather(*(steps.current(pk) for pk in [job.pk, other.pk, unknown] * 100))

    try:
        found = asyncio.run(act())
    finally:
        connection_created.disconnect(note)
    assert [one and one.pk for one in found] == [job.pk, other.pk, None] * 100
    # The first asks at once, and all others together after it.
    assert len(connections) == 2


def test_database_that_fails_is_told_to_all_who_asked(organization):
    """And it is asked once for them, not once for each."""
    attempts, broken = [], []

    def fail(*_):
        attempts.append(1)
        raise OperationalError("gone")

    def break_it(connection, **_):
        if connection not in broken:
            broken.append(connection)
            connection.execute_wrappers.append(fail)

    connection_created.connect(break_it)

    async def act():
        return await asyncio.gather(*(steps.current(uuid.uuid4()) for _ in range(50)), return_exceptions=True)

    try:
        found = asyncio.run(act())
    finally:
        connection_created.disconnect(break_it)
        for each in broken:
            each.execute_wrappers.remove(fail)
    assert {type(one) for one in found} == {OperationalError}
    assert len(attempts) == 2
