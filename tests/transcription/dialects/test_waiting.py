"""Views that answer when the transcription has ended: limits, and what repeats of a request and refusals get."""

import asyncio
import threading

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db.models.signals import pre_save
from django.test import Client

from accounts import api_keys, redis_connections
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
from accounts.models import IdempotencyRecord
from billing import statements
from billing.models import Entry, EntryKind, Hold, Wallet
from tests.transcription.dialects import waiting_site
from tests.transcription.dialects.waiting_calls import CONTENT, call, finish, in_thread, multipart, submitted, until
from transcription.dialects import open_calls, waiting
from transcription.models import Job, Status

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("waiting_site")]


def usage():
    return Entry.objects.filter(kind=EntryKind.USAGE)


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


@pytest.mark.long
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


def retry(key, count, **fields):
    return call("/wait", key=key, body=multipart(**fields), headers={waiting.RETRY_COUNT_HEADER: str(count)})


@pytest.mark.long
def test_retry_within_the_grace_joins_the_job(key, settings):
    settings.DISCONNECT_GRACE_SECONDS = 1

    async def act():
        first = retry(key, 0)
        (job_id,) = await submitted()
        await first.leave()
        (grace,) = open_calls.graces()
        second = retry(key, 1)
        # Past the grace of the first, the job still runs for the second.
        await grace
        assert await in_thread(lambda: Job.objects.get(pk=job_id).status) == Status.QUEUED
        await finish(job_id)
        await second.end()
        return second, job_id

    second, job_id = asyncio.run(act())
    assert second.json == {"text": "hello there", "job": str(job_id)}
    assert second.headers["idempotency-replayed"] == "true"
    assert Job.objects.count() == usage().count() == 1


@pytest.mark.long
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


@pytest.mark.long
@pytest.mark.parametrize("count", [None, 0])
def test_next_equal_call_after_one_that_was_left_is_its_retry(key, settings, count):
    """Most clients do not say that they try again, and a program that was started again begins at zero."""
    settings.DISCONNECT_GRACE_SECONDS = 1
    headers = {} if count is None else {waiting.RETRY_COUNT_HEADER: str(count)}

    async def act():
        first = call("/wait", key=key, headers=headers)
        (job_id,) = await submitted()
        await first.leave()
        (grace,) = open_calls.graces()
        await unanswered()
        second = call("/wait", key=key, headers=headers)
        await grace
        assert await in_thread(lambda: Job.objects.get(pk=job_id).status) == Status.QUEUED
        await finish(job_id)
        await second.end()
        return second, job_id

    second, job_id = asyncio.run(act())
    assert second.json == {"text": "hello there", "job": str(job_id)}
    assert second.headers["idempotency-replayed"] == "true"
    assert Job.objects.count() == usage().count() == 1


async def unanswered():
    """Wait until it is noted that a client left."""
    await until(lambda: redis_connections.client().keys("voxsite:unanswered:*"))


@pytest.mark.long
def test_transcript_that_its_client_did_not_wait_for_is_paid_once(key):
    """It completed within the grace. The retry gets it, and the call after that is an order of its own."""

    async def act():
        first = call("/wait", key=key)
        (job_id,) = await submitted()
        await first.leave()
        await unanswered()
        await finish(job_id)
        second = call("/wait", key=key)
        await second.end()
        third = call("/wait", key=key)
        await finish((await submitted(2))[1])
        await third.end()
        return second, third, job_id

    second, third, job_id = asyncio.run(act())
    assert second.json["job"] == str(job_id) != third.json["job"]
    assert "idempotency-replayed" not in third.headers
    assert Job.objects.count() == usage().count() == 2


def answer_to_the_equal_call(act, *, key):
    """Have `act` leave a call whose job has completed. The next equal call gets its answer, and nothing is charged."""

    async def both():
        path, job_id = await act()
        await unanswered()
        second = call(path, key=key)
        await second.end()
        return second, job_id

    second, job_id = asyncio.run(both())
    assert second.status == 200
    assert second.headers["idempotency-replayed"] == "true"
    assert Job.objects.count() == usage().count() == 1
    return second, job_id


def test_client_that_leaves_while_its_answer_is_prepared_pays_once(key):
    """The job has completed and is charged. A dialect may rewrite its transcript for a minute then."""

    async def act():
        preparation = waiting_site.Preparation()
        waiting_site.preparations.append(preparation)
        first = call("/prepare", key=key)
        (job_id,) = await submitted()
        await finish(job_id)
        await preparation.has_begun.wait()
        await first.leave()
        return "/prepare", job_id

    second, job_id = answer_to_the_equal_call(act, key=key)
    assert second.json == {"text": "hello there", "job": str(job_id)}


