"""Bodies that come in chunks, without Content-Length, are read as all others."""

import asyncio
import json

import pytest

from accounts import api_keys
from tests.conftest import AUDIO
from transcription.models import Job, Media
from voxsite import asgi

pytestmark = pytest.mark.django_db(transaction=True)

FORM = (
    b'--x\r\nContent-Disposition: form-data; name="file"; filename="call.wav"\r\nContent-Type: audio/wav\r\n\r\n%s\r\n'
    b"--x--\r\n"
)


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="test", by=None)[1]


def call(path, body, *, key, content_type="", method="POST"):
    """Return (status, JSON) of a request whose body comes in chunks of 10,000 bytes."""
    headers = [(b"host", b"localhost"), (b"x-api-key", key.encode()), (b"transfer-encoding", b"chunked")]
    headers.append((b"content-type", content_type.encode()))
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers if body else headers[:2],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    chunks = [body[first : first + 10_000] for first in range(0, len(body), 10_000)] or [b""]
    sent = []

    async def answer():
        ended = asyncio.Event()

        async def receive():
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}
            await ended.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        await asgi.application(scope, receive, send)

    asyncio.run(answer())
    return sent[0]["status"], json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_file_and_json_in_chunks_are_read(key):
    content = (AUDIO / "sentence-slt.wav").read_bytes()
    status, stored = call("/v1/upload", FORM % content, key=key, content_type="multipart/form-data; boundary=x")
    assert (status, stored["size"]) == (201, len(content))
    body = json.dumps({"file_id": stored["file_id"], "prompt": "x" * 3000}).encode()
    status, created = call("/v1/transcribe", body, key=key, content_type="application/json")
    assert status == 201, created
    assert (Job.objects.get().items.get().media, Job.objects.get().options["prompt"]) == (
        Media.objects.get(),
        "x" * 3000,
    )


def test_chunks_that_are_no_form_are_refused(key):
    status, refusal = call("/v1/upload", b"no form" * 5000, key=key, content_type="multipart/form-data; boundary=x")
    assert (status, refusal["error"]["type"]) == (400, "invalid_request")


def test_request_without_a_body_is_answered(key):
    status, listed = call("/v1/jobs", b"", key=key, method="GET")
    assert (status, listed["jobs"]) == (200, [])
