"""Sends chat requests to the operator's upstreams. They are tried in order, until one gives a first chunk.

A request is never retried after its first chunk. Bytes that are no chunk (comments, empty events) are signs of life:
they extend the time-outs within the total. Callers get a valid first chunk or an error from `apex.errors`, never an
upstream's credentials, headers or complaints about them. Connections are `http_client`'s, one pool per event loop.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from prometheus_client import Counter, Histogram

from accounts import tracing
from apex import chunks, http_client, shared_breakers, sse
from apex.circuit_breaker import CircuitBreaker, State
from apex.errors import NoUpstream, UpstreamBroken, UpstreamRefused, UpstreamSilent
from apex.upstream_failures import StreamEnded, UpstreamAttemptFailed, most_helpful, raise_for_status, read_body

logger = logging.getLogger(__name__)

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
ATTEMPTS = Counter(
    "voxsite_upstream_attempts", "Requests to an upstream, by what came of them.", ["upstream", "outcome"]
)
SECONDS = Histogram(
    "voxsite_upstream_seconds", "Time to the first chunk or whole answer.", ["upstream"], buckets=BUCKETS
)
# Prometheus looks up what a set of labels counts under a lock, after it has made texts of them.
_attempts_of = lru_cache(maxsize=256)(ATTEMPTS.labels)
_seconds_of = lru_cache(maxsize=256)(SECONDS.labels)

MAX_ANSWER_BYTES = 16 * 1024 * 1024
# Wait this long for EOF after [DONE]; a fully read response returns its connection to the pool.
EOF_WAIT_SECONDS = 0.5
# Names of events that only keep a connection open, whatever their data.
PINGS = (b"ping", b"keepalive", b"keep-alive", b"heartbeat")
# Tells Redis of breakers and asks it, in order. Nobody waits for what is told.
_breaker_thread = ThreadPoolExecutor(1, thread_name_prefix="breakers")
_learned_at = -math.inf


@dataclass(frozen=True, slots=True)
class Upstream:
    """One OpenAI-compatible server of the operator's choice.

    model_names: this server's names for models, where they differ from the catalogue's upstream names.
    """

    name: str
    base_url: str
    api_key: str = field(repr=False)
    model_names: Mapping[str, str]
    breaker: CircuitBreaker

    @property
    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    def model_name(self, model: str) -> str:
        return self.model_names.get(model, model)


@dataclass(slots=True)
class Answer:
    """The answer of an upstream: the beginning of a stream, or a whole answer.

    first: the first chunk of the stream, or the whole answer.
    """

    upstream: str
    first: chunks.Chunk
    _events: AsyncIterator[chunks.Chunk | sse.Comment] | None = None
    _response: http_client.Response | None = None

    async def events(self) -> AsyncIterator[chunks.Chunk | sse.Comment]:
        """Yield what follows the first chunk.

        Raises StreamEnded if the stream ends before [DONE], UpstreamAttemptFailed for an error in the stream.
        """
        if self._events is not None:
            async for event in self._events:
                yield event

    def close(self) -> None:
        """Close the connection if the stream has not ended."""
        if self._response is not None:
            self._response.close()


def upstreams() -> tuple[Upstream, ...]:
    """Return all upstreams in order. Their circuit breakers live as long as the process."""
    return _build_upstreams(json.dumps(settings.APEX_UPSTREAMS))


@lru_cache(maxsize=8)
def _build_upstreams(entries: str) -> tuple[Upstream, ...]:
    recovery_seconds = settings.APEX_RECOVERY_SECONDS
    return tuple(
        Upstream(**entry, breaker=CircuitBreaker(recovery_seconds=recovery_seconds)) for entry in json.loads(entries)
    )


async def ask(body_for: Callable[[str], dict[str, Any]], *, model: str, is_stream: bool) -> Answer:
    """Return the first chunk or the whole answer of the first upstream that gives one.

    Each upstream gets at most two attempts: all are tried in order, and after a delay those that may be repeated.

    body_for: builds the request body from the upstream's name of the model.
    Raises NoUpstream, UpstreamRefused, UpstreamBusy, UpstreamSilent, UpstreamBroken.
    """
    candidates = upstreams()
    if not candidates:
        raise NoUpstream
    clock = asyncio.get_running_loop().time
    await _learn_of_breakers(candidates)
    failures: dict[str, UpstreamAttemptFailed] = {}
    failing: set[str] = set()
    for attempt in (1, 2):
        if attempt == 2:
            delays = [failure.retry_delay_seconds for failure in failures.values() if failure.may_be_repeated]
            if not delays:
                break
            await asyncio.sleep(max(delays))
        for upstream in candidates:
            if upstream.name in failures and not failures[upstream.name].may_be_repeated:
                continue
            if not await _admits(upstream):
                continue
            asked_at = clock()
            try:
                # Until the first chunk. What follows it is in the span of the request.
                with tracing.span("upstream", kind="client", upstream=upstream.name, attempt=attempt):
                    answer = await _ask_one(upstream, body_for(upstream.model_name(model)), is_stream=is_stream)
            except UpstreamRefused:
                _attempts_of(upstream.name, "refused").inc()
                _record_success(upstream)  # it works, and its half-open breaker must not stay open
                raise
            except UpstreamAttemptFailed as failed:
                _attempts_of(upstream.name, "failed").inc()
                # One failure per request, because all customers share a breaker: the attempts of one request must not
                # open it.
                if not failed.may_be_request_fault and upstream.name not in failing:
                    failing.add(upstream.name)
                    _record_failure(upstream)
                logger.warning("%s failed: %s", upstream.name, failed.reason)
                failures[upstream.name] = failed
            else:
                _attempts_of(upstream.name, "answered").inc()
                _seconds_of(upstream.name).observe(clock() - asked_at)
                _record_success(upstream)
                return answer
    raise most_helpful(failures.values()) if failures else UpstreamBroken()


async def _learn_of_breakers(candidates: Sequence[Upstream]) -> None:
    """Open and close breakers as other processes have found, if that was not looked at within the last second."""
    global _learned_at  # noqa: PLW0603 - a fact of the process
    loop = asyncio.get_running_loop()
    if time.monotonic() < _learned_at + shared_breakers.SYNC_SECONDS:
        return
    _learned_at = time.monotonic()
    names = [upstream.name for upstream in candidates]
    found = await loop.run_in_executor(_breaker_thread, shared_breakers.seconds_open, names)
    for upstream, seconds in zip(candidates, found or (), strict=bool(found)):
        if seconds is not None:
            upstream.breaker.open(until=loop.time() + seconds)
        elif upstream.breaker.state(now=loop.time()) is not State.CLOSED:
            upstream.breaker.record_success()


async def _admits(upstream: Upstream) -> bool:
    """Return whether a request may go to the upstream now. Half-open, it is one request of all processes."""
    loop, breaker = asyncio.get_running_loop(), upstream.breaker
    is_trial = breaker.state(now=loop.time()) is State.HALF_OPEN
    if not breaker.admits(now=loop.time()):
        return False
    if not is_trial:
        return True
    may_try = partial(shared_breakers.may_try, upstream.name, recovery_seconds=breaker.recovery_seconds)
    return await loop.run_in_executor(_breaker_thread, may_try)


def _record_success(upstream: Upstream) -> None:
    if upstream.breaker.record_success():
        _breaker_thread.submit(shared_breakers.note_closed, upstream.name)


def _record_failure(upstream: Upstream) -> None:
    breaker = upstream.breaker
    if breaker.record_failure(now=asyncio.get_running_loop().time()):
        _breaker_thread.submit(shared_breakers.note_open, upstream.name, recovery_seconds=breaker.recovery_seconds)


async def _ask_one(upstream: Upstream, body: dict[str, Any], *, is_stream: bool) -> Answer:
    seconds = settings.APEX_FIRST_CHUNK_SECONDS if is_stream else settings.APEX_TOTAL_SECONDS
    total_until = asyncio.get_running_loop().time() + settings.APEX_TOTAL_SECONDS
    response = None
    try:
        async with asyncio.timeout(seconds) as deadline:
            response = await _client().post(
                upstream.url,
                body=json.dumps(body).encode(),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream" if is_stream else "application/json",
                    **({"Authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}),
                },
                connect_seconds=settings.APEX_CONNECT_SECONDS,
            )
            if response.status != 200:
                await raise_for_status(response, name=upstream.name, api_key=upstream.api_key)
            # From here on, `_events` limits the time to the first chunk. Each sign of life starts that time again.
            deadline.reschedule(total_until)
            answer = await (_read_first_chunk if is_stream else _read_whole)(upstream, response)
    except BaseException as error:
        if response is not None:
            response.close()
        if isinstance(error, TimeoutError):
            raise UpstreamAttemptFailed(UpstreamSilent(), reason="it did not answer in time") from error
        if isinstance(error, http_client.BrokenConnection | OSError | sse.BrokenStream):
            raise UpstreamAttemptFailed(UpstreamBroken(), reason=f"{type(error).__name__}: {error}"[:200]) from error
        raise
    return answer


async def _read_first_chunk(upstream: Upstream, response: http_client.Response) -> Answer:
    events = _events(response)
    async for event in events:
        if isinstance(event, chunks.Chunk):
            return Answer(upstream=upstream.name, first=event, _events=events, _response=response)
    raise UpstreamAttemptFailed(UpstreamBroken(), reason="the stream ended before its first chunk")


async def _read_whole(upstream: Upstream, response: http_client.Response) -> Answer:
    raw = await read_body(response, max_bytes=MAX_ANSWER_BYTES)
    if len(raw) > MAX_ANSWER_BYTES:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason="the answer is too large")
    chunk = _read_chunk(raw)
    if chunk is None or not chunk.content["choices"]:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason="the answer has no choices")
    return Answer(upstream=upstream.name, first=chunk)


def _read_chunk(payload: bytes) -> chunks.Chunk | None:
    try:
        return chunks.read(payload)
    except chunks.BrokenChunk as error:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason=str(error)) from error


async def _events(response: http_client.Response) -> AsyncIterator[chunks.Chunk | sse.Comment]:
    """Yield the chunks and comments before [DONE].

    Raises StreamEnded if the stream ends or pauses too long before it, UpstreamAttemptFailed for an error in it.
    """
    reader = sse.EventReader()
    clock = asyncio.get_running_loop().time
    seconds = settings.APEX_FIRST_CHUNK_SECONDS
    # Set at [DONE].
    eof_deadline: float | None = None
    try:
        while received := await _receive(response, until=eof_deadline or clock() + seconds):
            for event in reader.feed(received) if eof_deadline is None else ():
                if _is_done(event):
                    eof_deadline = clock() + EOF_WAIT_SECONDS
                    break
                said = _said(event)
                if said is not None:
                    seconds = settings.APEX_IDLE_SECONDS if isinstance(said, chunks.Chunk) else seconds
                    yield said
    except TimeoutError as error:
        if eof_deadline is None:
            raise StreamEnded(UpstreamSilent(), reason="the stream stopped") from error
    except (http_client.BrokenConnection, OSError, sse.BrokenStream) as error:
        if eof_deadline is None:
            raise StreamEnded(UpstreamBroken(), reason=f"the stream broke: {type(error).__name__}") from error
    if eof_deadline is None:
        last = _last_event(reader)
        if isinstance(last, chunks.Chunk):
            yield last
        if last != sse.Data(sse.DONE):
            raise StreamEnded(UpstreamBroken(), reason="the stream ended without its end mark")


def _last_event(reader: sse.EventReader) -> chunks.Chunk | sse.Comment | sse.Data | None:
    """Return the chunk or the end mark that the end of the stream completes. Half an event says nothing."""
    with suppress(UpstreamAttemptFailed, sse.BrokenStream):
        for event in reader.finish():
            return sse.Data(sse.DONE) if _is_done(event) else _said(event)
    return None


def _is_done(event: sse.Data | sse.Comment) -> bool:
    return isinstance(event, sse.Data) and event.payload.strip() == sse.DONE


def _said(event: sse.Data | sse.Comment) -> chunks.Chunk | sse.Comment | None:
    """Return the chunk in an event, None if the event says nothing. Raises UpstreamAttemptFailed for an error."""
    if isinstance(event, sse.Comment):
        return event
    if event.name in PINGS:
        return None
    if event.name == b"error":
        raise UpstreamAttemptFailed(UpstreamBroken(), reason="it sent an event with the name of an error")
    return _read_chunk(event.payload)


async def _receive(response: http_client.Response, *, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await response.read_any()


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, http_client.Client] = WeakKeyDictionary()


def _client() -> http_client.Client:
    # It has no limit of connections: rate limits, concurrency slots and money bound the number of open requests. A
    # queue for connections would look like a slow upstream. It asks for no compression, because a compressor delays the
    # chunks of a stream until its buffer is full.
    loop = asyncio.get_running_loop()
    client = _clients.get(loop)
    if client is None:
        client = _clients[loop] = http_client.Client(user_agent="voxsite")
    return client


async def close() -> None:
    """Close the connections of the running event loop."""
    client = _clients.pop(asyncio.get_running_loop(), None)
    if client is not None:
        await client.close()
