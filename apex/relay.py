"""One completion from admission to settlement: begin, relay, end.

A task of its own, the upstream task, talks to the upstream and settles the money. The HTTP response only reads from
this task's buffer, so a client that disconnects stops neither. No database connection is held between begin and end.
"""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from accounts import log_context, outages, stopping
from accounts.batcher import Batcher
from accounts.errors import InternalError, Unavailable, VoxsiteError
from accounts.gate.limits import Allowance
from apex import chunks, completions, heartbeat, shared_batches, sse, tokenizer, upstream, usage_meter, wire
from apex.errors import StreamBroke, StreamStopped, UpstreamSilent
from apex.stream_buffer import StreamBuffer
from apex.types import Admission, AdmissionRequest, AdmittedCompletion, CompletionResult, StoredAnswer
from apex.upstream_failures import StreamEnded, UpstreamAttemptFailed
from apex.usage_meter import BilledUsage, Ceiling, UsageMeter

logger = logging.getLogger(__name__)

# The client already has its answer, so no one waits for the end of a completion. Ends in one batch share a commit and a
# wallet lock; without the delay, the lock would delay the customer's next request (decision 0016).
END_DELAY_SECONDS = 0.05
# When the database fails, the end is tried again after 0.25 s, 0.5 s, 1 s ... for four minutes in all.
END_ATTEMPTS = 10
END_RETRY_SECONDS = 0.25
# Maximum bytes stored for replay when the request has an Idempotency-Key.
MAX_STORED_BYTES = 1024 * 1024

_ends: Batcher[CompletionResult, int] = Batcher(completions.end, delay_seconds=END_DELAY_SECONDS)
# Where the database can do it, one batch is for all organizations, and only what it leaves goes by organization.
_shared_ends: Batcher[CompletionResult, int | None] = Batcher(shared_batches.end, delay_seconds=END_DELAY_SECONDS)
_running: set[asyncio.Task[int]] = set()


@dataclass(frozen=True, slots=True)
class Head:
    """What the HTTP response needs before its first byte.

    error: set if the request failed before the response began: before the first chunk, or the first keep-alive comment.
    answer: the body of a whole answer. With neither `error` nor `answer`, the answer is a stream.
    is_replay: whether the answer was stored under the request's Idempotency-Key.
    """

    allowance: Allowance | None = None
    error: VoxsiteError | None = None
    answer: bytes | None = None
    is_replay: bool = False


