"""A call that is open while its job runs: what it holds, how it is answered, and what becomes of its job without it.

`waiting.WaitingGateView` makes one for each request and returns it as its response. The handler of
`voxsite/waiting_handler.py` awaits it on the event loop, and says when it is over.
"""

import asyncio
import time
from abc import abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from django.conf import settings
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from accounts import database_connection, log_context
from accounts.error_types import URL_TYPES, ErrorType
from accounts.errors import (
    BadMedia,
    Conflict,
    PaymentRequired,
    TooLarge,
    TranscriptionFailed,
    VoxsiteError,
    WaitedTooLong,
)
from accounts.gate import concurrency, idempotency
from accounts.gate.later import CONNECTION, Connection, LaterResponse
from accounts.gate.views import GateView, translate
from transcription import jobs
from transcription.dialects import departures, event_stream, joining, steps
from transcription.dialects.event_stream import EventShow
from transcription.dialects.joining import Call
from transcription.jobs import waiters
from transcription.models import Job, Status
from transcription.speech.errors import is_senders_fault
from transcription.speech.transcript import Transcript

# How often a request looks whether the first one with its key has submitted its job.
LOOK_AGAIN_SECONDS = 0.2
# Errors of jobs that are neither the recording's fault nor ours.
MONEY_TYPES = frozenset(
    {ErrorType.INSUFFICIENT_BALANCE, ErrorType.SPEND_LIMIT_REACHED, ErrorType.WALLET_FROZEN},
)
REQUEST_TYPES = frozenset({ErrorType.LENGTH_MISMATCH, ErrorType.INVALID_FIELD})

Show = Callable[[Job, Transcript], HttpResponseBase]
Prepare = Callable[[Job, Transcript], Awaitable[None]]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Handover:
    """What a dialect that has jobs answers when a call takes long: the job, which runs on.

    after_seconds: how long the call waits. show: returns the response for the job as it is then. Called in a thread.
    """

    after_seconds: float
    show: Callable[[Job], HttpResponseBase]


