"""Calls of an address that waits, in the process of the test, and a worker that does one job when it is told to."""

import asyncio
import uuid
from typing import Any

from django.db import connection

from accounts.gate import concurrency
from tests.asgi_stream import AsgiStream
from tests.conftest import AUDIO
from tests.transcription.factories import make_transcript
from transcription import jobs
from transcription.models import Job, JobItem
from voxsite.waiting_handler import WaitingHandler

CONTENT = (AUDIO / "sentence-slt.wav").read_bytes()
BOUNDARY = "limit"


def multipart(content: bytes = CONTENT, **fields: str) -> bytes:
    """Return a form with a file and fields."""
    parts = [f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode() for name, value in fields.items()]
    parts.append(b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + content)
    return b"".join(b"--limit\r\n" + part + b"\r\n" for part in parts) + b"--limit--\r\n"


def call(
    path: str, *, key: str, body: bytes | None = None, application: Any = None, headers: dict[str, str] | None = None
) -> AsgiStream:
    """Begin a call. It runs in a task."""
    return AsgiStream(
        path,
        key=key,
        method="POST",
        body=multipart() if body is None else body,
        headers={"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **(headers or {})},
        application=application or small_site(),
    )


def small_site() -> Any:
    """Return the application of `waiting_site`; a test sets ROOT_URLCONF to it."""
    handler = WaitingHandler()

    async def application(scope: Any, receive: Any, send: Any) -> None:
        with concurrency.request():
            await handler(scope, receive, send)

    return application


async def in_thread(act: Any) -> Any:
    """Do what asks the database in a thread, as the event loop may not."""

    def run() -> Any:
        try:
            return act()
        finally:
            connection.close()

    return await asyncio.to_thread(run)


async def until(holds: Any) -> None:
    """Wait until the database says so."""
    for _ in range(3000):
        if await in_thread(holds):
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to that")


async def submitted(count: int = 1) -> list[uuid.UUID]:
    """Wait for so many jobs, and return their ids."""
    await until(lambda: Job.objects.count() >= count)
    return await in_thread(lambda: list(Job.objects.order_by("created_at").values_list("pk", flat=True)))


async def finish(job_id: uuid.UUID, text: str = "hello there") -> None:
    """Do the work of a job."""

    def work() -> None:
        item = jobs.claim(JobItem.objects.get(job_id=job_id).pk)
        assert item is not None
        assert jobs.finish_item(item, transcript=make_transcript(text, duration_ms=item.recording.duration_ms))

    await in_thread(work)


async def fail(job_id: uuid.UUID, error_type: str = "engine_failed") -> None:
    """Make a job fail without another attempt."""

    def work() -> None:
        JobItem.objects.filter(job_id=job_id).update(attempt=10)
        item = jobs.claim(JobItem.objects.get(job_id=job_id).pk)
        assert item is not None
        jobs.fail_item(item, error_type=error_type, message="Speech recognition failed on this recording.")

    await in_thread(work)
