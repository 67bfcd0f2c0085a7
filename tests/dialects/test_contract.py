"""The same scenarios against every dialect: what all of our customers may rely on, whichever words they speak."""

import threading

import pytest
from django.core.files.storage import FileSystemStorage, default_storage
from django.test import Client

from accounts import api_keys
from accounts.models import Organization
from billing import statements
from billing.models import Hold, Wallet
from tests.conftest import AUDIO, text_of
from tests.dialects.faces import FACES, SENTENCE
from tests.transcription.recordings import lanes
from transcription.models import Job, Media
from transcription.recordings import probe_lanes
from transcription.speech.errors import EngineFailed
from transcription.speech.transcript import Word

CONTENT = (AUDIO / SENTENCE).read_bytes()


# The thread that works while a call waits must see the rows of the test.
COMMITTED = pytest.mark.django_db(transaction=True)


@pytest.fixture(
    params=[pytest.param(face, id=face.name, marks=COMMITTED if face.waits else ()) for face in FACES],
)
def face(request):
    return request.param


@pytest.fixture
def face_with_jobs(face):
    """Faces whose customers see jobs."""
    if face.waits:
        pytest.skip("it has no jobs")
    return face


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


def test_same_audio_gives_the_same_words(face, client, key, engine):
    assert face.said(client, key=key, content=CONTENT).lower() == text_of(SENTENCE).lower()


def test_without_a_key(face, client, key, assert_no_trace):
    failure = face.failure(face.submit(client, key=None, content=CONTENT))
    assert (failure.status, failure.type) == (401, "missing_api_key")
    assert_no_trace()


@pytest.mark.parametrize("bad", ["nonsense", "vxp_live_" + "A" * 38, "vxp_live_\u00e9", " ", "x" * 5000])
def test_with_a_wrong_key(face, client, bad, assert_no_trace):
    assert face.failure(face.submit(client, key=bad, content=CONTENT)).status == 401
    assert_no_trace()


def test_with_a_revoked_key(face, client, organization, key, assert_no_trace):
    api_keys.revoke(organization, key_id=organization.api_keys.get().pk)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (401, "invalid_api_key")
    assert_no_trace()


def test_with_the_key_of_an_unverified_owner(face, client, organization, key, assert_no_trace):
    Organization.objects.update(verified_at=None)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (403, "email_not_verified")
    assert_no_trace()


def test_strangers_job_is_not_there(face_with_jobs, client, key, strangers_key):
    face = face_with_jobs
    job_id = face.job_id(face.submit(client, key=key, content=CONTENT))
    for path, methods in face.job_paths(job_id).items():
        for method in ("get", "delete", "post"):
            response = getattr(client, method)(path, headers=face.headers(strangers_key))
            assert response.status_code == (404 if method in methods else 405), (method, path)
        failure = face.failure(client.get(path, headers=face.headers(strangers_key)))
        unknown = face.failure(client.get(path.replace(job_id, "0" * 8 + job_id[8:]), headers=face.headers(key)))
        assert failure == unknown


def test_without_money(face, client, key, organization, assert_no_trace):
    Wallet.objects.update(balance_micros=1)
    failure = face.failure(face.submit(client, key=key, content=CONTENT))
    assert (failure.status, failure.type) == (402, "insufficient_balance")
    assert not Hold.objects.exists()
    assert not Job.objects.exists()
    assert not Media.objects.exists()


def test_too_large(face, client, key, settings, assert_no_trace):
    settings.MAX_UPLOAD_BYTES = 1000
    assert face.failure(face.submit(client, key=key, content=CONTENT)).status == 413
    assert_no_trace()


