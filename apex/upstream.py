"""Asks upstreams: several in order, patient within limits, trying again only before the first chunk.

aiohttp with one pool of connections per event loop. What comes out is a first valid chunk or an error of ours; nothing
of an upstream's credentials, headers or refusals of them does.
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
from django.conf import settings

from accounts.errors import VoxsiteError
from apex import sse
from apex.circuit_breaker import Breaker
from apex.errors import NoUpstream, UpstreamBroken, UpstreamBusy, UpstreamRefused, UpstreamSilent

logger = logging.getLogger(__name__)

LARGEST_ANSWER_BYTES = 16 * 1024 * 1024
LARGEST_ERROR_BYTES = 64 * 1024
# A fault that may pass is tried once more after this long, or after what Retry-After says if that is not too long.
RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 3.0
LONGEST_RETRY_AFTER = 60
# So long the end of a stream that is done is waited for: who has read it to its end can use its connection again.
AFTER_DONE_SECONDS = 0.5
# The request itself is at fault, which no other upstream will see otherwise.
REFUSALS = (400, 413, 422)
SECRETS = re.compile(r"\b(sk|key|pk|rk)[-_][\w-]{6,}|https?://\S+|Bearer\s+\S+", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Upstream:
    """One OpenAI-compatible server of the operator's choice."""

    name: str
    base_url: str
    api_key: str = field(repr=False)
    model_names: Mapping[str, str]
    breaker: Breaker

    @property
    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    def name_of(self, model: str) -> str:
        return self.model_names.get(model, model)


class Failed(Exception):
    """One try with one upstream did not give a chunk. error: what the client is told if none other does.

    is_of_request: the request can have brought it about, so it says nothing of the upstream's health.
    """

    def __init__(
        self, error: VoxsiteError, *, why: str, retry_after: float = RETRY_SECONDS, is_of_request: bool = False
    ) -> None:
        self.error = error
        self.is_of_request = is_of_request
        self.why = why
        self.retry_after = retry_after
        super().__init__(why)


@dataclass(slots=True)
class Answer:
    """What an upstream began to give, or gave.

    chunk: its first chunk, or all of an answer that is no stream. raw: the same as it came.
    """

    upstream: str
    raw: bytes
    chunk: dict[str, Any]
    _events: AsyncIterator[sse.Data | sse.Comment] | None = None
    _response: aiohttp.ClientResponse | None = None

    async def events(self) -> AsyncIterator[sse.Data | sse.Comment]:
        """Give what follows the first chunk. Raises Failed when it ends before it is done."""
        if self._events is not None:
            async for event in self._events:
                yield event

    def close(self) -> None:
        """End the exchange, whatever is still to come."""
        if self._response is not None:
            self._response.close()


def upstreams() -> tuple[Upstream, ...]:
    """Return all upstreams in order. Their breakers live as long as the process."""
    return _made(json.dumps(settings.APEX_UPSTREAMS))


@lru_cache(maxsize=8)
def _made(entries: str) -> tuple[Upstream, ...]:
    return tuple(Upstream(**entry, breaker=Breaker()) for entry in json.loads(entries))


