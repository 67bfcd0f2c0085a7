"""One description per dialect: how to ask it for the things that the contract test asks of all of them.

To add a dialect, write a `Face` and put it into `FACES`.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client

from transcription.jobs import work
from transcription.models import JobItem

SENTENCE = "sentence-slt.wav"


@dataclass(frozen=True)
class Failure:
    """An error as a dialect's customer reads it."""

    status: int
    type: str
    message: str


@contextmanager
def worker() -> Iterator[None]:
    """Do the work of jobs while a call waits for it, as a worker process would."""
    is_over = threading.Event()

    def run() -> None:
        try:
            while not is_over.wait(0.02):
                for item in JobItem.objects.filter(status="queued"):
                    work.run_item(item.pk)
        finally:
            connection.close()

    thread = threading.Thread(target=run, name="worker")
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


class NativeFace:
    """`/v1`, with JSON errors `{"error": {"message", "code", "type", "request_id"}}`."""

    name = "native"
    # Whether a call is answered when its transcription has ended. Such a face derives from `WaitingFace`.
    waits = False
    # Whether a field or parameter that it does not have is refused; else it is ignored.
    refuses_unknown_fields = True
    # The rate limit, of settings.RATE_LIMITS, that a submission meets first.
    rate_scope = "uploads"
    unknown_path = "/v1/nothing/here"
    submit_path = "/v1/transcribe"

    def submit(
        self, client: Client, *, key: str | None, content: bytes, file_name: str = SENTENCE, **fields: Any
    ) -> Any:
        body = {"file": SimpleUploadedFile(file_name, content), **fields}
        return client.post(self.submit_path, body, headers=self.headers(key))

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"X-API-Key": key}

    def was_accepted(self, response: Any) -> bool:
        return bool(response.status_code == 201 and response.json()["status"] == "queued")

    def job_id(self, response: Any) -> str:
        return str(response.json()["job_id"])

    def job_paths(self, job_id: str) -> dict[str, set[str]]:
        """Return {address of the job: what it takes of GET, POST and DELETE}."""
        return {
            f"/v1/jobs/{job_id}": {"get", "delete"},
            f"/v1/jobs/{job_id}/result": {"get"},
            f"/v1/status/{job_id}": {"get"},
        }

    def words(self, client: Client, *, key: str, job_id: str) -> str:
        return str(client.get(f"/v1/jobs/{job_id}/result", headers=self.headers(key)).json()["text"])

    def said(self, client: Client, *, key: str, content: bytes) -> str:
        """Return the words of a recording, after the work."""
        accepted = self.submit(client, key=key, content=content)
        assert self.was_accepted(accepted)
        run_all()
        return self.words(client, key=key, job_id=self.job_id(accepted))

    def failure_of_work(self, client: Client, *, key: str, content: bytes) -> dict[str, Any]:
        """Return {"type", "message"} of a transcription whose work fails."""
        job_id = self.job_id(self.submit(client, key=key, content=content))
        run_all()
        return self.failure_of_job(client, key=key, job_id=job_id)

    def failure_of_job(self, client: Client, *, key: str, job_id: str) -> dict[str, Any]:
        job = client.get(f"/v1/jobs/{job_id}", headers=self.headers(key)).json()
        assert job["status"] == "failed"
        error: dict[str, Any] = job["error"]
        return error

    def failure(self, response: Any) -> Failure:
        body = response.json()
        assert set(body) == {"error"}
        error = body["error"]
        assert error["code"] == response.status_code
        assert error["request_id"] == response.headers["X-Request-Id"]
        return Failure(status=response.status_code, type=error["type"], message=error["message"])


def run_all() -> None:
    for item in JobItem.objects.filter(status="queued"):
        work.run_item(item.pk)


class WaitingFace:
    """What faces have in common whose calls are answered when the transcription has ended (`dialects/waiting.py`).

    A face of this kind has `name`, `unknown_path`, `submit_path`, `post` (the call itself), `words_in` an answer,
    `headers` and `failure`.
    """

    waits = True
    refuses_unknown_fields = False
    rate_scope = "requests"
    submit_path = ""

    def post(self, client: Client, *, headers: dict[str, str], content: bytes, **fields: Any) -> Any:
        """Send a recording."""
        raise NotImplementedError

    def words_in(self, response: Any) -> str:
        """Return the words of an answer."""
        raise NotImplementedError

    def submit(
        self,
        client: Client,
        *,
        key: str | None,
        content: bytes,
        more_headers: dict[str, str] | None = None,
        **fields: Any,
    ) -> Any:
        """Send a recording, and return its answer. A worker works meanwhile."""
        with worker():
            return self.post(client, headers=self.headers(key) | (more_headers or {}), content=content, **fields)

    def headers(self, key: str | None) -> dict[str, str]:
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def was_accepted(self, response: Any) -> bool:
        return bool(response.status_code == 200)

    def said(self, client: Client, *, key: str, content: bytes) -> str:
        response = self.submit(client, key=key, content=content)
        assert self.was_accepted(response), response.content
        return self.words_in(response)

    def failure_of_work(self, client: Client, *, key: str, content: bytes) -> dict[str, Any]:
        failure = self.failure(self.submit(client, key=key, content=content))
        assert failure.status == 500
        return {"type": failure.type, "message": failure.message}

    def failure(self, response: Any) -> Failure:
        raise NotImplementedError


class OpenAiFace(WaitingFace):
    """`/v1/audio`, with JSON errors `{"error": {"message", "type", "param", "code", "request_id"}}`."""

    name = "openai"
    unknown_path = "/v1/audio/nothing/here"
    submit_path = "/v1/audio/transcriptions"

    def post(self, client: Client, *, headers: dict[str, str], content: bytes, **fields: Any) -> Any:
        body = {"model": "whisper-1", "file": SimpleUploadedFile(SENTENCE, content), **fields}
        return client.post(self.submit_path, body, headers=headers)

    def words_in(self, response: Any) -> str:
        return str(response.json()["text"])

    def failure(self, response: Any) -> Failure:
        body = response.json()
        assert set(body) == {"error"}
        error = body["error"]
        assert error["code"] == error["type"]
        assert error["request_id"] == response.headers["X-Request-Id"]
        return Failure(status=response.status_code, type=error["type"], message=error["message"])


FACES: list[Any] = [NativeFace(), OpenAiFace()]