class OpenCall(LaterResponse):
    """One call that waits. Only what the response needs is kept of its view: hundreds of them may wait."""

    def __init__(self, view: GateView, call: Call) -> None:
        super().__init__()
        self._view = type(view)()  # Without its request, which holds the body.
        self._request_id = view.request_id
        self._request: Any = view.request._request
        self._call: Call | None = call
        # What is kept of it: by what a retry finds its job.
        self._mark, self._is_at_url, self._called_at = call.mark, call.upload is None, call.called_at
        self._connection: Connection = getattr(self._request, "scope", {}).get(CONNECTION) or Connection()
        self._departure: departures.OpenCall | None = None
        self._slot: concurrency.ConcurrencySlot | None = None
        self._job: Job | None = None
        self._waiter = ""
        self._is_replay = False
        # Nothing is left to do for the job: it has ended, or it runs on without this call.
        self._is_over = False
        # The job has completed and is charged, and the client has no transcript yet.
        self._owes_transcript = False

    def begin(self, slot: concurrency.ConcurrencySlot) -> None:
        """Submit the job or join an earlier one, unless an earlier request is still about to submit it."""
        self._slot = slot
        self._find_job()
        self._note_job()

    async def respond(self) -> HttpResponseBase:
        try:
            response = await self._response(self._job or await self._found_job())
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must get an answer.
            self._is_over |= isinstance(error, WaitedTooLong)
            return self._show_error(translate(error, request_id=self._request_id))
        if self._is_replay:
            response.headers[idempotency.REPLAYED_HEADER] = "true"
        return response

    def respond_here(self) -> HttpResponseBase:
        """Return the response, from synchronous code."""
        try:
            response = asyncio.run(self.respond())
        finally:
            if self._slot is not None:
                self._slot.release()
            self._forget_departure()
        return response

    def end(self) -> None:
        if self._slot is not None:
            self._slot.release()
        self.let_go_of_body()
        if self._job is None or (self._is_over and not self._owes_transcript):
            self._forget_departure()
            return
        what_follows: Coroutine[Any, Any, Any] = (
            self._leave_unanswered(self._job) if self._is_over else self._leave(self._job)
        )
        task = asyncio.get_running_loop().create_task(what_follows)
        _leaving.add(task)
        task.add_done_callback(_leaving.discard)

    @abstractmethod
    async def _response(self, job: Job) -> HttpResponseBase:
        """Return the response, perhaps before the job has ended. Raises the error that is shown in its place."""

    async def _found_job(self) -> Job:
        """Look for the job until it is there. Holds no thread while the first request still runs."""
        # A thread of its own: it may probe the recording for a minute, and all answers share a few threads.
        own_thread = ThreadPoolExecutor(1)
        try:
            while self._job is None:
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
                assert self._call is not None, "the job is looked for until it is there"
                if not await joining.is_about_to_be_submitted(self._call):
                    await _in_thread(self._find_job, executor=own_thread)
        finally:
            own_thread.shutdown(wait=False)
        self._note_job()
        return self._job

    def _find_job(self) -> None:
        """Find or submit the job. Runs in a thread."""
        assert self._call is not None, "the job is looked for until it is there"
        try:
            found = joining.find_or_submit(self._call)
        except idempotency.TakenOver:
            if self._call.was_taken_over:
                raise
            self._call = replace(self._call, was_taken_over=True)
            return
        if found is None:
            return
        self._job, self._is_replay, self._waiter = found
        if self._mark:
            self._departure = departures.OpenCall(self._mark, self._job.pk, self._connection)
            departures.add(self._departure)
        self.let_go_of_body()

    def _note_job(self) -> None:
        """Name the job in the log of requests: it may be that of an earlier call, and not the one submitted here.

        Not in `_find_job`: a thread of its own knows no request.
        """
        if self._job is not None:
            log_context.note(job_id=self._job.pk)

    def let_go_of_body(self) -> None:
        """Free the memory and the files of the body, of which nothing is needed any more. It may be megabytes."""
        if self._call is not None:
            if self._call.upload is not None:
                self._call.upload.close()
            _let_go_of_body(self._request)
        self._call = self._request = None

    async def _ended(self, job: Job) -> Job:
        """Return the job when it has completed. Raises the error for one that ended otherwise or takes too long."""
        ended = await steps.wait_for(job.pk, seconds=settings.MAX_WAIT_SECONDS)
        if ended is not None and not ended.is_final:
            ended = await _in_thread(lambda: _give_up(job, waiter=self._waiter))
        self._is_over = True
        if ended is None or not ended.is_completed:
            raise _error_of(ended)
        self._owes_transcript = True
        return ended

    async def _leave(self, job: Job) -> None:
        """Cancel the job of a client that left, unless the client comes back in time or somebody else waits for it.

        A client that comes back and leaves again has the whole grace a second time.
        """
        waiter = self._waiter
        await _in_thread(lambda: waiters.leave(job.pk, name=waiter))
        if await self._leave_unanswered(job):
            return
        await asyncio.sleep(settings.DISCONNECT_GRACE_SECONDS)
        await _in_thread(lambda: joining.cancel_if_left(job, waiter=waiter))

    def _forget_departure(self) -> None:
        if self._departure is not None:
            departures.remove(self._departure)

    async def _leave_unanswered(self, job: Job) -> bool:
        """Have the next equal call find a job whose client left without its transcript.

        Returns whether the job was canceled instead, since such a call has come by now.
        """
        departure, mark, is_at_url, called_at = self._departure, self._mark, self._is_at_url, self._called_at
        left_at = time.time()
        if departure is None:
            return False

        def is_canceled() -> bool:
            return joining.cancel_if_repeated(job, mark=mark, is_at_url=is_at_url, called_at=called_at)

        def leave() -> bool:
            try:
                # Before the note, which would take the place of one for a later call that was left too.
                if is_canceled():
                    return True
                if not departure.was_repeated:
                    joining.note_unanswered(job, mark=mark, is_at_url=is_at_url, left_at=left_at)
            finally:
                departures.remove(departure)
            # Again, for a call that came before the note was there.
            return is_canceled()

        return await _in_thread(leave)

    def _show_error(self, error: VoxsiteError) -> HttpResponse:
        log_context.note(error_type=error.type)
        return HttpResponse(
            JSONRenderer().render(self._view.show_error(error, request_id=self._request_id)),
            status=self._view.http_status_of(error),
            content_type="application/json",
            headers=self._view.headers_of_error(error),
        )


class OpenAnswer(OpenCall):
    """A call that gets one whole answer."""

    def __init__(
        self, view: GateView, call: Call, *, show: Show, prepare: Prepare | None, handover: Handover | None = None
    ) -> None:
        super().__init__(view, call)
        self._show = show
        self._prepare = prepare
        self._handover = handover
        self._has_transcript = False

    def note_sent(self) -> None:
        # An error in place of the transcript leaves it owed: the client has paid for it. So does what was sent to a
        # connection that had ended, which uvicorn drops in silence.
        self._owes_transcript &= not self._has_transcript or self._connection.is_lost

    async def _response(self, job: Job) -> HttpResponseBase:
        if self._handover is not None:
            handover = self._handover
            found = await steps.wait_for(job.pk, seconds=handover.after_seconds)
            if found is not None and not found.is_final:
                # First: whoever leaves from here on, also this process, must not end the job.
                await _in_thread(lambda: waiters.keep(job.pk))
                self._is_over = True
                return await _in_thread(lambda: _rendered(handover.show(found)))
        ended = await self._ended(job)
        if self._prepare is None:
            response = await _in_thread(lambda: _rendered(self._show(ended, jobs.transcript_of(ended))))
        else:
            transcript = await _in_thread(lambda: jobs.transcript_of(ended))
            await self._prepare(ended, transcript)
            response = await _in_thread(lambda: _rendered(self._show(ended, transcript)))
        self._has_transcript = True
        return response


