"""ASGI wrapper that refuses unwanted request bodies before they are stored.

Under ASGI, Django (5.2, `ASGIHandler.read_body`, read in source) spools the whole body to a temporary file before any
middleware or view runs. Without this wrapper, an upload without a key, or one of 50 GB, would be on disk before the
first check. This module knows no Django and no dialect. Callables tell it who the caller is, whether the request will
be refused anyway, and what a refusal looks like.

A refusal must also reach a client that is still sending. This needs a half-closed connection, which
`voxsite.serve.http_protocol` provides. With plain uvicorn, a client that does not read while it sends may see a reset.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
IsKnown = Callable[[Scope], Awaitable[bool]]
# (scope, http_status, error_type, message) -> (content type, body)
Refusal = Callable[[Scope, int, str, str], tuple[str, bytes]]
RequestId = Callable[[Scope], str]


@dataclass(frozen=True)
class EarlyResponse:
    """A complete response to a known caller, sent instead of reading a large body that would be refused anyway."""

    http_status: HTTPStatus
    content_type: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


Precheck = Callable[[Scope], Awaitable[EarlyResponse | None]]
HasDiskSpace = Callable[[int], bool]

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE
# The largest file that is accepted, and what multipart adds to it.
MAX_BYTES = 2048 * MEBIBYTE + MEBIBYTE
# Enough for every form and every JSON body. Larger bodies are uploads, which need a known caller.
OPEN_BYTES = 256 * KIBIBYTE
# A body without Content-Length can only be refused after so many bytes have come.
UNSIZED_BYTES = 64 * MEBIBYTE
# Where it may be larger, room on the disk is looked for each time that so many bytes more have come.
DISK_CHECK_BYTES = 64 * MEBIBYTE
# A client that sends nothing for this long is gone, or keeps the connection busy on purpose (slow loris). A Rate finds
# those that send a little now and then.
IDLE_SECONDS = 60.0


class Rate(Protocol):
    """The least rate of one body, such as `accounts.gate.body_rate.BodyRate`."""

    def is_too_slow(self, *, size_bytes: int, waited_seconds: float) -> bool: ...


@dataclass(frozen=True)
class _Rejection:
    """Why a body is refused."""

    http_status: HTTPStatus
    error_type: str
    message: str


_UNKNOWN = _Rejection(
    HTTPStatus.UNAUTHORIZED,
    "invalid_api_key",
    "A request body of this size needs a valid API key or a signed-in user.",
)
_NO_DISK_SPACE = _Rejection(
    HTTPStatus.SERVICE_UNAVAILABLE, "no_room", "There is no room for a file of this size now. Try again later."
)
_IDLE = _Rejection(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "The request body did not arrive in time.")


async def _no_precheck(_: Scope) -> None:
    return None


class BodyGuard:
    """An ASGI application around another one."""

    def __init__(
        self,
        app: Application,
        *,
        is_known: IsKnown,
        refusal: Refusal,
        request_id: RequestId | None = None,
        has_disk_space: HasDiskSpace = lambda _: True,
        precheck: Precheck = _no_precheck,
        challenge: str = "Bearer",
        max_bytes: int = MAX_BYTES,
        open_bytes: int = OPEN_BYTES,
        unsized_bytes: int = UNSIZED_BYTES,
        idle_seconds: float = IDLE_SECONDS,
        rate: Callable[[], Rate] | None = None,
        too_large_status: int = HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    ) -> None:
        """Wrap the app.

        is_known: whether the headers name a known caller; called once for each large body, before it is read.
        refusal: (scope, HTTP status, error type, message for people) -> (content type, body), in the caller's dialect.
        request_id: returns the X-Request-Id of a refusal; without it, refusals have no such header.
        has_disk_space: whether a large body of this many bytes can be stored.
        precheck: called after is_known; returns the response if the view would refuse the request anyway. It must not
            count against any limit.
        rate: makes the least rate of each large body whose size was announced; None for any rate.
        challenge: the WWW-Authenticate of a refusal of an unknown caller. too_large_status: of a body that is too
        large. `refusal` is asked for 413 all the same.
        """
        self.app = app
        self.is_known = is_known
        self.refusal = refusal
        self.request_id = request_id
        self.has_disk_space = has_disk_space
        self.precheck = precheck
        self.challenge = challenge
        self.max_bytes = max_bytes
        self.open_bytes = open_bytes
        self.unsized_bytes = unsized_bytes
        self.idle_seconds = idle_seconds
        self.rate = rate
        self.too_large_status = too_large_status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        announced = _announced_bytes(scope)
        rejection = await self._check_announced(scope, announced)
        if rejection is not None:
            # No receive() before this: it would send "100 Continue" to a client that waits for it before it sends.
            await self._refuse(scope, send, rejection)
            return
        body = _GuardedBody(self, scope, receive, send, announced_bytes=announced)
        await self.app(scope, body.receive, body.send)
        if body.rejection is not None and not body.is_response_started:
            await self._refuse(scope, send, body.rejection)

    async def _check_announced(self, scope: Scope, announced: int | None) -> _Rejection | EarlyResponse | None:
        if announced is None or announced <= self.open_bytes:
            return None
        if announced > self.max_bytes:
            return _too_large(f"The request body is larger than {_readable(self.max_bytes)}.")
        if not await self.is_known(scope):
            return _UNKNOWN
        return await self.precheck(scope) or (None if self.has_disk_space(announced) else _NO_DISK_SPACE)

    async def check_received(self, scope: Scope, *, received: int, before: int) -> _Rejection | EarlyResponse | None:
        """Check a body without Content-Length.

        received: bytes so far. before: bytes at the last check.
        """
        if received > self.unsized_bytes:
            limit = _readable(self.unsized_bytes)
            return _too_large(
                f"A request body without Content-Length may have {limit} at most; send Content-Length for a larger one."
            )
        if before <= self.open_bytes < received:
            return await self.precheck(scope) if await self.is_known(scope) else _UNKNOWN
        is_due = before // DISK_CHECK_BYTES < received // DISK_CHECK_BYTES
        return _NO_DISK_SPACE if is_due and not self.has_disk_space(received) else None

    async def _refuse(self, scope: Scope, send: Send, rejection: _Rejection | EarlyResponse) -> None:
        if isinstance(rejection, EarlyResponse):
            content_type, body = rejection.content_type, rejection.body
        else:
            content_type, body = self.refusal(scope, rejection.http_status, rejection.error_type, rejection.message)
        headers = [
            (b"content-type", content_type.encode("latin-1")),
            (b"content-length", str(len(body)).encode()),
            (b"cache-control", b"no-store"),
            # The rest of the body is not read, so the connection cannot be used again.
            (b"connection", b"close"),
        ]
        if self.request_id is not None:
            headers.append((b"x-request-id", self.request_id(scope).encode("latin-1")))
        if isinstance(rejection, EarlyResponse):
            headers.extend(rejection.headers)
        if rejection is _UNKNOWN:
            headers.append((b"www-authenticate", self.challenge.encode("latin-1")))
        status = int(rejection.http_status)
        if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            status = self.too_large_status
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


class _GuardedBody:
    """Wraps receive and send of one request for the app."""

    def __init__(
        self, guard: BodyGuard, scope: Scope, receive: Receive, send: Send, *, announced_bytes: int | None
    ) -> None:
        self.guard = guard
        self.scope = scope
        self.original_receive = receive
        self.original_send = send
        self.is_announced = announced_bytes is not None
        # A small body needs no known caller. So all of it must arrive within `idle_seconds`: otherwise a stranger who
        # sends one byte a minute could keep a connection for as long as they like. Of unknown size, it may go on then
        # if the caller is known: a program may send what a microphone hears.
        is_small = announced_bytes is not None and announced_bytes <= guard.open_bytes
        first_seconds_end = asyncio.get_running_loop().time() + guard.idle_seconds
        self.ends_at = first_seconds_end if is_small else None
        self.rate = guard.rate() if guard.rate and self.is_announced and not is_small else None
        self.known_from = first_seconds_end
        self.received_bytes = 0
        self.is_complete = False
        self.is_response_started = False
        self.rejection: _Rejection | EarlyResponse | None = None

    async def receive(self) -> Message:
        """Return the next message, or http.disconnect once the body is refused: every app gives up on that."""
        if self.rejection is not None:
            return {"type": "http.disconnect"}
        if self.is_complete:
            return await self.original_receive()
        loop = asyncio.get_running_loop()
        waits_since = loop.time()
        try:
            async with asyncio.timeout_at(self.ends_at or waits_since + self.guard.idle_seconds):
                message = await self.original_receive()
        except TimeoutError:
            return self._reject(_IDLE)
        if message["type"] != "http.request":
            return message
        self.is_complete = not message.get("more_body", False)
        size_bytes = len(message.get("body", b""))
        waited_seconds = loop.time() - waits_since
        # The last piece may be as small and late as it likes.
        if (
            not self.is_complete
            and self.rate is not None
            and self.rate.is_too_slow(size_bytes=size_bytes, waited_seconds=waited_seconds)
        ):
            return self._reject(_IDLE)
        before = self.received_bytes
        self.received_bytes += size_bytes
        # The server enforces Content-Length, so only bodies without it are counted here.
        if not self.is_announced:
            rejection = await self.guard.check_received(self.scope, received=self.received_bytes, before=before)
            if rejection is None and self.received_bytes <= self.guard.open_bytes:
                rejection = await self._check_time()
            if rejection is not None:
                return self._reject(rejection)
        return message

    async def _check_time(self) -> _Rejection | None:
        """Check a small body of unknown size once its first seconds are over."""
        if self.is_complete or asyncio.get_running_loop().time() < self.known_from:
            return None
        self.known_from = math.inf
        return None if await self.guard.is_known(self.scope) else _UNKNOWN

    async def send(self, message: Message) -> None:
        """Send the app's message, unless the request was refused."""
        if self.rejection is not None and not self.is_response_started:
            return
        self.is_response_started = True
        await self.original_send(message)

    def _reject(self, rejection: _Rejection | EarlyResponse) -> Message:
        self.rejection = rejection
        return {"type": "http.disconnect"}


def _too_large(message: str) -> _Rejection:
    return _Rejection(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", message)


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"


def _announced_bytes(scope: Scope) -> int | None:
    """Return the Content-Length, or None without one. Servers refuse two of them, or one that is not a number."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return None


def _readable(byte_count: int) -> str:
    return f"{byte_count // MEBIBYTE} MiB" if byte_count >= MEBIBYTE else f"{byte_count // KIBIBYTE} KiB"
