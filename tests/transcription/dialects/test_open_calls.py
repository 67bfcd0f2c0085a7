"""Calls that are open while their job runs: what they hold, and what happens when clients leave or jobs fail."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.db.models.signals import post_save

from accounts.gate import concurrency, idempotency
from accounts.gate.request_log import RequestLog
from accounts.models import ApiRequest
from billing import statements
from billing.models import Entry, EntryKind, Hold, HoldState
from tests.transcription.dialects import waiting_calls
from tests.transcription.dialects.waiting_calls import (
    CONTENT,
    call,
    fail,
    finish,
    in_thread,
    multipart,
    submitted,
    until,
)
from transcription import jobs
from transcription.dialects import waiting
from transcription.jobs import events, waiters
from transcription.models import Job, JobItem, Priority, Status
from voxsite.request_logging import LogsRequests

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("waiting_site")]
WAITERS = 30


def usage():
    return Entry.objects.filter(kind=EntryKind.USAGE)


def open_holds():
    return Hold.objects.filter(state=HoldState.OPEN)


def status_of(job_id):
    return lambda: Job.objects.get(pk=job_id).status


def publish_segment(job_id, text="hello"):
    item = JobItem.objects.get(job_id=job_id)
    shown = {"item_id": str(item.pk), "length_ms": 1000, "price_micros": 100}
    events.publish(job_id, "segment", start=0.0, end=1.0, text=text, shown=shown)


def test_answer_comes_when_the_job_has_ended(organization, key):
    async def act():
        waiting_call = call("/wait", key=key)
        (job_id,) = await submitted()
        await finish(job_id)
        await waiting_call.end()
        return waiting_call, job_id

    answered, job_id = asyncio.run(act())
    assert (answered.status, answered.json) == (200, {"text": "hello there", "job": str(job_id)})
    assert int(answered.headers["x-ratelimit-remaining-requests"]) < 1000
    assert answered.headers["cache-control"] == "no-store"
    job = Job.objects.get()
    assert (job.priority, job.dialect, job.model) == (Priority.INTERACTIVE, "small", "whisper-1")
    assert -usage().get().amount_micros == job.cost_micros > 0


def test_other_response_than_json(key):
    async def act():
        waiting_call = call("/wait", key=key, body=multipart(**{"as": "text"}))
        await finish((await submitted())[0], "hä")
        await waiting_call.end()
        return waiting_call

    answered = asyncio.run(act())
    assert answered.received.decode() == "hä"
    assert answered.headers["content-type"] == "text/plain; charset=utf-8"


@pytest.mark.long
def test_waiting_calls_hold_neither_threads_nor_connections_nor_bodies(organization, key, settings):
    """The thread of the request ends with the submission; looks at the database share one."""

    async def act():
        before = threading.active_count()
        calls = [call("/wait", key=key, body=multipart(n=str(number))) for number in range(WAITERS)]
        job_ids = await submitted(WAITERS)
        for _ in range(1000):
            # A thread that was told to end takes a moment for it.
            if threading.active_count() - before < 15:
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail(f"{threading.active_count() - before} threads for {WAITERS} calls")
        for job_id in job_ids:
            await finish(job_id)
        for each in calls:
            await each.end()
        return calls

    assert {each.status for each in asyncio.run(act())} == {200}


def test_failed_transcription_is_an_error_that_costs_nothing(organization, key):
    before = statements.balance(organization).available_micros

    async def act():
        waiting_call = call("/wait", key=key)
        await fail((await submitted())[0])
        await waiting_call.end()
        return waiting_call

    answered = asyncio.run(act())
    assert (answered.status, answered.json["wrong"]) == (500, "engine_failed")
    assert "Nothing was charged" in answered.json["message"]
    assert waiting.SHOULD_RETRY_HEADER not in answered.headers
    assert statements.balance(organization).available_micros == before


def test_recording_that_turns_out_to_be_broken_is_the_senders_fault(key):
    async def act():
        waiting_call = call("/wait", key=key)
        (job_id,) = await submitted()

        def reject():
            item = jobs.claim(JobItem.objects.get(job_id=job_id).pk)
            jobs.reject_item(item, error_type="truncated_audio", message="Cut off.")

        await in_thread(reject)
        await waiting_call.end()
        return waiting_call

    answered = asyncio.run(act())
    assert (answered.status, answered.json["wrong"]) == (400, "truncated_audio")
    assert answered.headers[waiting.SHOULD_RETRY_HEADER] == "false"


@pytest.mark.parametrize("end_it", [jobs.cancel, jobs.delete])
def test_job_that_is_canceled_elsewhere_answers_the_call(key, end_it):
    async def act():
        waiting_call = call("/wait", key=key)
        (job_id,) = await submitted()
        await in_thread(lambda: end_it(Job.objects.get(pk=job_id)))
        await waiting_call.end()
        return waiting_call

    answered = asyncio.run(act())
    assert (answered.status, answered.json["wrong"]) == (409, "conflict")
    assert answered.headers[waiting.SHOULD_RETRY_HEADER] == "false"


def test_job_of_a_client_that_left_is_canceled_and_costs_nothing(organization, key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 0
    before = statements.balance(organization).available_micros

    async def act():
        waiting_call = call("/wait", key=key)
        (job_id,) = await submitted()
        await waiting_call.leave()
        await until(lambda: status_of(job_id)() == Status.CANCELED)

    asyncio.run(act())
    assert statements.balance(organization).available_micros == before
    assert not open_holds().exists()
    assert concurrency.slots_in_use((waiting.SLOTS, organization.pk)) == 0


def test_client_that_leaves_while_its_upload_is_submitted_leaves_no_job_that_runs(key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 0

    async def act():
        waiting_call = call("/wait", key=key)
        await asyncio.sleep(0)  # Its view runs, perhaps.
        await waiting_call.leave()
        await until(lambda: not Job.objects.exclude(status=Status.CANCELED).exists())

    asyncio.run(act())
    assert not open_holds().exists()


def test_repeat_that_submits_for_itself_needs_no_thread_that_others_answer_in(organization, key):
    """The first request may fail after a minute of probing, and the next one then probes."""
    mark = idempotency.fingerprint("POST /wait", data={"": SimpleUploadedFile("a.wav", CONTENT)})
    first = idempotency.claim(organization, key="order 7", request_fingerprint=mark)
    is_over = threading.Event()
    log = RequestLog()
    site, scopes = LogsRequests(waiting_calls.small_site(), log=log), []

    async def application(scope, receive, send):
        scopes.append(scope)
        await site(scope, receive, send)

    async def act():
        loop = asyncio.get_running_loop()
        shared, own = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        loop.set_default_executor(shared)
        busy = loop.run_in_executor(None, is_over.wait)
        try:
            waiting_call = call("/wait", key=key, headers={"Idempotency-Key": "order 7"}, application=application)
            for _ in range(3000):
                if scopes and "voxsite.later" in scopes[0]:
                    break
                await asyncio.sleep(0.02)
            await loop.run_in_executor(own, released(first.forget))
            for _ in range(3000):
                if await loop.run_in_executor(own, released(Job.objects.exists)):
                    break
                await asyncio.sleep(0.02)
            else:
                pytest.fail("it waits for the thread that others hold")
        finally:
            is_over.set()
        await busy
        await finish((await submitted())[0])
        await waiting_call.end()
        return waiting_call

    assert asyncio.run(act()).status == 200
    assert logged_jobs(log) == [(200, Job.objects.get().pk)]


def logged_jobs(log):
    log.flush()
    return list(ApiRequest.objects.order_by("pk").values_list("status", "job_id"))


def test_call_that_joins_a_job_is_logged_with_it(key):
    log = RequestLog()
    site = LogsRequests(waiting_calls.small_site(), log=log)

    async def act():
        first = call("/wait", key=key, headers={"Idempotency-Key": "order 7"}, application=site)
        (job_id,) = await submitted()
        await finish(job_id)
        await first.end()
        await call("/wait", key=key, headers={"Idempotency-Key": "order 7"}, application=site).end()
        return job_id

    job_id = asyncio.run(act())
    assert logged_jobs(log) == [(200, job_id)] * 2


def test_call_whose_own_job_ends_for_an_earlier_one_is_logged_with_that(key):
    """The client leaves its first call while the second one is being submitted. Either of the two jobs ends."""
    log = RequestLog()
    site = LogsRequests(waiting_calls.small_site(), log=log)

    async def act():
        loop = asyncio.get_running_loop()
        first = call("/wait", key=key, application=site)
        (left_id,) = await submitted()

        def leave(created, **_):
            if created:
                asyncio.run_coroutine_threadsafe(first.leave(), loop).result()

        post_save.connect(leave, sender=Job)
        try:
            second = call("/wait", key=key, application=site)
            await until(lambda: Job.objects.filter(status=Status.CANCELED).exists())
        finally:
            post_save.disconnect(leave, sender=Job)
        answering_id = (await waiting_calls.in_thread(Job.objects.exclude(status=Status.CANCELED).get)).pk
        await finish(answering_id)
        await second.end()
        return left_id, answering_id

    left_id, answering_id = asyncio.run(act())
    assert logged_jobs(log) == [(499, left_id), (200, answering_id)]


def test_refusal_of_a_job_that_exists_is_logged_with_its_type(key):
    log = RequestLog()

    async def act():
        waiting_call = call("/wait", key=key, application=LogsRequests(waiting_calls.small_site(), log=log))
        await fail((await submitted())[0])
        await waiting_call.end()

    asyncio.run(act())
    assert logged_jobs(log) == [(500, Job.objects.get().pk)]
    assert ApiRequest.objects.get().error_type == "engine_failed"


def released(act):
    def run():
        try:
            return act()
        finally:
            connection.close()

    return run


@pytest.mark.long
def test_wait_has_a_limit_and_then_the_job_is_canceled(organization, key, settings):
    settings.MAX_WAIT_SECONDS = 1

    async def act():
        waiting_call = call("/wait", key=key)
        await waiting_call.end()
        return waiting_call

    answered = asyncio.run(act())
    assert (answered.status, answered.json["wrong"]) == (504, "timed_out")
    assert "Nothing was charged" in answered.json["message"]
    assert answered.headers[waiting.SHOULD_RETRY_HEADER] == "false"
    assert Job.objects.get().status == Status.CANCELED
    assert not open_holds().exists()


@pytest.mark.long
def test_job_that_others_wait_for_outlives_the_limit_of_one(key, settings):
    """Also where nobody knows whether others wait. The caller must not be told that it costs nothing then."""
    settings.MAX_WAIT_SECONDS = 1

    async def act():
        waiting_call = call("/wait", key=key)
        (job_id,) = await submitted()
        await in_thread(lambda: waiters.join(job_id))
        await waiting_call.end()
        return waiting_call, job_id

    answered, job_id = asyncio.run(act())
    assert (answered.status, answered.json["wrong"]) == (504, "timed_out")
    assert "is charged when it completes" in answered.json["message"]
    assert "Nothing was charged" not in answered.json["message"]
    assert Job.objects.get(pk=job_id).status == Status.QUEUED


def test_stream_shows_text_as_it_comes_and_its_end(key):
    async def act():
        stream = call("/stream", key=key)
        (job_id,) = await submitted()
        await in_thread(lambda: publish_segment(job_id))
        await until(lambda: b"segment hello" in stream.received)
        await finish(job_id)
        await stream.end()
        return stream

    stream = asyncio.run(act())
    assert stream.status == 200
    assert stream.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert stream.received.endswith(b"segment hello\nend hello there\n")


def test_stream_that_is_left_costs_what_was_shown(organization, key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 0

    async def act():
        stream = call("/stream", key=key)
        (job_id,) = await submitted()
        await in_thread(lambda: publish_segment(job_id))
        await until(lambda: b"segment hello" in stream.received)
        await stream.leave()
        await until(lambda: status_of(job_id)() == Status.CANCELED)

    asyncio.run(act())
    assert -usage().get().amount_micros == 100
    assert not open_holds().exists()


@pytest.mark.long
def test_stream_that_is_left_between_its_last_segment_and_its_end_is_paid_once(organization, key):
    """Its job completes within the grace. Some programs send everything again then."""

    async def act():
        stream = call("/stream", key=key)
        (job_id,) = await submitted()
        await in_thread(lambda: publish_segment(job_id))
        await until(lambda: b"segment hello" in stream.received)
        await stream.leave()
        await finish(job_id)
        again = call("/stream", key=key)
        await again.end()
        return again

    again = asyncio.run(act())
    assert again.headers["idempotency-replayed"] == "true"
    assert again.received.endswith(b"end hello there\n")
    job = Job.objects.get()
    assert -usage().get().amount_micros == job.cost_micros
    assert not open_holds().exists()


def test_stream_that_is_left_before_it_begins_costs_nothing(organization, key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 0

    async def act():
        stream = call("/stream", key=key)
        stream.is_reading.clear()
        (job_id,) = await submitted()
        await stream.leave()
        await until(lambda: status_of(job_id)() == Status.CANCELED)

    asyncio.run(act())
    assert not usage().exists()


@pytest.mark.long
def test_failure_is_told_in_the_stream(key, settings):
    async def failed():
        stream = call("/stream", key=key)
        await fail((await submitted())[0])
        await stream.end()
        return stream

    async def slow():
        stream = call("/stream", key=key)
        await stream.end()
        return stream

    stream = asyncio.run(failed())
    assert json.loads(stream.received.splitlines()[-1]) == {"wrong": "engine_failed"}
    settings.MAX_WAIT_SECONDS = 1
    stream = asyncio.run(slow())
    assert json.loads(stream.received.splitlines()[-1]) == {"wrong": "timed_out"}
