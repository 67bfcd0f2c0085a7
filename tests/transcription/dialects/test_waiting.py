"""Calls that wait for their transcript: what they hold, and what happens when clients leave, come back and repeat."""

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from accounts import api_keys
from accounts.errors import (
    BadMedia,
    Conflict,
    InternalError,
    NotConfigured,
    PaymentRequired,
    RateLimited,
    UpstreamFailed,
    WaitedTooLong,
)
from accounts.gate import concurrency, idempotency
from billing import statements
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet
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

pytestmark = pytest.mark.django_db(transaction=True)
WAITERS = 30


@pytest.fixture(autouse=True)
def small_site(settings):
    settings.ROOT_URLCONF = "tests.transcription.dialects.waiting_site"


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]


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


def test_server_without_an_event_loop_waits_too(organization, key):
    """Django's test client, or WSGI."""

    def work():
        asyncio.run(finish_first())

    async def finish_first():
        await finish((await submitted())[0])

    worker = threading.Thread(target=work)
    worker.start()
    response = Client().post(
        "/wait", multipart(), content_type="multipart/form-data; boundary=limit", headers={"X-API-Key": key}
    )
    worker.join()
    assert response.json()["text"] == "hello there"
    assert concurrency.slots_in_use((waiting.SLOTS, organization.pk)) == 0


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


def test_organization_has_a_limit_of_open_calls(organization, key, settings):
    settings.MAX_WAITING_CALLS = 1

    async def act():
        first = call("/wait", key=key)
        (job_id,) = await submitted()
        second = call("/wait", key=key)
        await second.end()
        await finish(job_id)
        await first.end()
        third = call("/wait", key=key)
        await finish((await submitted(2))[1])
        await third.end()
        return first, second, third

    first, second, third = asyncio.run(act())
    assert (first.status, second.status, third.status) == (200, 429, 200)
    assert second.json["wrong"] == "too_many_open"
    assert int(second.headers["retry-after"]) == 1
    assert waiting.SHOULD_RETRY_HEADER not in second.headers
    assert concurrency.slots_in_use((waiting.SLOTS, organization.pk)) == 0


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


def retry(key, count, **fields):
    return call("/wait", key=key, body=multipart(**fields), headers={waiting.RETRY_COUNT_HEADER: str(count)})


def test_retry_within_the_grace_joins_the_job(key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 1

    async def act():
        first = retry(key, 0)
        (job_id,) = await submitted()
        await first.leave()
        second = retry(key, 1)
        # Past the grace of the first, the job still runs for the second.
        await asyncio.sleep(1.5)
        assert await in_thread(status_of(job_id)) == Status.QUEUED
        await finish(job_id)
        await second.end()
        return second, job_id

    second, job_id = asyncio.run(act())
    assert second.json == {"text": "hello there", "job": str(job_id)}
    assert second.headers["idempotency-replayed"] == "true"
    assert Job.objects.count() == usage().count() == 1


def test_retry_gets_what_was_answered(key):
    async def act():
        first = retry(key, 0)
        await finish((await submitted())[0])
        await first.end()
        again = [retry(key, count) for count in (1, 2)]
        for each in again:
            await each.end()
        return first, *again

    first, *again = asyncio.run(act())
    assert [each.json for each in again] == [first.json] * 2
    assert "idempotency-replayed" not in first.headers
    assert Job.objects.count() == usage().count() == 1


def test_twenty_calls_with_one_key_are_one_job_and_one_charge(organization, key):
    async def act():
        calls = [call("/wait", key=key, headers={"Idempotency-Key": "order 7"}) for _ in range(20)]
        await finish((await submitted())[0])
        for each in calls:
            await each.end()
        return calls

    calls = asyncio.run(act())
    assert {each.status for each in calls} == {200}
    assert len({each.received for each in calls}) == 1
    assert sum("idempotency-replayed" not in each.headers for each in calls) == 1
    assert Job.objects.count() == Hold.objects.count() == usage().count() == 1


def test_repeat_that_submits_for_itself_needs_no_thread_that_others_answer_in(organization, key):
    """The first request may fail after a minute of probing, and the next one then probes."""
    mark = idempotency.fingerprint("POST /wait", data={"": SimpleUploadedFile("a.wav", CONTENT)})
    first = idempotency.claim(organization, key="order 7", request_fingerprint=mark)
    is_over = threading.Event()
    site, scopes = waiting_calls.small_site(), []

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


def released(act):
    def run():
        try:
            return act()
        finally:
            connection.close()

    return run


def test_key_of_another_request_is_refused(key):
    async def act():
        headers = {"Idempotency-Key": "order 7"}
        first = call("/wait", key=key, headers=headers)
        await finish((await submitted())[0])
        await first.end()
        other = call("/wait", key=key, headers=headers, body=multipart(language="en"))
        await other.end()
        return other

    other = asyncio.run(act())
    assert (other.status, other.json["wrong"]) == (409, "idempotency_key_reused")
    assert other.headers[waiting.SHOULD_RETRY_HEADER] == "false"


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


@pytest.mark.parametrize("count", ["1" * 5000, "-1", "x", "\xb2"])
def test_odd_count_of_tries_is_no_fault_of_ours(key, count):
    """Python reads no number of thousands of digits."""

    async def act():
        refused = call("/wait", key=key, body=multipart(b"no audio"), headers={waiting.RETRY_COUNT_HEADER: count})
        await refused.end()
        return refused

    refused = asyncio.run(act())
    assert (refused.status, refused.json["wrong"]) == (400, "not_audio")


def test_refusal_before_the_job_leaves_nothing_and_frees_the_key(organization, key):
    headers = {"Idempotency-Key": "order 7"}

    async def act(body):
        refused = call("/wait", key=key, headers=headers, body=body)
        await refused.end()
        return refused

    broken = asyncio.run(act(multipart(b"no audio")))
    assert (broken.status, broken.json["wrong"]) == (400, "not_audio")
    Wallet.objects.update(balance_micros=1)
    poor = asyncio.run(act(multipart()))
    assert (poor.status, poor.json["wrong"]) == (402, "insufficient_balance")
    assert poor.headers[waiting.SHOULD_RETRY_HEADER] == "false"
    assert not Job.objects.exists()
    assert not Hold.objects.exists()


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


@pytest.mark.parametrize(
    ("error", "helps"),
    [
        (RateLimited(retry_after=1), True),
        (InternalError(), True),
        (UpstreamFailed(), True),
        (PaymentRequired("no"), False),
        (Conflict("no"), False),
        (BadMedia("no"), False),
        (NotConfigured(), False),
        (WaitedTooLong(), False),
    ],
)
def test_retries_that_help_and_those_that_do_not(error, helps):
    assert waiting.retry_helps(error) is helps
