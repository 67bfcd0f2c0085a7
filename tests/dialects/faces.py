"""One description per dialect: how to ask it for the things that the contract test asks of all of them.

To add a dialect, write a class and put one of it into `FACES`.
"""

import base64
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db import connection
from django.test import Client

from transcription.jobs import importing, verification, work
from transcription.models import Import, JobItem

SENTENCE = "sentence-slt.wav"
BOUNDARY = "contract"
PAUSE_SECONDS = 0.02


@dataclass(frozen=True)
class Failure:
    """An error as a dialect's customer reads it."""

    status: int
    type: str
    message: str


@dataclass(frozen=True)
class Outcome:
    """What came of a recording: its words, or the failure of its job. response: the one that told of it."""

    response: Any
    words: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class Sent:
    """A submission as bytes, for who sends it without Django's client."""

    path: str
    body: bytes
    content_type: str


def run_all() -> None:
    """Do all work that is queued, and before it what recordings at URLs need."""
    if Import.objects.exists():
        importing.fetch_all(pauses=(0.0,))
    for item in JobItem.objects.filter(status="verifying", media=None):
        verification.verify_item(item.pk)
    for item in JobItem.objects.filter(status="queued"):
        work.run_item(item.pk)


@contextmanager
def working() -> Iterator[None]:
    """Have a thread do the work that is queued, for as long as the block runs."""
    is_over = threading.Event()

    def run() -> None:
        try:
            while not is_over.wait(PAUSE_SECONDS):
                run_all()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class Face(ABC):
    """What all dialects have in common.

    waits: its submission is answered when the transcription has ended. ignores_unknown: a field that it does not know
    is no error, as its published API has it.
    """

    name: str
    waits = True
    ignores_unknown = False
    # The rate limit, of settings.RATE_LIMITS, that a submission meets first.
    rate_scope = "requests"
    # HTTP statuses in which published APIs differ: of a body or file that is too large, and of an engine that fails.
    too_large_status = 413
    engine_failure_status = 500
    unknown_path: str
    submit_path: str
    # Bodies that are none of this dialect, as (body, content type).
    broken: tuple[tuple[bytes, str], ...] = (
        (b"--y\r\nthis is no part", "multipart/form-data; boundary=x"),
        (b"--y\r\nthis is no part", "multipart/form-data"),
    )

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"X-API-Key": key}

    def sent(self, content: bytes, *, file_name: str = SENTENCE, **fields: Any) -> Sent:
        """Return a submission: here a multipart form."""
        part = 'Content-Disposition: form-data; name="{}"'
        parts = [f"{part.format(name)}\r\n\r\n{value}".encode() for name, value in self.fields(**fields).items()]
        head = f'{part.format(self.file_field)}; filename="{file_name}"\r\n\r\n'
        parts.append(head.encode() + content)
        body = b"".join(b"--" + BOUNDARY.encode() + b"\r\n" + one + b"\r\n" for one in parts)
        return Sent(
            self.submit_path, body + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"
        )

    file_field = "file"

    def fields(self, **fields: Any) -> dict[str, Any]:
        """Return the fields of a form, with those that the dialect requires."""
        return fields

    def submit(
        self, client: Client, *, key: str | None, content: bytes, headers: dict[str, str] | None = None, **fields: Any
    ) -> Any:
        sent = self.sent(content, **fields)
        return client.post(
            sent.path, sent.body, content_type=sent.content_type, headers={**self.headers(key), **(headers or {})}
        )

    def transcribe(
        self, client: Client, *, key: str, content: bytes, headers: dict[str, str] | None = None, **fields: Any
    ) -> Outcome:
        """Send a recording and have it worked on until its outcome is there."""
        with working():
            response = self.submit(client, key=key, content=content, headers=headers, **fields)
        if response.status_code == 200:
            return Outcome(response, words=self.words(response))
        return Outcome(response, failure=self.failure(response))

    @abstractmethod
    def words(self, response: Any) -> str:
        """Return the text of an answer."""

    def failure(self, response: Any) -> Failure:
        """Return the error of a response, after a look whether it has the dialect's shape and no other."""
        error_type, message, request_id = self.parts_of_error(response.json(), status=response.status_code)
        assert request_id == response.headers["X-Request-Id"]
        return Failure(status=response.status_code, type=error_type, message=message)

    @abstractmethod
    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        """Return (type, message, request id) of an error, after a look whether it has the dialect's shape."""


