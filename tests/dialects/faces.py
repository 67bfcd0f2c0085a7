"""One description per dialect: how to ask it for the things that the contract test asks of all of them.

To add a dialect, write a `Face` and put it into `FACES`.
"""

from dataclasses import dataclass
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

SENTENCE = "sentence-slt.wav"


@dataclass(frozen=True)
class Failure:
    """An error as a dialect's customer reads it."""

    status: int
    type: str
    message: str


class NativeFace:
    """`/v1`, with JSON errors `{"error": {"message", "code", "type", "request_id"}}`."""

    name = "native"
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


FACES = [NativeFace()]
