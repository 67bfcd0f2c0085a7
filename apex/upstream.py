"""Sends chat requests to the operator's upstreams. They are tried in order, until one gives a first chunk.

A request is never retried after its first chunk. Bytes that are no chunk (comments, empty events) are signs of life:
they extend the time-outs within the total. Callers get a valid first chunk or an error from `apex.errors`, never an
upstream's credentials, headers or complaints about them. Uses aiohttp, with one connection pool per event loop.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from django.conf import settings
from prometheus_client import Counter, Histogram

from accounts.errors import VoxsiteError
from apex import chunks, sse
from apex.circuit_breaker import CircuitBreaker
from apex.errors import NoUpstream, UpstreamBroken, UpstreamBusy, UpstreamRefused, UpstreamSilent

logger = logging.getLogger(__name__)

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
ATTEMPTS = Counter(
    "voxsite_upstream_attempts", "Requests to an upstream, by what came of them.", ["upstream", "outcome"]
)
SECONDS = Histogram(
    "voxsite_upstream_seconds", "Time to the first chunk or whole answer.", ["upstream"], buckets=BUCKETS
)

MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_ERROR_BYTES = 64 * 1024
# The delay before the second attempt, unless Retry-After says more. A Retry-After above the maximum prevents it.
RETRY_DELAY_SECONDS = 0.2
MAX_RETRY_DELAY_SECONDS = 3.0
# The most that a client is told in Retry-After.
MAX_RETRY_AFTER_SECONDS = 60
# Wait this long for EOF after [DONE]; a fully read response returns its connection to the pool.
EOF_WAIT_SECONDS = 0.5
# Names of events that only keep a connection open, whatever their data.
PINGS = (b"ping", b"keepalive", b"keep-alive", b"heartbeat")
# Statuses that blame the request. Another upstream would refuse it too.
REFUSAL_STATUSES = (400, 413, 422)
# What an upstream's error message may not pass on to a customer: API keys and addresses.
SECRET_PATTERN = re.compile(r"\b(sk|key|pk|rk)[-_][\w-]{6,}|https?://\S+|Bearer\s+\S+", re.IGNORECASE)


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


class UpstreamAttemptFailed(Exception):
    """One attempt at one upstream failed.

    error: what the client is told if no other attempt succeeds.
    reason: for the log.
    retry_delay_seconds: the delay before the second attempt.
    may_be_request_fault: the request may have caused the failure, so the circuit breaker does not count it.
    """

    def __init__(
        self,
        error: VoxsiteError,
        *,
        reason: str,
        retry_delay_seconds: float = RETRY_DELAY_SECONDS,
        may_be_request_fault: bool = False,
    ) -> None:
        self.error = error
        self.reason = reason
        self.retry_delay_seconds = retry_delay_seconds
        self.may_be_request_fault = may_be_request_fault
        super().__init__(reason)


class StreamEnded(UpstreamAttemptFailed):
    """The stream broke, stopped or was closed before [DONE]. It is whole all the same if every choice has finished."""


@dataclass(slots=True)
class Answer:
    """The answer of an upstream: the beginning of a stream, or a whole answer.

    first: the first chunk of the stream, or the whole answer.
    """

    upstream: str
    first: chunks.Chunk
    _events: AsyncIterator[chunks.Chunk | sse.Comment] | None = None
    _response: aiohttp.ClientResponse | None = None

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

    Each upstream gets at most two attempts: all are tried in order, and after a delay all are tried once more.

    body_for: builds the request body from the upstream's name of the model.
    Raises NoUpstream, UpstreamRefused, UpstreamBusy, UpstreamSilent, UpstreamBroken.
    """
    candidates = upstreams()
    if not candidates:
        raise NoUpstream
    clock = asyncio.get_running_loop().time
    failure: UpstreamAttemptFailed | None = None
    failing: set[str] = set()
    for attempt in (1, 2):
        if attempt == 2:
            # No second attempt after a time-out: the upstream may have done the work, and the client has waited enough.
            if failure is None or isinstance(failure.error, UpstreamSilent):
                break
            if failure.retry_delay_seconds > MAX_RETRY_DELAY_SECONDS:
                break
            await asyncio.sleep(failure.retry_delay_seconds)
        for upstream in candidates:
            if not upstream.breaker.admits(now=clock()):
                continue
            asked_at = clock()
            try:
                answer = await _ask_one(upstream, body_for(upstream.model_name(model)), is_stream=is_stream)
            except UpstreamRefused:
                ATTEMPTS.labels(upstream.name, "refused").inc()
                upstream.breaker.record_success()  # it works, and its half-open breaker must not stay open
                raise
            except UpstreamAttemptFailed as failed:
                ATTEMPTS.labels(upstream.name, "failed").inc()
                # One failure per request, because all customers share a breaker: the attempts of one request must not
                # open it.
                if not failed.may_be_request_fault and upstream.name not in failing:
                    failing.add(upstream.name)
                    upstream.breaker.record_failure(now=clock())
                logger.warning("%s failed: %s", upstream.name, failed.reason)
                failure = failed
            else:
                ATTEMPTS.labels(upstream.name, "answered").inc()
                SECONDS.labels(upstream.name).observe(clock() - asked_at)
                upstream.breaker.record_success()
                return answer
    raise failure.error if failure is not None else UpstreamBroken()


