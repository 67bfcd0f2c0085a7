"""What the tests of TranscribeAPI's addresses send, and how they read what comes back."""

import asyncio
import json

from tests.conftest import AUDIO
from transcription import jobs
from transcription.models import Upload
from transcription.recordings import uploads

BASE = "/transcribeapi/v1"
WAV = (AUDIO / "sentence-slt.wav").read_bytes()


def code(response):
    body = response.json()
    assert body["error"] == body["message"]
    assert body["request_id"] == response["X-Request-Id"]
    return response.status_code, body["code"]


def document_of(response):
    """Return the JSON document of a response that is made while it is sent."""

    async def read():
        return b"".join([piece async for piece in response.streaming_content])

    return json.loads(asyncio.run(read()))


def send(reference, content=WAV, tmp_path=None):
    """Have the bytes of a file come, as the upload address does."""
    upload = Upload.objects.get(items__reference=reference)
    path = tmp_path / "sent"
    path.write_bytes(content)
    uploads.receive(upload, path=path)
    jobs.bytes_have_come(upload)
