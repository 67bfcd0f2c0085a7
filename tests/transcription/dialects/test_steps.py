"""Waiting for a job: told of its end at once, and without a thread or a connection meanwhile."""

import asyncio
import threading
import time

import pytest
import redis.asyncio
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import connection
from redis import Redis

from tests.transcription.factories import make_job
from transcription import jobs
from transcription.dialects import steps
from transcription.models import Job, Status

pytestmark = pytest.mark.django_db(transaction=True)
WAITERS = 30


def wait(job, seconds):
    return asyncio.run(steps.wait_for(job.pk, seconds=seconds))


def wait_while(job, act, *, count=1, seconds=30):
    """Return what so many waiters get while `act` happens, and how long they waited for it."""

    async def both():
        waiters = [asyncio.create_task(steps.wait_for(job.pk, seconds=seconds)) for _ in range(count)]
        await asyncio.sleep(0.3)
        if count > 1:
            await until_blocked(count)
        began = time.monotonic()
        # In the thread that asks the database for all: SQLite in memory bears no second one.
        await sync_to_async(act)()
        found = await asyncio.gather(*waiters)
        return found, time.monotonic() - began

    return asyncio.run(both())


async def until_blocked(count):
    """Wait until so many clients wait at Redis; on a busy machine the last one takes seconds to get there."""
    async with redis.asyncio.Redis.from_url(settings.REDIS_URL) as client:
        for _ in range(600):
            if (await client.info("clients"))["blocked_clients"] >= count:
                return
            await asyncio.sleep(0.05)


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

    assert wait_while(job, delete)[0] == [None]


def test_waiters_hold_neither_threads_nor_connections(organization):
    """Thirty callers wait as cheaply as one: the database is asked in one thread, which is given back at once."""
    job = make_job(organization)
    before = threading.active_count()
    seen = {}

    def act():
        seen["threads"] = threading.active_count() - before
        with Redis.from_url(settings.REDIS_URL) as client:
            seen["blocked"] = client.info("clients")["blocked_clients"]
        cancel(job)()

    found, _ = wait_while(job, act, count=WAITERS)
    assert [one.status for one in found] == [Status.CANCELED] * WAITERS
    assert seen["blocked"] == WAITERS
    # The thread of all database questions, in which `act` runs too.
    assert seen["threads"] <= 1