@pytest.mark.long
@pytest.mark.parametrize("path", ["/wait", "/stream"])
def test_client_that_leaves_while_its_answer_is_sent_pays_once(key, path):
    async def act():
        first = call(path, key=key)
        if path == "/stream":
            await first.begin()
        first.is_reading.clear()
        (job_id,) = await submitted()
        await finish(job_id)
        # The call has the answer when it waits for its client to read it.
        await until(lambda: first.is_sending)
        await first.leave()
        return path, job_id

    answer_to_the_equal_call(act, key=key)


def test_client_that_got_an_error_for_what_it_paid_pays_once(key):
    async def act():
        waiting_site.failures.append(UpstreamFailed())
        first = call("/fail", key=key)
        (job_id,) = await submitted()
        await finish(job_id)
        await first.end()
        assert first.status == UpstreamFailed().http_status
        return "/fail", job_id

    answer_to_the_equal_call(act, key=key)


@pytest.mark.long
@pytest.mark.parametrize("path", ["/wait", "/stream", "/prepare"])
def test_call_after_one_that_was_answered_is_an_order(key, path):
    async def act():
        for count in (1, 2):
            answered = call(path, key=key)
            await finish((await submitted(count))[-1])
            await answered.end()
            await asyncio.gather(*open_calls.graces())
        return answered

    assert "idempotency-replayed" not in asyncio.run(act()).headers
    assert Job.objects.count() == usage().count() == 2


@pytest.mark.long
@pytest.mark.parametrize("what", ["recording", "field", "address", "key"])
def test_call_that_differs_from_one_that_was_left_is_a_job_of_its_own(organization, key, what):
    other = bytearray(CONTENT)
    other[-1] ^= 1
    options = {
        "recording": {"body": multipart(bytes(other))},
        "field": {"body": multipart(language="en")},
        "address": {"path": "/wait?a=b"},
        "key": {"key": api_keys.issue(organization, name="other", by=None)[1]},
    }

    async def act():
        first = call("/wait", key=key)
        await submitted()
        await first.leave()
        await unanswered()
        second = call(**{"path": "/wait", "key": key, **options[what]})
        await finish((await submitted(2))[1])
        await second.end()
        return second

    second = asyncio.run(act())
    assert second.status == 200
    assert "idempotency-replayed" not in second.headers
    assert Job.objects.count() == 2


@pytest.mark.long
def test_one_call_that_was_left_has_one_retry(key):
    """Of two equal calls after it, one joins its job and the other is an order."""

    async def act():
        first = call("/wait", key=key)
        await submitted()
        await first.leave()
        await unanswered()
        both = [call("/wait", key=key) for _ in range(2)]
        for job_id in await submitted(2):
            await finish(job_id)
        for each in both:
            await each.end()
        return both

    both = asyncio.run(act())
    assert {each.status for each in both} == {200}
    assert sum("idempotency-replayed" in each.headers for each in both) == 1
    assert Job.objects.count() == 2


def test_retry_that_comes_before_its_first_call_is_canceled_joins_its_job(key, settings):
    """urllib3 tries again at once. The server knows of the broken connection by then, and no task of it does."""
    settings.DISCONNECT_GRACE_SECONDS = 0

    async def act():
        first = call("/wait", key=key)
        (job_id,) = await submitted()
        await until(lambda: joinable(job_id))
        first.lose_connection()
        second = call("/wait", key=key)
        await until(lambda: joinable(job_id, waiters=2))
        await first.leave()
        await finish(job_id)
        await second.end()
        await asyncio.gather(*open_calls.graces())
        third = call("/wait", key=key)
        await finish((await submitted(2))[1])
        await third.end()
        return second, third, job_id

    second, third, job_id = asyncio.run(act())
    assert second.json == {"text": "hello there", "job": str(job_id)}
    assert second.headers["idempotency-replayed"] == "true"
    assert "idempotency-replayed" not in third.headers
    assert Job.objects.count() == usage().count() == 2


def joinable(job_id, *, waiters=1):
    """Whether so many calls wait for a job."""
    return redis_connections.client().scard(f"voxsite:waiters:{job_id}") >= waiters


