"""The same scenarios against every dialect: what all of our customers may rely on, whichever words they speak."""

import asyncio
import threading

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import Client

from accounts import api_keys, redis_connections
from accounts.gate import limits
from accounts.models import Organization
from billing import statements
from billing.models import Hold, Wallet
from tests.asgi_stream import AsgiStream
from tests.conftest import AUDIO, text_of
from tests.dialects.faces import FACES, SENTENCE, working
from tests.transcription.dialects.waiting_calls import in_thread, submitted, until
from tests.transcription.recordings import lanes
from transcription import faces
from transcription.models import Job, Media
from transcription.recordings import probe_lanes
from transcription.speech.errors import EngineFailed
from transcription.speech.transcript import Word

# Calls that wait are worked on by a thread, which sees only what is committed.
pytestmark = pytest.mark.django_db(transaction=True)

CONTENT = (AUDIO / SENTENCE).read_bytes()
OTHER_CONTENT = (AUDIO / "sentence-slt.flac").read_bytes()


@pytest.fixture(params=FACES, ids=lambda face: face.name)
def face(request, settings):
    # A refusal that does not come must fail a test, and not stop it.
    settings.MAX_WAIT_SECONDS = 120
    return request.param


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="contract", by=None)[1]


@pytest.fixture
def strangers_key(charlies):
    return api_keys.issue(charlies, name="contract", by=None)[1]


def stored_files(folder="media"):
    try:
        owners, _ = default_storage.listdir(folder)
    except FileNotFoundError:
        return []
    return [name for owner in owners for name in default_storage.listdir(f"{folder}/{owner}")[1]]


@pytest.fixture
def assert_no_trace(organization):
    """Return a check that nothing was charged, held, stored or recorded since the test began."""
    before = statements.balance(organization).balance_micros
    files = set(stored_files())

    def check():
        assert statements.balance(organization).balance_micros == before
        assert statements.balance(organization).held_micros == 0
        assert not Job.objects.exists()
        assert not Media.objects.exists()
        assert set(stored_files()) == files

    return check


def test_every_dialect_is_asked():
    # Other addresses of dialects that are asked.
    others = {"asr-detection", "deepgram-projects"}
    assert {face.name for face in FACES} == {face.name for face in faces.FACES} - others


@pytest.mark.long
def test_same_audio_gives_the_same_words(face, client, key, engine):
    outcome = face.transcribe(client, key=key, content=CONTENT)
    assert outcome.failure is None
    assert " ".join(outcome.words.split()).lower() == text_of(SENTENCE).lower()


@pytest.mark.long
def test_success_is_charged_once(face, client, key, organization, fake_engine):
    before = statements.balance(organization).balance_micros
    assert face.transcribe(client, key=key, content=CONTENT).failure is None
    job = Job.objects.get()
    balance = statements.balance(organization)
    assert (before - balance.balance_micros, balance.held_micros) == (job.cost_micros, 0)
    assert job.cost_micros > 0
    assert job.dialect == face.name


@pytest.mark.long
def test_without_a_key(face, client, key, assert_no_trace):
    failure = face.failure(face.submit(client, key=None, content=CONTENT))
    assert (failure.status, failure.type) == (401, "missing_api_key")
    assert_no_trace()


@pytest.mark.long
@pytest.mark.parametrize("bad", ["nonsense", "vxp_live_" + "A" * 38, "vxp_live_\u00e9", " ", "x" * 5000])
def test_with_a_wrong_key(face, client, bad, assert_no_trace):
    assert face.failure(face.submit(client, key=bad, content=CONTENT)).status == 401
    assert_no_trace()


@pytest.mark.long
def test_with_a_revoked_key(face, client, organization, key, assert_no_trace):
    api_keys.revoke(organization, key_id=organization.api_keys.get().pk)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (401, "invalid_api_key")
    assert_no_trace()


@pytest.mark.long
def test_with_the_key_of_an_unverified_owner(face, client, organization, key, assert_no_trace):
    Organization.objects.update(verified_at=None)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (403, "email_not_verified")
    assert_no_trace()