async def ask(body_for: Callable[[str], dict[str, Any]], *, model: str, is_stream: bool) -> Answer:
    """Return the first chunk or the whole answer of the first upstream that gives one.

    body_for: makes the request from the model's name at the upstream.
    Raises NoUpstream, UpstreamRefused, UpstreamBusy, UpstreamSilent, UpstreamBroken.
    """
    every = upstreams()
    if not every:
        raise NoUpstream
    clock = asyncio.get_running_loop().time
    failure: Failed | None = None
    failing: set[str] = set()
    for is_second_round in (False, True):
        if is_second_round:
            # A time-out is not tried again: the upstream may have done the work, and the client has waited enough.
            if failure is None or isinstance(failure.error, UpstreamSilent):
                break
            if failure.retry_after > LONGEST_RETRY_SECONDS:
                break
            await asyncio.sleep(failure.retry_after)
        for upstream in every:
            if not upstream.breaker.admits(now=clock()):
                continue
            try:
                answer = await _ask_one(upstream, body_for(upstream.name_of(model)), is_stream=is_stream)
            except UpstreamRefused:
                upstream.breaker.succeeded()  # it works; a breaker that stayed open would keep everybody out
                raise
            except Failed as failed:
                # Once per request: breakers serve all customers, and one of them must not open them by trying.
                if not failed.is_of_request and upstream.name not in failing:
                    failing.add(upstream.name)
                    upstream.breaker.failed(now=clock())
                logger.warning("%s failed: %s", upstream.name, failed.why)
                failure = failed
            else:
                upstream.breaker.succeeded()
                return answer
    raise failure.error if failure is not None else UpstreamBroken()


async def _ask_one(upstream: Upstream, body: dict[str, Any], *, is_stream: bool) -> Answer:
    seconds = settings.APEX_FIRST_CHUNK_SECONDS if is_stream else settings.APEX_TOTAL_SECONDS
    response = None
    try:
        async with asyncio.timeout(seconds):
            response = await _session().post(
                upstream.url,
                data=json.dumps(body).encode(),
                headers={
                    "Content-Type": "application/json",
                    "Accept": "text/event-stream" if is_stream else "application/json",
                    **({"Authorization": f"Bearer {upstream.api_key}"} if upstream.api_key else {}),
                },
                allow_redirects=False,
                timeout=_time_out(settings.APEX_CONNECT_SECONDS),
            )
            if response.status != 200:
                await _fail(upstream, response)
            answer = await (_first_chunk if is_stream else _whole)(upstream, response)
    except BaseException as error:
        if response is not None:
            response.close()
        if isinstance(error, TimeoutError):
            raise Failed(UpstreamSilent(), why="it did not answer in time") from error
        if isinstance(error, aiohttp.ClientError | OSError | sse.BrokenStream):
            raise Failed(UpstreamBroken(), why=f"{type(error).__name__}: {error}"[:200]) from error
        raise
    return answer


async def _first_chunk(upstream: Upstream, response: aiohttp.ClientResponse) -> Answer:
    events = _events(response)
    async for event in events:
        if isinstance(event, sse.Comment):
            continue
        return Answer(
            upstream=upstream.name,
            raw=event.payload,
            chunk=read_chunk(event.payload),
            _events=events,
            _response=response,
        )
    raise Failed(UpstreamBroken(), why="the stream ended before its first chunk")


async def _whole(upstream: Upstream, response: aiohttp.ClientResponse) -> Answer:
    raw = await _read(response, most=LARGEST_ANSWER_BYTES)
    if len(raw) > LARGEST_ANSWER_BYTES:
        raise Failed(UpstreamBroken(), why="the answer is too large")
    chunk = read_chunk(raw)
    response.release()
    if not chunk.get("choices"):
        raise Failed(UpstreamBroken(), why="the answer has no choices")
    return Answer(upstream=upstream.name, raw=raw, chunk=chunk)


