"""The application as uvicorn calls it: what is refused before a body is read."""

import asyncio
import json

import pytest

from accounts import api_keys
from accounts.errors import RateLimited
from accounts.gate import limits
from accounts.gate.body_rate import BodyRate
from tests.transcription.recordings import lanes
from transcription.faces import face_of
from transcription.jobs import intake
from voxsite import asgi

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def two_uploads_a_minute(settings):
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "uploads": "2/minute"}
    limits._limit.cache_clear()
    yield
    limits._limit.cache_clear()


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]


def call(key, *, path="/v1/transcribe", size=5 * 1024**2, chunks=None, drips=False, application=asgi.application):
    """Return (status, headers, body, received) of an upload of which nothing, or chunks, has come yet.

    drips: it has a size, and a byte of it comes now and then. application: what answers.
    """
    headers = [(b"host", b"localhost"), (b"x-api-key", key.encode()), (b"content-type", b"text/plain")]
    headers.append((b"transfer-encoding", b"chunked") if chunks else (b"content-length", str(size).encode()))
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    received, sent, left = [], [], list(chunks or [])

    async def receive():
        received.append(1)
        if left:
            return {"type": "http.request", "body": left.pop(0), "more_body": True}
        if drips and len(received) < 1000:
            await asyncio.sleep(0.01)
            return {"type": "http.request", "body": b"x", "more_body": True}
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(application(scope, receive, send))
    if not sent:
        return None, {}, b"", len(received)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"], len(received)


def test_large_body_of_a_key_whose_uploads_are_spent_is_refused_unread(organization, key, two_uploads_a_minute):
    for _ in range(2):
        limits.spend(organization, scope="uploads")
    status, headers, body, received = call(key)
    assert (status, received) == (429, 0)
    error = json.loads(body)["error"]
    assert (error["code"], error["type"]) == (429, "rate_limited")
    assert int(headers[b"retry-after"]) == error["retry_after"] > 0
    assert headers[b"x-ratelimit-limit-requests"] == b"2"
    assert headers[b"x-request-id"].decode() == error["request_id"]
    assert headers[b"connection"] == b"close"


def test_body_of_unknown_size_is_refused_once_it_is_large(organization, key, two_uploads_a_minute):
    for _ in range(2):
        limits.spend(organization, scope="uploads")
    status, _, body, received = call(key, chunks=[bytes(200_000)] * 9)
    assert (status, json.loads(body)["error"]["type"]) == (429, "rate_limited")
    assert received == 2


def test_other_faces_are_told_in_a_sentence(organization, key, two_uploads_a_minute):
    for _ in range(2):
        limits.spend(organization, scope="uploads")
    status, headers, body, _ = call(key, path="/transcripts/upload/")
    assert (status, headers[b"content-type"]) == (429, b"text/plain; charset=utf-8")
    assert body.startswith(b"Too many requests.")


def test_looking_at_a_body_counts_nothing(organization, key, two_uploads_a_minute):
    for _ in range(5):
        _, _, _, received = call(key)
        assert received > 0
    assert limits.spend(organization, scope="uploads").remaining == 1
    assert limits.spend(organization, scope="uploads").remaining == 0
    with pytest.raises(RateLimited):
        limits.spend(organization, scope="uploads")


def test_silent_redis_lets_bodies_in(organization, key, settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert limits.refuse_if_spent(organization, scope="uploads") is None


def test_large_body_of_an_organization_whose_uploads_wait_is_refused_unread(organization, key):
    with lanes.filled(organization.pk):
        status, headers, body, received = call(key)
    assert (status, received) == (429, 0)
    error = json.loads(body)["error"]
    assert (error["code"], error["type"]) == (429, "too_many_open")
    assert int(headers[b"retry-after"]) == error["retry_after"] > 0


def test_large_body_is_refused_unread_while_the_uploads_of_others_wait(key):
    with lanes.filled(*range(100)):
        status, headers, body, received = call(key)
    assert (status, received) == (503, 0)
    error = json.loads(body)["error"]
    assert (error["code"], error["type"]) == (503, "no_room")
    assert int(headers[b"retry-after"]) == error["retry_after"] > 0


def test_body_that_is_too_large_has_the_status_of_its_dialect(key):
    """TranscribeAPI's documentation has 400 for it."""
    status, _, body, received = call(key, path="/transcribeapi/v1/transcribe", size=33 * 1024**2)
    assert (status, json.loads(body)["code"], received) == (400, "file_too_large", 0)
    assert call(key, path="/v1/audio/transcriptions", size=37 * 1024**2)[0] == 413


@pytest.mark.long
@pytest.mark.parametrize("path", ["/v1/transcribe", "/v1/audio/transcriptions", "/transcribeapi/v1/transcribe"])
def test_large_body_that_drips_is_refused(key, path):
    impatient = asgi.guarded(
        face_of(path, faces=asgi.FACES), rate=lambda: BodyRate(min_bytes=8192, window_seconds=0.05)
    )
    status, headers, _, received = call(key, path=path, drips=True, application=impatient)
    assert (status, headers[b"connection"]) == (408, b"close")
    assert received < 100


def test_large_body_is_refused_unread_while_intake_is_paused(key, alice):
    """An operator may have paused it because the disk is to be repaired."""
    intake.pause(by=alice)
    status, headers, body, received = call(key)
    assert (status, received) == (503, 0)
    assert (headers[b"retry-after"], json.loads(body)["error"]["type"]) == (b"60", "no_room")