def test_organization_whose_uploads_wait_is_told_to_wait(face, client, key, organization, assert_no_trace):
    with lanes.filled(organization.pk):
        response = face.submit(client, key=key, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (429, "too_many_open")
    assert response["Retry-After"] == str(probe_lanes.LANES[0].retry_seconds)
    assert_no_trace()


def test_uploads_of_others_that_fill_the_service(face, client, key, assert_no_trace):
    with lanes.filled(*range(100)):
        response = face.submit(client, key=key, content=CONTENT)
    failure = face.failure(response)
    assert (failure.status, failure.type) == (503, "no_room")
    assert response["Retry-After"] == str(probe_lanes.LANES[0].retry_seconds)
    assert_no_trace()


def test_unknown_option_is_named(face, client, key, assert_no_trace):
    if not face.refuses_unknown_fields:
        pytest.skip("it ignores them")
    failure = face.failure(face.submit(client, key=key, content=CONTENT, langauge="en"))
    assert failure.status == 400
    assert "langauge" in failure.message
    assert_no_trace()


def test_unknown_path(face, client, key):
    for headers in ({}, face.headers(key)):
        assert face.failure(client.get(face.unknown_path, headers=headers)).status == 404
        assert face.failure(client.post(face.unknown_path, headers=headers)).status == 404


def test_wrong_method(face, client, key):
    for method in (client.get, client.put, client.delete, client.options, client.patch):
        response = method(face.submit_path, headers=face.headers(key))
        assert face.failure(response).status == 405
        assert "POST" in response.headers["Allow"]


def test_broken_multipart(face, client, key, assert_no_trace):
    for content_type in ("multipart/form-data; boundary=x", "multipart/form-data"):
        response = client.post(
            face.submit_path, b"--y\r\nthis is no part", content_type=content_type, headers=face.headers(key)
        )
        assert face.failure(response).status == 400
    assert_no_trace()


def test_wrong_content_type(face, client, key, assert_no_trace):
    response = client.post(face.submit_path, b"<xml/>", content_type="application/xml", headers=face.headers(key))
    assert face.failure(response).status == 400
    assert_no_trace()


def test_engine_failure_costs_nothing(face, client, key, organization, fake_engine, settings):
    settings.JOB_ATTEMPTS = 1
    before = statements.balance(organization).balance_micros
    fake_engine.fail(EngineFailed())
    assert face.failure_of_work(client, key=key, content=CONTENT)["type"] == "engine_failed"
    assert statements.balance(organization).balance_micros == before


def test_crash_of_the_work_costs_nothing_and_tells_nothing(
    face, client, key, organization, fake_engine, settings, caplog
):
    """The engine answers with a word that is a number, which the worker cannot join with others."""
    settings.JOB_ATTEMPTS = 1
    before = statements.balance(organization).balance_micros
    fake_engine.words = (Word(7, 0, 100, 0.5),)
    error = face.failure_of_work(client, key=key, content=CONTENT)
    assert error["type"] == "internal_error"
    assert "expected str" in caplog.text
    assert "expected str" not in str(error)
    assert statements.balance(organization).balance_micros == before


class CrashingStorage(FileSystemStorage):
    def _save(self, name, content):
        raise RuntimeError("a secret in a traceback")


def test_crash_of_a_view_is_logged_and_tells_nothing(face, client, key, settings, caplog, assert_no_trace):
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.CrashingStorage"}}
    response = face.submit(client, key=key, content=CONTENT)
    assert face.failure(response).status == 500
    assert b"secret" not in response.content
    assert "a secret in a traceback" in caplog.text
    assert response.headers["X-Request-Id"] in caplog.text
    assert_no_trace()


def test_rate_limit(face, client, key, settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, face.rate_scope: "2/minute"}
    from accounts.gate import limits

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


def test_every_answer_carries_its_limits_and_request_id(face, client, key):
    response = face.submit(client, key=key, content=b"no audio")
    assert response.headers["X-Request-Id"].startswith("req_")
    assert int(response.headers["x-ratelimit-remaining-requests"]) < int(response.headers["x-ratelimit-limit-requests"])
    assert response.headers["x-ratelimit-reset-requests"].endswith("s")
    assert response.headers["Cache-Control"] == "no-store"


def test_sent_twice_with_one_idempotency_key_is_done_once(face_with_jobs, client, key, organization):
    face = face_with_jobs

    def submit(content=CONTENT):
        body = {"file": face_file(content)}
        return client.post(face.submit_path, body, headers={**face.headers(key), "Idempotency-Key": "order-1"})

    first, second = submit(), submit()
    assert face.job_id(first) == face.job_id(second)
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == 1
    other = face.failure(submit((AUDIO / "sentence-slt.flac").read_bytes()))
    assert (other.status, other.type) == (409, "idempotency_key_reused")


def test_waiting_call_that_is_sent_twice_with_one_idempotency_key_is_done_once(face, client, key, fake_engine):
    if not face.waits:
        pytest.skip("the test before this one is about it")
    more = {"Idempotency-Key": "order-1"}
    first, second = (face.submit(client, key=key, content=CONTENT, more_headers=more) for _ in range(2))
    assert face.words_in(first) == face.words_in(second) != ""
    assert second.headers["Idempotency-Replayed"] == "true"
    assert Job.objects.count() == Hold.objects.count() == 1
    content = (AUDIO / "sentence-slt.flac").read_bytes()
    other = face.failure(face.submit(client, key=key, content=content, more_headers=more))
    assert (other.status, other.type) == (409, "idempotency_key_reused")
    refused = {"Idempotency-Key": "order-2"}
    assert face.submit(client, key=key, content=b"no audio", more_headers=refused).status_code == 400
    assert face.was_accepted(face.submit(client, key=key, content=CONTENT, more_headers=refused))


def test_error_does_not_use_up_the_idempotency_key(face_with_jobs, client, key):
    face = face_with_jobs
    headers = {**face.headers(key), "Idempotency-Key": "order-2"}
    assert client.post(face.submit_path, {"file": face_file(b"no audio")}, headers=headers).status_code == 400
    assert face.was_accepted(client.post(face.submit_path, {"file": face_file(CONTENT)}, headers=headers))


def face_file(content):
    from django.core.files.uploadedfile import SimpleUploadedFile

    return SimpleUploadedFile(SENTENCE, content)


def test_no_thread_is_left_behind(face, client, key, engine):
    face.said(client, key=key, content=CONTENT)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("heart of")]
