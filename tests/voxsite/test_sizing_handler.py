"""Bodies that come in chunks, without Content-Length, are read as all others."""

import asyncio
import io
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


def scope_of(path, body, *, key="", content_type="", method="POST", query=b""):
    headers = [(b"host", b"localhost"), (b"x-api-key", key.encode()), (b"transfer-encoding", b"chunked")]
    headers.append((b"content-type", content_type.encode()))
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": headers if body else headers[:2],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }


def call(path, body, **fields):
    """Return (status, JSON) of a request whose body comes in chunks of 10,000 bytes."""
    scope = scope_of(path, body, **fields)
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


@pytest.mark.parametrize(
    ("content_type", "kind", "encoding"),
    [
        ("application/json", "application/json", None),
        ("Application/JSON; charset=UTF8", "application/json", "utf-8"),
        ("text/plain; charset=latin-1", "text/plain", "iso8859-1"),
        ("text/plain; charset=none-such", "text/plain", None),
        ("application/json; charset=punycode", "application/json", None),
        ("application/json; charset=utf-7", "application/json", None),
        ("application/json; charset=zlib", "application/json", None),
        ("Text/Plain; a*=none-such''%41", "text/plain", None),
        ("text/plain; charset*=utf-8''%00", "text/plain", None),
    ],
)
def test_charset_of_a_body_is_a_common_one(content_type, kind, encoding):
    scope = scope_of("/", b"x", content_type=content_type)
    request, error = asgi.django_application.create_request(scope, io.BytesIO(b"x"))
    assert error is None
    assert (request.content_type, request.encoding) == (kind, encoding)


@pytest.mark.parametrize(
    ("content_type", "query", "status"),
    [("text/x; a*=none-such''%41", b"", 400), ("text/x; charset=utf-8", b"a&" * 300, 400)],
)
def test_odd_headers_get_an_answer_in_the_words_of_the_api(key, content_type, query, status):
    answered, refusal = call("/v1/transcribe", b"x", key=key, content_type=content_type, query=query)
    assert answered == status
    assert refusal["error"]["type"]