@pytest.mark.long
def test_strangers_idempotency_key_opens_nothing(face, client, key, strangers_key, fake_engine):
    """The same recording under the same Idempotency-Key is a stranger's own job, at their expense."""
    headers = {"Idempotency-Key": "order-1"}
    first = face.transcribe(client, key=key, content=CONTENT, headers=headers)
    second = face.transcribe(client, key=strangers_key, content=CONTENT, headers=headers)
    assert first.failure is second.failure is None
    assert "Idempotency-Replayed" not in second.response.headers
    assert Job.objects.values("organization").distinct().count() == Job.objects.count() == 2


@pytest.mark.long
def test_without_money(face, client, key, organization, assert_no_trace):
    Wallet.objects.update(balance_micros=1)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (402, "insufficient_balance")
    assert not Hold.objects.exists()
    assert not Job.objects.exists()
    assert not Media.objects.exists()


@pytest.mark.long
def test_too_large(face, client, key, settings, assert_no_trace):
    settings.MAX_UPLOAD_BYTES = 1000
    assert face.failure(face.submit(client, key=key, content=CONTENT)).status == face.too_large_status
    assert_no_trace()


@pytest.mark.long
def test_organization_whose_uploads_wait_is_told_to_wait(face, client, key, organization, assert_no_trace):
    with lanes.filled(organization.pk):
        response = face.submit(client, key=key, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (429, "too_many_open")
    assert response["Retry-After"] == str(probe_lanes.LANES[0].retry_seconds)
    assert_no_trace()


@pytest.mark.long
def test_uploads_of_others_that_fill_the_service(face, client, key, assert_no_trace):
    with lanes.filled(*range(100)):
        response = face.submit(client, key=key, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (503, "no_room")
    assert response["Retry-After"] == str(probe_lanes.LANES[0].retry_seconds)
    assert_no_trace()


@pytest.mark.long
def test_limit_of_calls_that_wait(face, client, key, settings, assert_no_trace):
    if not face.waits:
        return
    settings.MAX_WAITING_CALLS = 0
    response = face.submit(client, key=key, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (429, "too_many_open")
    assert int(response["Retry-After"]) >= 1
    assert_no_trace()


@pytest.mark.long
def test_unknown_option_is_named_or_ignored(face, client, key, assert_no_trace, fake_engine):
    if face.ignores_unknown:
        assert face.transcribe(client, key=key, content=CONTENT, langauge="en").failure is None
        return
    failure = face.failure(face.submit(client, key=key, content=CONTENT, langauge="en"))
    assert failure.status == 400
    assert "langauge" in failure.message
    assert_no_trace()


def test_unknown_path(face, client, key):
    for headers in ({}, face.headers(key)):
        assert face.failure(client.get(face.unknown_path, headers=headers)).status == 404
        assert face.failure(client.post(face.unknown_path, headers=headers)).status == 404


@pytest.mark.long
def test_wrong_method(face, client, key):
    for method in (client.get, client.put, client.delete, client.options, client.patch):
        response = method(face.submit_path, headers=face.headers(key))
        assert face.failure(response).status == 405
        assert "POST" in response.headers["Allow"]


@pytest.mark.long
def test_broken_body(face, client, key, assert_no_trace):
    path = face.sent(CONTENT).path
    for body, content_type in (*face.broken, (b"<xml/>", "application/xml")):
        response = client.post(path, body, content_type=content_type, headers=face.headers(key))
        assert face.failure(response).status == 400, content_type
    assert_no_trace()


@pytest.mark.long
@pytest.mark.parametrize("content", [b"", b"No recording. " * 100, CONTENT[:3000]], ids=["empty", "text", "cut"])
def test_file_that_is_no_recording(face, client, key, content, assert_no_trace):
    assert face.failure(face.submit(client, key=key, content=content)).status == 400
    assert_no_trace()


@pytest.mark.long
def test_engine_failure_costs_nothing(face, client, key, organization, fake_engine, settings):
    settings.JOB_ATTEMPTS = 1
    before = statements.balance(organization).balance_micros
    fake_engine.fail(EngineFailed())
    outcome = face.transcribe(client, key=key, content=CONTENT)
    assert outcome.failure.type == "engine_failed"
    assert outcome.failure.status == (face.engine_failure_status if face.waits else 200)
    balance = statements.balance(organization)
    assert (balance.balance_micros, balance.held_micros) == (before, 0)


@pytest.mark.long
def test_crash_of_the_work_costs_nothing_and_tells_nothing(
    face, client, key, organization, fake_engine, settings, caplog
):
    """The engine answers with a word that is a number, which the worker cannot join with others."""
    settings.JOB_ATTEMPTS = 1
    before = statements.balance(organization).balance_micros
    fake_engine.words = (Word(7, 0, 100, 0.5),)
    outcome = face.transcribe(client, key=key, content=CONTENT)
    assert outcome.failure.type == "internal_error"
    assert "expected str" in caplog.text
    assert "expected str" not in str(outcome.failure)
    balance = statements.balance(organization)
    assert (balance.balance_micros, balance.held_micros) == (before, 0)


class CrashingStorage(FileSystemStorage):
    def _save(self, name, content):
        raise RuntimeError("a secret in a traceback")


@pytest.mark.long
def test_crash_of_a_view_is_logged_and_tells_nothing(face, client, key, settings, caplog, assert_no_trace):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.CrashingStorage"}}
    response = face.submit(client, key=key, content=CONTENT)
    assert face.failure(response).status == 500
    assert b"secret" not in response.content
    assert "a secret in a traceback" in caplog.text
    assert response.headers["X-Request-Id"] in caplog.text
    assert_no_trace()


@pytest.mark.long
def test_rate_limit(face, client, key, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, face.rate_scope: "2/minute"}
    limits._limit.cache_clear()
    try:
        codes = [face.submit(client, key=key, content=b"no audio").status_code for _ in range(2)]
        assert 429 not in codes
        response = face.submit(client, key=key, content=b"no audio")
        assert face.failure(response).status == 429
        assert 1 <= int(response.headers["Retry-After"]) <= 60
        assert response.headers["x-ratelimit-limit-requests"] == "2"
        assert response.headers["x-ratelimit-remaining-requests"] == "0"
    finally:
        limits._limit.cache_clear()


@pytest.mark.long
def test_every_answer_carries_its_limits_and_request_id(face, client, key, fake_engine):
    for response in (
        face.submit(client, key=key, content=b"no audio"),
        face.transcribe(client, key=key, content=CONTENT).response,
    ):
        assert response.headers["X-Request-Id"].startswith("req_")
        left, limit = (int(response.headers[f"x-ratelimit-{name}-requests"]) for name in ("remaining", "limit"))
        assert left < limit
        assert response.headers["x-ratelimit-reset-requests"].endswith("s")
        assert response.headers["Cache-Control"] == "no-store"


# --- Twice -------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_sent_twice_with_one_idempotency_key_is_done_once(face, client, key, organization, fake_engine):
    headers = {"Idempotency-Key": "order-1"}
    first, second = (face.transcribe(client, key=key, content=CONTENT, headers=headers) for _ in range(2))
    assert first.words == second.words
    assert "Idempotency-Replayed" not in first.response.headers
    assert second.response.headers["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == 1
    other = face.failure(face.submit(client, key=key, content=OTHER_CONTENT, headers=headers))
    assert (other.status, other.type) == (409, "idempotency_key_reused")


@pytest.mark.long
def test_error_does_not_use_up_the_idempotency_key(face, client, key, fake_engine):
    headers = {"Idempotency-Key": "order-2"}
    assert face.submit(client, key=key, content=b"no audio", headers=headers).status_code == 400
    assert face.transcribe(client, key=key, content=CONTENT, headers=headers).failure is None


@pytest.mark.long
def test_sent_twice_without_a_key_is_two_jobs(face, client, key, fake_engine):
    for _ in range(2):
        assert face.transcribe(client, key=key, content=CONTENT).failure is None
    assert Job.objects.count() == 2


# --- Clients that leave --------------------------------------------------------------------------------------------


class Leaver(AsgiStream):
    """A client that sends a part of its body and is gone."""

    async def _receive(self):
        if self._has_sent:
            return {"type": "http.disconnect"}
        self._has_sent = True
        return {"type": "http.request", "body": self._body[:1000], "more_body": True}


def call(face, kind, *, key):
    sent = face.sent(CONTENT)
    headers = {"Content-Type": sent.content_type, **face.headers(key)}
    # The dialect says how its key is sent.
    return kind(sent.path, key="", method="POST", body=sent.body, headers=headers)


@pytest.mark.long
def test_client_that_leaves_while_it_sends_leaves_nothing(face, key, assert_no_trace):
    async def act():
        leaver = call(face, Leaver, key=key)
        await leaver.end()
        return leaver

    assert asyncio.run(act()).status is None
    assert_no_trace()


@pytest.mark.long
def test_client_that_leaves_while_it_waits_pays_nothing(face, key, organization, settings):
    """A call that waits is canceled after the grace. A job of its own goes on, which is what it is for."""
    settings.DISCONNECT_GRACE_SECONDS = 0
    before = statements.balance(organization).balance_micros

    async def act():
        leaver = call(face, AsgiStream, key=key)
        (job_id,) = await submitted()
        await leaver.leave()
        if face.waits:
            await until(lambda: Job.objects.get(pk=job_id).status == "canceled")
        return await in_thread(lambda: Job.objects.get(pk=job_id).status)

    assert asyncio.run(act()) == ("canceled" if face.waits else "queued")
    balance = statements.balance(organization)
    assert balance.balance_micros == before
    assert bool(balance.held_micros) is not face.waits


@pytest.mark.long
def test_call_that_is_sent_again_after_a_broken_connection_is_paid_once(face, key, organization, fake_engine):
    """The job completes within the grace. Most clients send everything again and do not say so."""
    if not face.waits:
        return
    before = statements.balance(organization).balance_micros

    async def act():
        leaver = call(face, AsgiStream, key=key)
        await submitted()
        await leaver.leave()
        await until(lambda: redis_connections.client().keys("voxsite:unanswered:*"))
        with working():
            again = call(face, AsgiStream, key=key)
            await again.end()
        return again

    again = asyncio.run(act())
    assert again.status == 200, again.received
    assert again.headers["idempotency-replayed"] == "true"
    balance = statements.balance(organization)
    assert (before - balance.balance_micros, balance.held_micros) == (Job.objects.get().cost_micros, 0)


@pytest.mark.long
def test_no_thread_is_left_behind(face, client, key, engine):
    face.transcribe(client, key=key, content=CONTENT)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heart of")]


# --- What only some have -------------------------------------------------------------------------------------------


@pytest.mark.long
def test_strangers_job_is_not_there(client, key, strangers_key):
    """Only the native API has jobs of its own. A stranger's and an unknown one get the same answer."""
    native = next(face for face in FACES if face.name == "native")
    job_id = native.submit(client, key=key, content=CONTENT).json()["job_id"]
    paths = {
        f"/v1/jobs/{job_id}": {"get", "delete"},
        f"/v1/jobs/{job_id}/result": {"get"},
        f"/v1/status/{job_id}": {"get"},
    }
    for path, methods in paths.items():
        for method in ("get", "delete", "post"):
            response = getattr(client, method)(path, headers=native.headers(strangers_key))
            assert response.status_code == (404 if method in methods else 405), (method, path)
        failure = native.failure(client.get(path, headers=native.headers(strangers_key)))
        unknown = native.failure(client.get(path.replace(job_id, "0" * 8 + job_id[8:]), headers=native.headers(key)))
        assert failure == unknown