def read_chunk(payload: bytes) -> dict[str, Any]:
    """Return a chunk or an answer as it is read. Raises Failed for anything else, an error in its place included."""
    try:
        chunk: dict[str, Any] = json.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Failed(UpstreamBroken(), why="it sent something that is not JSON") from error
    is_chunk = isinstance(chunk, dict) and not chunk.get("error")
    # Some leave the empty list of choices out beside the usage at the end.
    if not is_chunk or not isinstance(chunk.get("choices", [] if "usage" in chunk else None), list):
        raise Failed(UpstreamBroken(), why="it sent an error, or no choices, where a chunk belongs")
    return chunk


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[sse.Data | sse.Comment]:
    """Give the events up to the end of the stream. Raises Failed when it ends or stops before it is done."""
    reader = sse.EventReader()
    clock = asyncio.get_running_loop().time
    done_until: float | None = None
    try:
        while received := await _next(response, until=done_until or clock() + settings.APEX_IDLE_SECONDS):
            for event in reader.feed(received) if done_until is None else ():
                if isinstance(event, sse.Data) and event.payload.strip() == sse.DONE:
                    done_until = clock() + AFTER_DONE_SECONDS
                    break
                yield event
    except TimeoutError as error:
        if done_until is None:
            raise Failed(UpstreamSilent(), why="the stream stopped") from error
    except (aiohttp.ClientError, OSError, sse.BrokenStream) as error:
        if done_until is None:
            raise Failed(UpstreamBroken(), why=f"the stream broke: {type(error).__name__}") from error
    if done_until is None:
        raise Failed(UpstreamBroken(), why="the stream ended without its end mark")


async def _next(response: aiohttp.ClientResponse, *, until: float) -> bytes:
    async with asyncio.timeout_at(until):
        return await response.content.readany()


async def _read(response: aiohttp.ClientResponse, *, most: int) -> bytes:
    """Return the body, or as much of it as shows that it is larger than `most`."""
    parts, size = [], 0
    while size <= most and (part := await response.content.readany()):
        parts.append(part)
        size += len(part)
    return b"".join(parts)


async def _fail(upstream: Upstream, response: aiohttp.ClientResponse) -> None:
    """Raise what an answer other than 200 means."""
    if response.status in REFUSALS:
        raise UpstreamRefused(_said(await _read(response, most=LARGEST_ERROR_BYTES), upstream=upstream))
    why = f"it answered {response.status}"
    if response.status in {429, 503} and (retry_after := _retry_after(response)) is not None:
        error = UpstreamBusy(retry_after=max(1, min(LONGEST_RETRY_AFTER, round(retry_after))))
        raise Failed(error, why=why, retry_after=retry_after)
    if response.status == 429:
        raise Failed(UpstreamBusy(retry_after=1), why=why)
    if response.status in {401, 402, 403, 404}:
        logger.error(
            "%s answered %s: its key, credit, address or model names are wrong.", upstream.name, response.status
        )
        raise Failed(
            UpstreamBroken(),
            why=why,
            retry_after=LONGEST_RETRY_SECONDS + 1,
            # A router answers so to what its moderation dislikes.
            is_of_request=response.status == 403,
        )
    raise Failed(UpstreamBroken(), why=why)


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    value = response.headers.get("Retry-After", "")
    return float(value) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", value) else None


def _said(raw: bytes, *, upstream: Upstream) -> str:
    """Return an upstream's own sentence about a faulty request, without what could be a secret; else nothing."""
    try:
        error = json.loads(raw)["error"]
        sentence = error["message"] if isinstance(error, dict) else error
    except (ValueError, RecursionError, KeyError, TypeError):
        return ""
    if not isinstance(sentence, str) or (upstream.api_key and upstream.api_key in sentence):
        return ""
    return SECRETS.sub("[removed]", "".join(each for each in sentence if each.isprintable()))[:500]


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    session = _sessions.get(loop)
    if session is None or session.closed:
        # No limit of its own: rate limits and money bound what is open, and a queue here would look like slowness.
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=30, ttl_dns_cache=60)
        session = _sessions[loop] = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "voxsite"},
            # A compressed stream would be held back until its compressor is full.
            skip_auto_headers=("Accept-Encoding",),
            trust_env=False,
        )
    return session


async def close() -> None:
    """Close this loop's connections."""
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


@lru_cache
def _time_out(connect_seconds: int) -> aiohttp.ClientTimeout:
    # The rest is timed by us: aiohttp's total would end a long stream, its read time-out knows one length only.
    return aiohttp.ClientTimeout(total=None, connect=None, sock_connect=connect_seconds, sock_read=None)
