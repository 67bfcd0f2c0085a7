"""Heartbeats: as long as a completion is relayed and no longer, so that the sweeper releases only dead ones."""

import asyncio
import time
import uuid
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from accounts import log_context
from apex import catalogue, completions, heartbeat
from apex.models import Completion, State
from apex.types import AdmissionRequest

pytestmark = pytest.mark.django_db(transaction=True)

PATIENCE_SECONDS = 20


@pytest.fixture(autouse=True)
def quick(settings):
    settings.APEX_HEARTBEAT_SECONDS = 0.02
    settings.APEX_UPSTREAMS = [{"name": "u", "base_url": "http://u", "api_key": "", "model_names": {}}]


@pytest.fixture
def begin(organization):
    """Return a starter of completions, which returns their ids. Their last heartbeat is a minute old."""

    def begin_one():
        request = AdmissionRequest(key="", model=catalogue.find("apex-latest"), prompt_tokens=20, completion_tokens=100)
        completion = completions.begin_for(organization, request=request, api_key=None).completion
        grow_silent(completion.completion_id)
        return completion.completion_id

    return begin_one


def grow_silent(*ids):
    Completion.objects.filter(pk__in=ids).update(seen_at=Now() - timedelta(minutes=1))


def is_heard(completion_id):
    return Completion.objects.filter(pk=completion_id, seen_at__gt=Now() - timedelta(seconds=30)).exists()


async def in_thread(work, *args):
    """Return what database work gives. Its thread keeps no connection."""

    def work_and_disconnect():
        try:
            return work(*args)
        finally:
            connection.close()

    return await asyncio.to_thread(work_and_disconnect)


async def wait_until_heard(completion_id):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not await in_thread(is_heard, completion_id):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def test_only_completions_that_are_relayed_are_kept_alive(begin):
    relayed, also, dead = begin(), begin(), begin()

    async def relay():
        with heartbeat.keeping_alive(relayed), heartbeat.keeping_alive(also):
            for completion_id in (relayed, also):
                await wait_until_heard(completion_id)

    asyncio.run(relay())
    assert completions.sweep() == 1
    assert set(Completion.objects.running().values_list("pk", flat=True)) == {relayed, also}
    assert Completion.objects.get(pk=dead).finish == "process_died"


def test_completion_that_ended_gets_no_heartbeat_though_another_does(begin):
    ended, relayed = begin(), begin()

    async def relay():
        with heartbeat.keeping_alive(relayed):
            with heartbeat.keeping_alive(ended):
                await wait_until_heard(ended)
            # One that was on its way may still come.
            await wait_until_heard(relayed)
            await in_thread(grow_silent, ended, relayed)
            await wait_until_heard(relayed)
            await in_thread(grow_silent, ended, relayed)
            await wait_until_heard(relayed)

    asyncio.run(relay())
    assert not is_heard(ended)


def test_heart_stops_with_the_last_completion_and_starts_again(begin):
    first, second = begin(), begin()

    async def relay():
        own = asyncio.current_task()
        for completion_id in (first, second):
            with heartbeat.keeping_alive(completion_id):
                await wait_until_heard(completion_id)
            deadline = time.monotonic() + PATIENCE_SECONDS
            while asyncio.all_tasks() != {own}:
                assert time.monotonic() < deadline, asyncio.all_tasks()
                await asyncio.sleep(0.01)

    asyncio.run(relay())
    assert Completion.objects.filter(state=State.RUNNING).count() == 2


def test_relay_that_fails_is_not_kept_alive(begin):
    completion_id = begin()

    async def relay():
        with heartbeat.keeping_alive(completion_id):
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        asyncio.run(relay())
    assert completion_id not in heartbeat._relayed


def test_log_lines_of_the_heart_have_no_ids_of_the_first_completion(monkeypatch, caplog):
    def keep_alive(ids):
        raise RuntimeError("away")

    monkeypatch.setattr(completions, "keep_alive", keep_alive)
    caplog.handler.addFilter(adds_ids := log_context.AddsIds())

    async def relay():
        log_context.begin(request_id="req_1", organization_id=7)
        with heartbeat.keeping_alive(uuid.uuid4()):
            deadline = time.monotonic() + PATIENCE_SECONDS
            while "Heartbeats could not be written." not in caplog.text:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)

    try:
        asyncio.run(relay())
    finally:
        caplog.handler.removeFilter(adds_ids)
    assert {record.ids for record in caplog.records if record.name == "apex.heartbeat"} == {""}