class OpenStream(OpenCall):
    """A call that gets events while its job runs."""

    def __init__(self, view: GateView, call: Call, *, stream: EventShow) -> None:
        super().__init__(view, call)
        self._stream = stream

    async def _response(self, job: Job) -> HttpResponseBase:
        return StreamingHttpResponse(
            self._chunks(job),
            content_type="text/event-stream; charset=utf-8",
            # Without this header, proxies such as nginx would buffer the stream.
            headers={"X-Accel-Buffering": "no"},
        )

    def respond_here(self) -> HttpResponseBase:
        response = super().respond_here()
        if not response.streaming:
            return response

        async def whole() -> bytes:
            return b"".join([chunk async for chunk in self._chunks_of_job()])

        return HttpResponse(asyncio.run(whole()), headers=dict(response.items()))

    def _chunks_of_job(self) -> AsyncGenerator[bytes, None]:
        assert self._job is not None, "the response has begun"
        return self._chunks(self._job)

    async def _chunks(self, job: Job) -> AsyncGenerator[bytes, None]:
        yield event_stream.KEEP_ALIVE  # Sends the headers at once.
        clock = asyncio.get_running_loop()
        ends_at = clock.time() + settings.MAX_WAIT_SECONDS
        try:
            async with aclosing(event_stream.payable_events(job.pk)) as happening:
                async for event in happening:
                    shown = event_stream.KEEP_ALIVE if event is None else self._stream.event(event)
                    if shown:
                        yield shown
                    # asyncio.timeout would cancel the reader of this generator. A keep-alive comes every few seconds.
                    if clock.time() >= ends_at:
                        await _in_thread(lambda: _give_up(job, waiter=self._waiter))
                        break
            ended = await self._ended(job)
            last = await _in_thread(lambda: list(self._stream.end(ended, jobs.transcript_of(ended))))
            for chunk in last:
                yield chunk
            # Here, and not when the response is sent: a client may close the connection after the last event.
            self._owes_transcript = False
        except Exception as error:  # noqa: BLE001 - the status is sent already, so every error is told in the stream.
            self._is_over |= isinstance(error, WaitedTooLong)
            yield self._stream.failure(translate(error, request_id=self._request_id), request_id=self._request_id)


def graces() -> "list[asyncio.Task[Any]]":
    """Return what runs for clients that have left: each ends with the grace of one of them."""
    return list(_leaving)


def _error_of(job: Job | None) -> VoxsiteError:
    """Return the error for a job that ended without a transcript. None: it was deleted."""
    if job is None or job.status == Status.CANCELED:
        return Conflict("The transcription was canceled.")
    if job.error_type in MONEY_TYPES:
        # The price of a file that was fetched is known only after the fetching.
        return PaymentRequired(job.error_message, error_type=job.error_type)
    if job.error_type in URL_TYPES:
        kind = TooLarge if job.error_type == ErrorType.URL_TOO_LARGE else BadMedia
        return kind(job.error_message, error_type=job.error_type, param="url")
    if job.error_type in REQUEST_TYPES or is_senders_fault(job.error_type):
        return BadMedia(job.error_message, error_type=job.error_type, param="file")
    return TranscriptionFailed(f"{job.error_message} Nothing was charged.", error_type=job.error_type)


def _give_up(job: Job, *, waiter: str) -> Job | None:
    """End the wait for a job that takes too long, and cancel it unless somebody else waits for it. Runs in a thread.

    Returns the job if it has ended in this very moment, None if it was deleted. Raises WaitedTooLong.
    """
    waiters.leave(job.pk, name=waiter)
    ended = joining.cancel_unless_awaited(job)
    if ended is None or (ended.is_final and ended.status != Status.CANCELED):
        return ended
    if not ended.is_final:
        what = "Its job runs on, since another call may wait for it, and is charged when it completes"
    elif ended.cost_micros:
        what = "It was canceled. What was shown of it was charged"
    else:
        what = "It was canceled. Nothing was charged"
    raise WaitedTooLong(
        f"The transcript was not ready after {settings.MAX_WAIT_SECONDS} seconds. {what}. "
        "Send long recordings to POST /v1/transcribe, which answers at once."
    )


def _rendered(response: HttpResponseBase) -> HttpResponseBase:
    """Return a response that is ready to be sent. DRF renders its own after the view, which is over here."""
    if isinstance(response, Response):
        response.accepted_renderer = JSONRenderer()
        response.accepted_media_type = "application/json"
        response.renderer_context = {}  # type: ignore[attr-defined]  # the stubs lack it
        response.render()
    return response


def _let_go_of_body(request: Any) -> None:
    """Free the memory and the files of a request's body. Django would keep them until the response is sent."""
    request.close()
    stream: Any = getattr(request, "_stream", None)
    if hasattr(stream, "close"):
        stream.close()


async def _in_thread(work: Callable[[], Result], *, executor: ThreadPoolExecutor | None = None) -> Result:
    """Do database work in a thread. Cancelled, it is done to its end first, so that what it begins is known.

    executor: the loop's own when None, which is for work that takes no time to speak of.
    """

    def run() -> Result:
        try:
            return work()
        finally:
            database_connection.release()

    running = asyncio.get_running_loop().run_in_executor(executor, run)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise


# The loop keeps only weak references to its tasks.
_leaving: set["asyncio.Task[Any]"] = set()