class Relay:
    """A completion in progress. Its upstream task runs to the end, whether or not the response is read.

    chat_request: None if the admission request has a fault.
    begin: admits the request.
    """

    def __init__(
        self,
        admission_request: AdmissionRequest,
        chat_request: wire.ChatRequest | None,
        *,
        begin: Callable[[], Awaitable[Admission]],
        request_id: str = "",
    ) -> None:
        self._admission_request = admission_request
        self._chat_request = chat_request
        self._request_id = request_id
        self._begin = begin
        self._started_at = time.monotonic()
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._buffer = StreamBuffer()
        self._client_left = False
        self._deadline: asyncio.Timeout | None = None
        self._first_token_ms: int | None = None
        self._meter = UsageMeter()
        # What the client was sent, for a replay.
        self._recorded = bytearray() if admission_request.idempotency_key else None
        self._upstream = ""
        # The time of the event loop at which the client was last sent something.
        self._sent_at = 0.0
        self._keep_alive: asyncio.TimerHandle | None = None
        # The event loop holds only weak references to its tasks.
        self._task = asyncio.create_task(self._run())
        _running.add(self._task)
        self._task.add_done_callback(_running.discard)

    # --- For the HTTP response ---

    async def head(self) -> Head:
        """Wait until the response can begin, and return how. Call it once."""
        return await self._head

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the stream."""
        return self._buffer.chunks()

    def close(self) -> None:
        """Stop reading: the client has left or has the whole stream. Django calls it at the end of a response.

        Idempotent, and without effect after the end of the stream.
        """
        self._client_left = True
        self._buffer.discard()
        # The usage comes at the end of an answer. A whole answer is waited for; a stream is read for a limited time.
        if self._admission_request.is_stream and self._deadline is not None and not self._deadline.expired():
            until = asyncio.get_running_loop().time() + settings.APEX_DRAIN_SECONDS
            self._deadline.reschedule(min(until, self._deadline.when() or until))

    async def charged_micros(self) -> int:
        """Wait for the end of the completion and return the micro-dollars that were charged."""
        return await asyncio.shield(self._task)

    # --- The upstream task ---

    async def _run(self) -> int:
        try:
            return await self._relay()
        except Exception as error:  # The result of this task is seldom awaited, so the exception would never be seen.
            logger.exception("A relay failed.")
            self._set_head(Head(error=outages.error_of(error) or InternalError()))
            return 0
        finally:
            self._admission_request.slot.release()
            self._set_head(Head(error=InternalError()))
            self._buffer.end()

    async def _relay(self) -> int:
        try:
            admission = await self._begin()
        except VoxsiteError as error:
            admission = Admission(error=error)
        completion = admission.completion
        if completion is None:
            self._answer_without_completion(admission)
            return admission.stored_answer.charged_micros if admission.stored_answer is not None else 0
        assert self._chat_request is not None, "only a request without a fault is admitted"
        log_context.add(organization_id=completion.organization.pk, completion_id=completion.completion_id)
        with heartbeat.keeping_alive(completion.completion_id):
            return await _end(await self._result(completion, self._chat_request, admission.allowance))

    async def _result(
        self, completion: AdmittedCompletion, request: wire.ChatRequest, allowance: Allowance | None
    ) -> CompletionResult:
        finish, is_whole = "client_left", False
        try:
            if not self._client_left:
                async with asyncio.timeout(settings.APEX_TOTAL_SECONDS) as self._deadline:
                    with stopping.noticed(self._interrupt):
                        await self._exchange(completion, request, allowance)
                    is_whole = True
        except VoxsiteError as error:
            # Raised before the first chunk: nothing was produced.
            finish = error.type
            self._fail(error, allowance)
        except UpstreamAttemptFailed as failed:
            finish = failed.error.type
            self._fail(StreamBroke(), allowance)
        except TimeoutError:
            if not self._client_left:
                finish = UpstreamSilent.default_type
                self._fail(StreamBroke() if self._meter.is_begun else UpstreamSilent(), allowance)
        except asyncio.CancelledError:
            # Shutdown: the loop waits for this task, which still has to settle.
            finish = "process_stopped"
            self._fail(StreamStopped() if self._meter.is_begun else Unavailable(retry_after=1), allowance)
        except Exception:
            # A bug on our side. The output so far is charged. Without an end here, the sweeper would release the hold.
            logger.exception("The completion %s failed.", completion.completion_id)
            finish = InternalError.default_type
            self._fail(InternalError(), allowance)
        finally:
            self._deadline = None
            if self._keep_alive is not None:
                self._keep_alive.cancel()
            # Released before the client sees the end, so that a client with as many callers as slots is never refused.
            self._admission_request.slot.release()
            # Ended before settlement, so that the client does not wait for the ledger.
            self._buffer.end()
        latency_ms = self._elapsed_ms()
        return CompletionResult(
            completion=completion,
            billed=await self._billed_usage(request, completion=completion) if self._meter.is_begun else None,
            finish=(self._meter.finish or "stop") if is_whole else finish,
            upstream=self._upstream,
            first_token_ms=self._first_token_ms,
            latency_ms=latency_ms,
            stored_answer=self._answer_to_store() if is_whole else None,
        )

    def _interrupt(self) -> None:
        """The process ends: tell the client so, as long as it can be told."""
        self._task.cancel()

    async def _exchange(
        self, completion: AdmittedCompletion, request: wire.ChatRequest, allowance: Allowance | None
    ) -> None:
        if request.is_stream:
            self._sent_at = asyncio.get_running_loop().time()
            self._keep_alive_after(settings.APEX_KEEP_ALIVE_SECONDS, allowance)
        answer = await upstream.ask(
            lambda name: request.upstream_body(
                model=name,
                completion_tokens=completion.completion_tokens,
                temperature=completion.model.temperature,
                limit_field=completion.model.limit_field,
            ),
            model=completion.model.upstream_name,
            is_stream=request.is_stream,
        )
        try:
            self._upstream = answer.upstream
            self._first_token_ms = self._elapsed_ms()
            if not request.is_stream:
                self._meter.feed(answer.first.content)
                whole = wire.without_costs(answer.first.raw, answer.first.content)
                if self._recorded is not None:
                    self._recorded += whole
                self._set_head(Head(answer=whole, allowance=allowance))
                return
            self._forward(answer.first, request)
            self._set_head(Head(allowance=allowance))
            await self._forward_rest(answer, request)
            if request.wants_usage and self._meter.stated is None:
                await self._send_counted_usage(answer.first.content, request, completion=completion)
            self._send(sse.format_event(sse.DONE))
        finally:
            answer.close()

    async def _forward_rest(self, answer: upstream.Answer, request: wire.ChatRequest) -> None:
        """Forward what follows the first chunk. Raises UpstreamAttemptFailed if the stream is not whole."""
        try:
            async for event in answer.events():
                if isinstance(event, sse.Comment):
                    self._send(event.line + b"\n\n")
                else:
                    self._forward(event, request)
                if not self._client_left and not await self._buffer.wait_for_space(
                    seconds=settings.APEX_CLIENT_STALL_SECONDS
                ):
                    self.close()
        except StreamEnded:
            # Some upstreams send no [DONE]. What has its finish reasons is whole.
            if len(self._meter.finished) < request.choice_count:
                raise

    def _keep_alive_after(self, seconds: float, allowance: Allowance | None) -> None:
        """Tell a client of a stream after each silence of APEX_KEEP_ALIVE_SECONDS that the answer still comes.

        Load balancers close a connection without bytes after a minute or less. The first comment brings the header of
        the response too, so an error after it is an event in the stream.
        """
        loop = asyncio.get_running_loop()

        def check() -> None:
            if self._client_left:
                return
            left = self._sent_at + settings.APEX_KEEP_ALIVE_SECONDS - loop.time()
            if left <= 0:
                self._set_head(Head(allowance=allowance))
                # A client that reads nothing gets no comments into its buffer.
                if self._buffer.is_empty:
                    self._buffer.put(sse.KEEP_ALIVE)
                self._sent_at, left = loop.time(), settings.APEX_KEEP_ALIVE_SECONDS
            self._keep_alive_after(left, allowance)

        self._keep_alive = loop.call_later(seconds, check)

    def _forward(self, chunk: chunks.Chunk, request: wire.ChatRequest) -> None:
        """Measure a chunk and send it to the client, without the usage that the client did not ask for."""
        payload, content = chunk.raw, chunk.content
        self._meter.feed(content)
        if "usage" in content and not request.wants_usage:
            stripped = wire.without_usage(content)
            if stripped is None:
                return
            payload = stripped
        self._send(sse.format_event(wire.without_costs(payload, content) if request.wants_usage else payload))

    async def _send_counted_usage(
        self, chunk: dict[str, Any], request: wire.ChatRequest, *, completion: AdmittedCompletion
    ) -> None:
        """Count the usage and send it: the client asked for it, and the upstream did not state it."""
        usage = (await self._billed_usage(request, completion=completion)).usage
        self._meter.sent = usage
        self._send(sse.format_event(wire.usage_chunk(chunk, usage)))

    async def _billed_usage(self, request: wire.ChatRequest, *, completion: AdmittedCompletion) -> BilledUsage:
        ceiling = Ceiling(
            prompt_tokens=self._admission_request.max_prompt_tokens,
            completion_tokens=completion.completion_tokens * request.choice_count,
        )

        def measure() -> BilledUsage:
            return self._meter.billed_usage(
                count_prompt=lambda: usage_meter.count_prompt_tokens(request.body, count_tokens=tokenizer.count_tokens),
                count_tokens=tokenizer.count_tokens,
                ceiling=ceiling,
            )

        if not self._meter.needs_counting:
            return measure()
        counted = asyncio.get_running_loop().run_in_executor(None, measure)
        while True:
            try:
                return await asyncio.shield(counted)
            except asyncio.CancelledError:
                # Shutdown or the deadline. The output is charged all the same, and the loop waits for this task.
                if counted.cancelled():
                    raise

    def _set_head(self, head: Head) -> None:
        """Let the response begin. Only the first call has an effect."""
        if not self._head.done():
            self._head.set_result(head)

    def _answer_without_completion(self, admission: Admission) -> None:
        """Send the refusal, or the answer that is stored under the same Idempotency-Key."""
        stored = admission.stored_answer
        if stored is None:
            self._set_head(Head(error=admission.error or InternalError(), allowance=admission.allowance))
        elif stored.is_stream:
            self._buffer.put(stored.text.encode())
            self._set_head(Head(allowance=admission.allowance, is_replay=True))
        else:
            self._set_head(Head(answer=stored.text.encode(), allowance=admission.allowance, is_replay=True))

    def _send(self, raw: bytes) -> None:
        if self._recorded is not None and len(self._recorded) <= MAX_STORED_BYTES:
            self._recorded += raw
        if not self._client_left:
            self._sent_at = asyncio.get_running_loop().time()
            self._buffer.put(raw)

    def _fail(self, error: VoxsiteError, allowance: Allowance | None) -> None:
        """Tell the client of an error: as the response, or as an event of a stream that has begun."""
        if not self._head.done():
            self._set_head(Head(error=error, allowance=allowance))
        elif self._admission_request.is_stream:
            shown = wire.show_error(error, request_id=self._request_id)
            self._send(sse.format_event(json.dumps(shown).encode()))

    def _answer_to_store(self) -> StoredAnswer | None:
        if self._recorded is None:
            return None
        is_small = len(self._recorded) <= MAX_STORED_BYTES
        # A comment can contain any bytes, and a database accepts no null characters.
        text = self._recorded.decode("utf-8", "replace").replace("\0", "") if is_small else ""
        return StoredAnswer(text=text, is_stream=self._admission_request.is_stream)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started_at) * 1000)


async def _end(result: CompletionResult) -> int:
    """Charge or release; while the database fails, try again. Returns the micro-dollars that were charged."""
    completion = result.completion
    for attempt in range(END_ATTEMPTS):
        try:
            if attempt == 0 and shared_batches.is_available():
                charged_micros = await _shared_ends.submit(result, group="all")
                if charged_micros is not None:
                    return charged_micros
            return await _ends.submit(result, group=completion.organization.pk)
        except asyncio.CancelledError:
            # Shutdown: the loop waits for this task. Settling is idempotent.
            continue
        except Exception:  # The next attempt may succeed, and giving up costs money.
            logger.exception("The completion %s could not be ended.", completion.completion_id)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(END_RETRY_SECONDS * 2**attempt)
    logger.error("The completion %s is left to the sweeper, which releases it.", completion.completion_id)
    return 0