@pytest.mark.parametrize("path", ["/wait", "/stream"])
def test_retry_that_comes_before_the_server_knows_of_the_departure_is_paid_once(organization, key, path):
    """A proxy may tell the server late. The retry has a job of its own by then, and the first one ends at once."""
    before = statements.balance(organization).available_micros

    async def act():
        first = call(path, key=key)
        await submitted()
        second = call(path, key=key)
        job_ids = await submitted(2)
        for job_id in job_ids:
            await until(lambda job_id=job_id: joinable(job_id))
        await first.leave()
        await until(lambda: Job.objects.get(pk=job_ids[0]).status == Status.CANCELED)
        assert not await in_thread(lambda: redis_connections.client().keys("voxsite:unanswered:*"))
        await finish(job_ids[1])
        await second.end()
        return second

    second = asyncio.run(act())
    assert (second.status, "idempotency-replayed" in second.headers) == (200, False)
    assert before - statements.balance(organization).available_micros == -usage().get().amount_micros


def test_equal_calls_of_which_the_later_one_leaves_are_both_jobs(key):
    """The earlier one is no retry of it. It has the whole grace for its own."""

    async def act():
        first = call("/wait", key=key)
        await submitted()
        second = call("/wait", key=key)
        job_ids = await submitted(2)
        await until(lambda: joinable(job_ids[1]))
        await second.leave()
        await unanswered()
        statuses = await in_thread(lambda: set(Job.objects.values_list("status", flat=True)))
        for job_id in job_ids:
            await finish(job_id)
        await first.end()
        third = call("/wait", key=key)
        await third.end()
        return statuses, first, third, job_ids

    statuses, first, third, job_ids = asyncio.run(act())
    assert statuses == {Status.QUEUED}
    assert [first.json["job"], third.json["job"]] == [str(job_id) for job_id in job_ids]


def test_equal_calls_that_stay_are_both_answered_and_paid(key):
    async def act():
        both = [call("/wait", key=key) for _ in range(2)]
        for job_id in await submitted(2):
            await finish(job_id)
        for each in both:
            await each.end()
        return both

    assert len({each.json["job"] for each in asyncio.run(act())}) == 2
    assert usage().count() == 2


def test_call_with_a_key_that_is_left_is_repeated_by_its_key_alone(key):
    async def act():
        first = call("/wait", key=key, headers={"Idempotency-Key": "order 7"})
        (job_id,) = await submitted()
        first.lose_connection()
        second = call("/wait", key=key)
        (_, other_id) = await submitted(2)
        await until(lambda: joinable(other_id))
        await first.leave()
        third = call("/wait", key=key, headers={"Idempotency-Key": "order 7"})
        for each in (job_id, other_id):
            await finish(each)
        for each in (second, third):
            await each.end()
        return second, third, job_id, other_id

    second, third, job_id, other_id = asyncio.run(act())
    assert (second.json["job"], third.json["job"]) == (str(other_id), str(job_id))
    assert not redis_connections.client().keys("voxsite:unanswered:*")


@pytest.mark.long
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


@pytest.mark.long
def test_calls_with_a_busy_key_wait_by_looking_together(organization, key, monkeypatch):
    """The first one is probed for minutes. Twenty that wait for it write nothing and share their looks."""
    mark = idempotency.fingerprint("POST /wait", data={"": SimpleUploadedFile("a.wav", CONTENT)})
    first = idempotency.claim(organization, key="order 7", request_fingerprint=mark)
    tried, looks = [], []

    def note(sender, **_):
        tried.append(sender)

    real = idempotency.running

    def counted(keys, *, now):
        looks.append(len(keys))
        return real(keys, now=now)

    async def act():
        calls = [call("/wait", key=key, headers={"Idempotency-Key": "order 7"}) for _ in range(20)]
        await until(lambda: len(looks) >= 5)
        await in_thread(first.forget)
        await finish((await submitted())[0])
        for each in calls:
            await each.end()
        return calls

    monkeypatch.setattr(idempotency, "running", counted)
    pre_save.connect(note, sender=IdempotencyRecord)
    try:
        calls = asyncio.run(act())
    finally:
        pre_save.disconnect(note, sender=IdempotencyRecord)
    assert {each.status for each in calls} == {200}
    assert len({each.received for each in calls}) == 1
    assert Job.objects.count() == Hold.objects.count() == usage().count() == 1
    # One question is for many of them. Once the key was free, each may have tried to get it.
    assert max(looks) > 1
    assert len(tried) <= 20


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


@pytest.mark.long
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