async def _ask_one(upstream: Upstream, body: dict[str, Any], *, is_stream: bool) -> Answer:
    seconds = settings.APEX_FIRST_CHUNK_SECONDS if is_stream else settings.APEX_TOTAL_SECONDS
    total_until = asyncio.get_running_loop().time() + settings.APEX_TOTAL_SECONDS
    response = None
    try:
        async with asyncio.timeout(seconds) as deadline:
            response = await _session().post(
                upstream.url,
                data=json.dumps(body).encode(),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream" if is_stream else "application/json",
                    **({"Authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}),
                },
                allow_redirects=False,
                timeout=_timeout(settings.APEX_CONNECT_SECONDS),
            )
            if response.status != 200:
                await _raise_for_status(upstream, response)
            # From here on, `_events` limits the time to the first chunk. Each sign of life starts that time again.
            deadline.reschedule(total_until)
            answer = await (_read_first_chunk if is_stream else _read_whole)(upstream, response)
    except BaseException as error:
        if response is not None:
            response.close()
        if isinstance(error, TimeoutError):
            raise UpstreamAttemptFailed(UpstreamSilent(), reason="it did not answer in time") from error
        if isinstance(error, aiohttp.ClientError | OSError | sse.BrokenStream):
            raise UpstreamAttemptFailed(UpstreamBroken(), reason=f"{type(error).__name__}: {error}"[:200]) from error
        raise
    return answer


async def _read_first_chunk(upstream: Upstream, response: aiohttp.ClientResponse) -> Answer:
    events = _events(response)
    async for event in events:
        if isinstance(event, chunks.Chunk):
            return Answer(upstream=upstream.name, first=event, _events=events, _response=response)
    raise UpstreamAttemptFailed(UpstreamBroken(), reason="the stream ended before its first chunk")


async def _read_whole(upstream: Upstream, response: aiohttp.ClientResponse) -> Answer:
    raw = await _read_body(response, max_bytes=MAX_ANSWER_BYTES)
    if len(raw) > MAX_ANSWER_BYTES:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason="the answer is too large")
    chunk = _read_chunk(raw)
    response.release()
    if chunk is None or not chunk.content["choices"]:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason="the answer has no choices")
    return Answer(upstream=upstream.name, first=chunk)


def _read_chunk(payload: bytes) -> chunks.Chunk | None:
    try:
        return chunks.read(payload)
    except chunks.BrokenChunk as error:
        raise UpstreamAttemptFailed(UpstreamBroken(), reason=str(error)) from error


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[chunks.Chunk | sse.Comment]:
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
    except (aiohttp.ClientError, OSError, sse.BrokenStream) as error:
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


async def _receive(response: aiohttp.ClientResponse, *, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await response.content.readany()


async def _read_body(response: aiohttp.ClientResponse, *, max_bytes: int) -> bytes:
    """Return the body. Of a body over the limit, return only the beginning, which is longer than `max_bytes`."""
    parts, size = [], 0
    while size <= max_bytes and (part := await response.content.readany()):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def _raise_for_status(upstream: Upstream, response: aiohttp.ClientResponse) -> None:
    """Raise UpstreamRefused or UpstreamAttemptFailed for an answer with a status other than 200."""
    if response.status in REFUSAL_STATUSES:
        raise UpstreamRefused(_error_message(await _read_body(response, max_bytes=MAX_ERROR_BYTES), upstream=upstream))
    reason = f"it answered {response.status}"
    if response.status in {429, 503} and (retry_after := _retry_after(response)) is not None:
        error = UpstreamBusy(retry_after=max(1, min(MAX_RETRY_AFTER_SECONDS, round(retry_after))))
        raise UpstreamAttemptFailed(error, reason=reason, retry_delay_seconds=retry_after)
    if response.status == 429:
        raise UpstreamAttemptFailed(UpstreamBusy(retry_after=1), reason=reason)
    if response.status in {401, 402, 403, 404}:
        logger.error(
            "%s answered %s: its key, credit, address or model names are wrong.", upstream.name, response.status
        )
        raise UpstreamAttemptFailed(
            UpstreamBroken(),
            reason=reason,
            # Too long for a second attempt, which would fail as well.
            retry_delay_seconds=MAX_RETRY_DELAY_SECONDS + 1,
            # Some routers answer 403 when their moderation rejects the content of a request.
            may_be_request_fault=response.status == 403,
        )
    raise UpstreamAttemptFailed(UpstreamBroken(), reason=reason)


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    """Return the seconds in the header Retry-After, None if it is missing, a date or no number."""
    value = response.headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) else None


def _error_message(raw: bytes, *, upstream: Upstream) -> str:
    """Return the upstream's message about a wrong request, with secrets removed; "" if there is none."""
    try:
        content = json.loads(raw)
        # Gemini wraps its errors in a list.
        error = (content[0] if isinstance(content, list) else content)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, KeyError, IndexError, TypeError):
        return ""
    if not isinstance(message, str) or (upstream.api_key and upstream.api_key in message):
        return ""
    return SECRET_PATTERN.sub("[removed]", "".join(each for each in message if each.isprintable()))[:500]


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        # No connection limit here: rate limits, concurrency slots and money bound the number of open requests. A queue
        # for connections would look like a slow upstream.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60)
        session = _sessions[loop] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "voxsite"},
            # A compressor delays the chunks of a stream until its buffer is full.
            skip_auto_headers=("Accept-Encoding",),
            trust_env=False,
        )
    return session


async def close() -> None:
    """Close the connections of the running event loop."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


@lru_cache
def _timeout(connect_seconds: int) -> aiohttp.ClientTimeout:
    # This module times everything else. aiohttp's total would end a long stream, and its read time-out has one value
    # for all phases.
    return aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_seconds, sock_read=None)