class NativeFace(Face):
    """`/v1`, with JSON errors `{"error": {"message", "code", "type", "request_id"}}`."""

    name = "native"
    waits = False
    rate_scope = "uploads"
    unknown_path = "/v1/nothing/here"
    submit_path = "/v1/transcribe"

    def transcribe(
        self, client: Client, *, key: str, content: bytes, headers: dict[str, str] | None = None, **fields: Any
    ) -> Outcome:
        response = self.submit(client, key=key, content=content, headers=headers, **fields)
        if response.status_code != 201:
            return Outcome(response, failure=self.failure(response))
        run_all()
        path = f"/v1/jobs/{response.json()['job_id']}"
        job = client.get(path, headers=self.headers(key)).json()
        if job["status"] == "completed":
            return Outcome(response, words=self.words(client.get(f"{path}/result", headers=self.headers(key))))
        assert job["status"] == "failed"
        return Outcome(response, failure=Failure(200, job["error"]["type"], job["error"]["message"]))

    def words(self, response: Any) -> str:
        return str(response.json()["text"])

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        assert set(body) == {"error"}
        error = body["error"]
        assert error["code"] == status
        return error["type"], error["message"], error["request_id"]


class OpenAiFace(Face):
    """`/v1/audio`, with JSON errors `{"error": {"message", "type", "param", "code", "request_id"}}`."""

    name = "openai"
    ignores_unknown = True
    unknown_path = "/v1/audio/nothing/here"
    submit_path = "/v1/audio/transcriptions"

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def fields(self, **fields: Any) -> dict[str, Any]:
        return {"model": "whisper-1", **fields}

    def words(self, response: Any) -> str:
        return str(response.json()["text"])

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        assert set(body) == {"error"}
        error = body["error"]
        assert error["code"] == error["type"]
        return error["type"], error["message"], error["request_id"]


class RawFace(Face):
    """A dialect whose body is the recording and whose options are the query."""

    required: dict[str, Any] = {}
    broken = ((b"<xml>" * 20, "audio/wav"), (b"", "audio/wav"))

    def sent(self, content: bytes, *, file_name: str = SENTENCE, **fields: Any) -> Sent:
        return Sent(f"{self.submit_path}?{urlencode({**self.required, **fields})}", content, "audio/wav")


class VoxNexusFace(RawFace):
    """`/v1/stt`, with errors `{"error": {"code", "message"}, "request_id"}`."""

    name = "voxnexus"
    unknown_path = "/v1/stt/nothing"
    submit_path = "/v1/stt"
    required = {"model_id": "vn-stt-basic", "sample_rate": 16000}
    broken = (
        *RawFace.broken,
        (b"--x\r\n", "multipart/form-data; boundary=x"),
        (json.dumps({}).encode(), "application/json"),
    )

    def words(self, response: Any) -> str:
        body = response.json()
        assert body["text"] == body["transcript"]
        return str(body["text"])

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        assert set(body) == {"error", "request_id"}
        return body["error"]["code"], body["error"]["message"], body["request_id"]


class AsrFace(Face):
    """`/asr`, with errors `{"detail", "type", "request_id"}`, and the key as Basic authentication."""

    name = "asr"
    ignores_unknown = True
    unknown_path = "/asr/nothing/here"
    submit_path = "/asr"
    file_field = "audio_file"

    def headers(self, key: str | None) -> dict[str, str]:
        if key is None:
            return {}
        return {"Authorization": f"Basic {base64.b64encode(f'user:{key}'.encode()).decode()}"}

    def words(self, response: Any) -> str:
        return str(response.content.decode())

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        return body["type"], body["detail"], body["request_id"]


class DeepgramFace(RawFace):
    """`/v1/listen`, with errors `{"err_code", "err_msg", "request_id", "type"}`."""

    name = "deepgram"
    ignores_unknown = True
    unknown_path = "/v1/listen/nothing/here"
    submit_path = "/v1/listen"
    broken = (*RawFace.broken, (b"{", "application/json"), (b"{}", "application/json"))

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"Authorization": f"Token {key}"}

    def words(self, response: Any) -> str:
        return str(response.json()["results"]["channels"][0]["alternatives"][0]["transcript"])

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        assert body["err_code"]
        return body["type"], body["err_msg"], body["request_id"]


class TranscribeApiFace(Face):
    """`/transcribeapi/v1`, with errors `{"error": "...", "message", "code", "type", "request_id"}`."""

    name = "transcribeapi"
    ignores_unknown = True
    rate_scope = "transcribeapi_free"
    too_large_status = 400
    engine_failure_status = 502
    unknown_path = "/transcribeapi/v1/nothing/here"
    submit_path = "/transcribeapi/v1/transcribe"

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def words(self, response: Any) -> str:
        return str(response.json()["text"])

    def parts_of_error(self, body: dict[str, Any], *, status: int) -> tuple[str, str, str]:
        assert body["error"] == body["message"]
        assert body["code"]
        return body["type"], body["message"], body["request_id"]


FACES: list[Face] = [NativeFace(), OpenAiFace(), VoxNexusFace(), AsrFace(), DeepgramFace(), TranscribeApiFace()]
