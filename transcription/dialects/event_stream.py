"""A job's events as a stream of bytes, for dialects that can show one. Holds no wire format."""

import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from transcription.dialects import steps
from transcription.jobs import events
from transcription.models import Job

# A comment now and then tells proxies that the connection lives (WHATWG HTML, server-sent events, "authoring notes").
KEEP_ALIVE = b": still here\n\n"


async def stream(
    job_id: uuid.UUID, *, show: Callable[[str, dict[str, Any]], bytes], show_job: Callable[[Job], dict[str, Any]]
) -> AsyncIterator[bytes]:
    """Yield what happens to a job, and at last "end" with the job as it then is, or with {} if it was deleted."""
    yield KEEP_ALIVE  # Sends the headers at once.
    job = await steps.current(job_id)
    if job is not None and not job.is_final:
        async for event in events.watch(job_id):
            if event is None:
                yield KEEP_ALIVE
            elif event.name != events.END:
                yield show(event.name, event.data)
                continue
            # Silence or an end: the database says which.
            job = await steps.current(job_id)
            if job is None or job.is_final:
                break
    yield show(events.END, show_job(job) if job is not None else {})
