"""One completion from its order to its end: begin, relay, end.

A task of its own, the pump, owns the exchange with the upstream and the money. The response only reads from it, so a
client that leaves, at whatever moment, changes neither. Between begin and end no database connection is held.
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

from accounts.errors import InternalError, VoxsiteError
from accounts.gate.limits import Allowance
from apex import completions, heartbeat, sse, tokenizer, upstream, usage_meter, wire
from apex.batcher import Desk
from apex.errors import StreamBroke, UpstreamSilent
from apex.stream_buffer import Channel
from apex.types import Begun, Kept, Order, Outcome, Ticket
from apex.usage_meter import Ceiling, Measure, Meter

logger = logging.getLogger(__name__)

# The answer is out, so nobody waits for its end; ends that come together cost one commit and one lock of the wallet,
# which the next request of the same customer would otherwise meet (decision 0016).
END_PAUSE_SECONDS = 0.05
# An end that the database does not take is offered again, ever more patiently: for four minutes in all.
END_ATTEMPTS = 10
END_RETRY_SECONDS = 0.25
# Of a stream that carries an Idempotency-Key, so much is kept for who asks again.
LARGEST_KEPT_BYTES = 1024 * 1024

_ends: Desk[Outcome, int] = Desk(completions.end, pause_seconds=END_PAUSE_SECONDS)
_running: set[asyncio.Task[int]] = set()


@dataclass(frozen=True, slots=True)
class Head:
    """What is known when the answer can begin: an error, a whole answer, or neither, and then it is a stream."""

    allowance: Allowance | None = None
    error: VoxsiteError | None = None
    answer: bytes | None = None
    is_replay: bool = False


class Relay:
    """A completion under way. Its pump runs until it has ended, whether or not anybody reads."""

    def __init__(
        self,
        order: Order,
        request: wire.ChatRequest | None,
        *,
        begin: Callable[[], Awaitable[Begun]],
        request_id: str = "",
    ) -> None:
        self._order = order
        self._request_id = request_id
        self._request = request
        self._begin = begin
        self._started_at = time.monotonic()
        self._head: asyncio.Future[Head] = asyncio.get_running_loop().create_future()
        self._channel = Channel()
        self._has_left = False
        self._patience: asyncio.Timeout | None = None
        self._first_token_ms: int | None = None
        self._meter = Meter()
        self._kept = bytearray() if order.idempotency_key else None
        self._upstream = ""
        # The loop itself holds its tasks weakly.
        self._pump = asyncio.create_task(self._run())
        _running.add(self._pump)
        self._pump.add_done_callback(_running.discard)

    # --- What the response does ---

    async def head(self) -> Head:
        """Return how the answer begins, once that is known."""
        return await asyncio.shield(self._head)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the stream."""
        return self._channel.pieces()

    def close(self) -> None:
        """Do what the end of a response means, whether it was read to its own end or not."""
        self.leave()

    def leave(self) -> None:
        """Say that nobody reads any more. After the end it changes nothing."""
        self._has_left = True
        self._channel.discard()
        # A whole answer states what it used at its end only, so it is waited for; a stream is read on for a while.
        if self._order.is_stream and self._patience is not None and not self._patience.expired():
            until = asyncio.get_running_loop().time() + settings.APEX_DRAIN_SECONDS
            self._patience.reschedule(min(until, self._patience.when() or until))

    async def charged_micros(self) -> int:
        """Return what was charged, once it has ended."""
        return await asyncio.shield(self._pump)

    # --- The pump ---

    async def _run(self) -> int:
        try:
            return await self._relay()
        except Exception:  # Nobody waits for this task, so its fault would never be seen.
            logger.exception("A relay failed.")
            return 0
        finally:
            self._order.seat.leave()
            self._tell(Head(error=InternalError()))
            self._channel.end()

    async def _relay(self) -> int:
        try:
            begun = await self._begin()
        except VoxsiteError as error:
            begun = Begun(error=error)
        if begun.ticket is None:
            self._tell_without_ticket(begun)
            return begun.kept.charged_micros if begun.kept is not None else 0
        assert self._request is not None, "an order without its request is never admitted"
        with heartbeat.of(begun.ticket.completion_id):
            return await _end(await self._outcome(begun.ticket, self._request, begun.allowance))

    async def _outcome(self, ticket: Ticket, request: wire.ChatRequest, allowance: Allowance | None) -> Outcome:
        finish, is_whole = "client_left", False
        try:
            if not self._has_left:
                async with asyncio.timeout(settings.APEX_TOTAL_SECONDS) as self._patience:
                    await self._exchange(ticket, request, allowance)
                    is_whole = True
        except VoxsiteError as error:
            # Before the first chunk: nothing was produced.
            finish = error.type
            self._tell(Head(error=error, allowance=allowance))
        except upstream.Failed as failed:
            finish = failed.error.type
            self._give_error()
        except TimeoutError:
            if not self._has_left:
                finish = UpstreamSilent.default_type
                self._tell(Head(error=UpstreamSilent(), allowance=allowance))
                self._give_error()
        except asyncio.CancelledError:
            # The process is told to end: this is its last act, and the loop waits for it.
            finish = "process_stopped"
        except Exception:
            # A fault of ours. What came was produced, and the hold must not wait for the sweeper, who would release it.
            logger.exception("The completion %s failed.", ticket.completion_id)
            finish = InternalError.default_type
            self._tell(Head(error=InternalError(), allowance=allowance))
            self._give_error()
        finally:
            self._patience = None
            # Before the client can know of the end: whoever has as many callers as places is never refused.
            self._order.seat.leave()
            # What follows takes time for the ledger, none of which the client need wait for.
            self._channel.end()
        latency_ms = self._elapsed_ms()
        return Outcome(
            ticket=ticket,
            measure=await self._measure(request, ticket=ticket) if self._meter.is_begun else None,
            finish=(self._meter.finish or "stop") if is_whole else finish,
            upstream=self._upstream,
            first_token_ms=self._first_token_ms,
            latency_ms=latency_ms,
            kept=self._to_keep() if is_whole else None,
        )

    async def _exchange(self, ticket: Ticket, request: wire.ChatRequest, allowance: Allowance | None) -> None:
        answer = await upstream.ask(
            lambda name: request.upstream_body(model=name, completion_tokens=ticket.completion_tokens),
            model=ticket.model.upstream_name,
            is_stream=request.is_stream,
        )
        try:
            self._upstream = answer.upstream
            self._first_token_ms = self._elapsed_ms()
            if not request.is_stream:
                self._meter.feed(answer.chunk)
                whole = wire.without_costs(answer.raw, answer.chunk)
                if self._kept is not None:
                    self._kept += whole
                self._tell(Head(answer=whole, allowance=allowance))
                return
            self._pass_on(answer.raw, answer.chunk, request)
            self._tell(Head(allowance=allowance))
            async for event in answer.events():
                if isinstance(event, sse.Comment):
                    self._give(event.line + b"\n\n")
                else:
                    self._pass_on(event.payload, upstream.read_chunk(event.payload), request)
                if not self._has_left and not await self._channel.room(seconds=settings.APEX_CLIENT_STALL_SECONDS):
                    self.leave()
            if request.wants_usage and self._meter.stated is None:
                await self._state_usage(answer.chunk, request, ticket=ticket)
            self._give(sse.show(sse.DONE))
        finally:
            answer.close()

    def _pass_on(self, payload: bytes, chunk: dict[str, Any], request: wire.ChatRequest) -> None:
        self._meter.feed(chunk)
        if "usage" in chunk and not request.wants_usage:
            stripped = wire.without_usage(chunk)
            if stripped is None:
                return
            payload = stripped
        self._give(sse.show(wire.without_costs(payload, chunk) if request.wants_usage else payload))

    async def _state_usage(self, chunk: dict[str, Any], request: wire.ChatRequest, *, ticket: Ticket) -> None:
        """Give the usage that was asked for and never came, as we count it."""
        usage = (await self._measure(request, ticket=ticket)).usage
        self._meter.counted = usage
        self._give(sse.show(wire.usage_chunk(chunk, usage)))

    async def _measure(self, request: wire.ChatRequest, *, ticket: Ticket) -> Measure:
        most = Ceiling(
            prompt_tokens=self._order.most_prompt_tokens,
            completion_tokens=ticket.completion_tokens * request.choice_count,
        )

        def measure() -> Measure:
            return self._meter.measure(
                prompt=lambda: usage_meter.count_prompt_tokens(request.body, count=tokenizer.count),
                count=tokenizer.count,
                most=most,
            )

        if not self._meter.must_count:
            return measure()
        counted = asyncio.get_running_loop().run_in_executor(None, measure)
        while True:
            try:
                return await asyncio.shield(counted)
            except asyncio.CancelledError:
                # Told to end, or out of patience. What was produced is charged all the same, and the loop waits for it.
                if counted.cancelled():
                    raise

    def _tell(self, head: Head) -> None:
        if not self._head.done():
            self._head.set_result(head)

    def _tell_without_ticket(self, begun: Begun) -> None:
        """Tell a refusal, or the answer that was kept under the same Idempotency-Key."""
        if begun.kept is None:
            self._tell(Head(error=begun.error or InternalError(), allowance=begun.allowance))
        elif begun.kept.is_stream:
            self._channel.give(begun.kept.text.encode())
            self._tell(Head(allowance=begun.allowance, is_replay=True))
        else:
            self._tell(Head(answer=begun.kept.text.encode(), allowance=begun.allowance, is_replay=True))

    def _give(self, piece: bytes) -> None:
        if self._kept is not None and len(self._kept) <= LARGEST_KEPT_BYTES:
            self._kept += piece
        if not self._has_left:
            self._channel.give(piece)

    def _give_error(self) -> None:
        """Say in a stream that has begun that it ends too early."""
        if self._order.is_stream:
            self._give(sse.show(json.dumps(wire.show_error(StreamBroke(), request_id=self._request_id)).encode()))

    def _to_keep(self) -> Kept | None:
        if self._kept is None:
            return None
        is_small = len(self._kept) <= LARGEST_KEPT_BYTES
        # A comment can be anything, and a database takes no null characters.
        text = self._kept.decode("utf-8", "replace").replace("\0", "") if is_small else ""
        return Kept(text=text, is_stream=self._order.is_stream)

    def _elapsed_ms(self) -> int:
        return round((time.monotonic() - self._started_at) * 1000)


async def _end(outcome: Outcome) -> int:
    """Charge or release, however long the database is away."""
    for attempt in range(END_ATTEMPTS):
        try:
            return await _ends.do(outcome, group=outcome.ticket.organization.pk)
        except asyncio.CancelledError:
            # The process is told to end, and the loop waits for this. To end it twice changes nothing.
            continue
        except Exception:  # Whatever it is, the next try may go well, and giving up costs money.
            logger.exception("The completion %s could not be ended.", outcome.ticket.completion_id)
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(END_RETRY_SECONDS * 2**attempt)
    logger.error("The completion %s is left to the sweeper, which releases it.", outcome.ticket.completion_id)
    return 0
