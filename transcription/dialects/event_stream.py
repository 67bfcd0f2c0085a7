"""A job's events as a stream of bytes, for dialects that can show one. Holds no wire format."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing
from typing import Any, Protocol

from django.conf import settings

from accounts.errors import TooManyOpen, Unavailable, VoxsiteError
from accounts.gate import concurrency, shared_slots
from transcription.dialects import shown_text, steps
from transcription.jobs import events
from transcription.models import Job
from transcription.speech.transcript import Transcript

SLOTS = "event streams"
# A comment now and then tells proxies that the connection lives (WHATWG HTML, server-sent events, "authoring notes").
KEEP_ALIVE = b": still here\n\n"
ERROR = "error"


class EventShow(Protocol):
    """How a dialect shows a stream. Every method returns bytes of whole events, or b"".

    One object serves one stream, so it may keep what it has shown.
    """

    def event(self, event: events.Event) -> bytes:
        """Show what happens while the job runs: "started", "progress" or "segment" (`jobs.events`)."""
        ...

    def end(self, job: Job, transcript: Transcript) -> Iterable[bytes]:
        """Show the end of a completed job. Called in a thread."""
        ...

    def failure(self, error: VoxsiteError, *, request_id: str) -> bytes:
        """Show an error that came after the response had begun."""
        ...


def stream(
    job: Job,
    *,
    show: Callable[[str, dict[str, Any]], bytes],
    show_job: Callable[[Job], dict[str, Any]],
    show_error: Callable[[VoxsiteError], dict[str, Any]],
) -> AsyncIterator[bytes]:
    """Return what happens to a job, and at last "end" with the job as it then is, or with {} if it was deleted.

    If this process ends before the job does, the last event is "error".

    Text that is yielded was recorded before and will be charged, even if the job is canceled at that moment.
    Raises TooManyOpen if the organization has its limit of streams open. It asks Redis: call it in a thread.
    """
    slot, limit = concurrency.slot_of_request(), settings.MAX_EVENT_STREAMS
    if not shared_slots.acquire(slot, kind=SLOTS, organization_id=job.organization_id, limit=limit):
        raise TooManyOpen(SLOTS, limit=limit)
    return _until_its_end(_chunks(job.pk, show=show, show_job=show_job, show_error=show_error), slot=slot)


async def _until_its_end(
    chunks: AsyncGenerator[bytes, None], *, slot: concurrency.ConcurrencySlot
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks, and release the slot before the client can see that they ended."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield chunk
    finally:
        slot.release()


async def _chunks(
    job_id: uuid.UUID,
    *,
    show: Callable[[str, dict[str, Any]], bytes],
    show_job: Callable[[Job], dict[str, Any]],
    show_error: Callable[[VoxsiteError], dict[str, Any]],
) -> AsyncGenerator[bytes, None]:
    yield KEEP_ALIVE  # Sends the headers at once.
    try:
        async with aclosing(payable_events(job_id)) as watching:
            async for event in watching:
                yield KEEP_ALIVE if event is None else show(event.name, event.data)
    except Unavailable as error:
        yield show(ERROR, show_error(error))
        return
    job = await steps.current(job_id)
    yield show(events.END, show_job(job) if job is not None else {})


async def payable_events(job_id: uuid.UUID) -> AsyncGenerator[events.Event | None, None]:
    """Yield what happens to a job until it has ended or was deleted, and None whenever nothing came for a while.

    Text that is yielded was recorded before and will be charged. Nothing is yielded of a job that has ended already.
    Raises Unavailable when this process is about to end.
    """
    job = await steps.current(job_id)
    if job is None or job.is_final:
        return
    async with aclosing(events.watch_together(job_id)) as watching:
        async for told in watching:
            if not told:
                yield None
            for event in await shown_text.payable(told, organization_id=job.organization_id):
                if event.name != events.END:
                    yield event
            if not told or any(event.name == events.END for event in told):
                # Silence or an end: the database says which.
                job = await steps.current(job_id)
                if job is None or job.is_final:
                    return
                steps.require_time()
