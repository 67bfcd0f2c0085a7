"""The only door to addresses that customers name: a URL to import from, or the receiver of a webhook.

    async with outbound.call(url, limits=Limits(max_bytes=..., total_seconds=...)) as answer:
        async for piece in answer.chunks(): ...

* The host is looked up once, every address that it has must be public, and the connection goes to an address that was
  judged. A DNS server that answers otherwise the next time changes nothing. Host and SNI keep the name.
* Redirects of GET are followed a few times, each judged like the first URL. Other methods get the redirect itself.
* No proxy, netrc, cookie or credential of this machine takes part. Answers come as they are, never decompressed.
* Bytes and time are limited, the time from the look-up to the last byte.

Which addresses are public is in `public_addresses`. Do not send requests to customers' addresses in any other way.
"""

import asyncio
import ipaddress
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from django.conf import settings
from yarl import URL

from transcription import public_addresses
from transcription.public_addresses import AddressRefused, Exceptions

__all__ = ["AddressRefused", "Answer", "Limits", "OutboundError", "call", "parse"]

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
# The resolver of glibc gives up after 10 s for each name server, with its defaults (resolv.conf(5)).
LOOK_UP_SECONDS = 20
# Questions of one process that may be open at once.
MAX_LOOK_UPS = 200
# Not for the host that a redirect of another one names.
CREDENTIALS = ("authorization", "cookie")

# Returns the addresses of a host name. Raises OSError.
LookUp = Callable[[str], Awaitable[Sequence[str]]]

_look_ups = threading.BoundedSemaphore(MAX_LOOK_UPS)


class OutboundError(Exception):
    """The call did not succeed, and the other side is to blame. The text is for the customer."""


class UnknownHost(OutboundError):
    """There is no host of this name."""


class Unreachable(OutboundError):
    """No connection, no agreement on TLS, or no HTTP."""


class Broken(OutboundError):
    """The connection ended before the answer did."""


class Stalled(OutboundError):
    """Nothing came for a while."""


class TooSlow(OutboundError):
    """The call took longer than it may."""


class TooLarge(OutboundError):
    """The answer is larger than it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one call may take, with all its redirects. max_bytes counts the body of the answer."""

    max_bytes: int
    total_seconds: float
    connect_seconds: float = 10
    idle_seconds: float = 30


class Answer:
    """The status and headers of an answer. Its body is read with `chunks` or `beginning`, once."""

    def __init__(self, response: aiohttp.ClientResponse, *, limits: Limits) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._limits = limits

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces of a few hundred kilobytes at most.

        Raises TooLarge, Broken and Stalled. What was yielded before is good.
        """
        received_bytes = 0
        try:
            async for piece in self._response.content.iter_any():
                received_bytes += len(piece)
                if received_bytes > self._limits.max_bytes:
                    raise TooLarge("The answer is larger than allowed.")
                yield piece
        except aiohttp.ClientError as error:
            raise _translated(error, otherwise=Broken("The connection broke in the middle of the answer.")) from error

    async def beginning(self, max_bytes: int) -> bytes:
        """Return the body, or so much of it."""
        body = b""
        async for piece in self.chunks():
            body += piece
            if len(body) >= max_bytes:
                break
        return body[:max_bytes]


def parse(url: str) -> URL:
    """Return a URL that may be called as far as it can be told without a look-up. Raises AddressRefused."""
    return public_addresses.parse(url, exceptions=_exceptions())


@asynccontextmanager
async def call(
    url: str,
    *,
    limits: Limits,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    look_up: LookUp | None = None,
) -> AsyncIterator[Answer]:
    """Send a request and give the answer for as long as the block runs. The time limit holds inside the block too.

    look_up: how host names become addresses; `ask_resolver` when None.
    Raises AddressRefused, and the subclasses of OutboundError.
    """
    exceptions = _exceptions()
    connector = aiohttp.TCPConnector(
        resolver=_JudgingResolver(look_up or ask_resolver, exceptions=exceptions),
        socket_factory=lambda address: _judged_socket(address, exceptions=exceptions),
        use_dns_cache=False,
        force_close=True,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=limits.connect_seconds, sock_read=limits.idle_seconds, connect=None
        ),
    )
    deadline = asyncio.timeout(limits.total_seconds)
    try:
        async with session, deadline:
            response = await _response(
                session, method=method, url=url, headers=headers or {}, body=body, exceptions=exceptions
            )
            try:
                yield Answer(response, limits=limits)
            finally:
                response.close()
    except TimeoutError as error:
        if not deadline.expired():
            raise
        raise TooSlow(f"The answer did not come within {limits.total_seconds:g} seconds.") from error


async def _response(
    session: aiohttp.ClientSession,
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    exceptions: Exceptions,
) -> aiohttp.ClientResponse:
    """Return the answer at the end of all redirects, with its body still to come."""
    target = public_addresses.parse(url, exceptions=exceptions)
    sent = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": f"Voxsite ({settings.SITE_URL})", **headers}
    for _ in range(MAX_REDIRECTS + 1):
        try:
            response = await session.request(method, target, headers=sent, data=body, allow_redirects=False)
        except aiohttp.ClientError as error:
            raise _translated(error, otherwise=Unreachable("The server does not speak HTTP as it should.")) from error
        location = response.headers.get("Location")
        if method != "GET" or response.status not in REDIRECTS or location is None:
            return response
        response.close()
        next_target = public_addresses.parse(_joined(str(target), location), exceptions=exceptions)
        if next_target.origin() != target.origin():
            sent = {name: value for name, value in sent.items() if name.lower() not in CREDENTIALS}
        target = next_target
    raise Unreachable(f"The server redirects more than {MAX_REDIRECTS} times.")


def _joined(base: str, location: str) -> str:
    try:
        return urljoin(base, location)
    except ValueError as error:
        raise AddressRefused("The server redirects to an address that is no URL.") from error


class _JudgingResolver(AbstractResolver):
    """Gives aiohttp the addresses of a host, if all of them may be called. Asked once for each connection."""

    def __init__(self, look_up: LookUp, *, exceptions: Exceptions) -> None:
        self._look_up = look_up
        self._exceptions = exceptions

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = [ipaddress.ip_address(address) for address in await self._look_up(host)]
        if not found:
            raise OSError(None, "the host has no address")
        for address in found:
            # One private address among public ones is a host that means to be called by another way.
            public_addresses.require_public(address, port=port, exceptions=self._exceptions)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _judged_socket(info: Any, *, exceptions: Exceptions) -> socket.socket:
    """Return a socket for an address that was judged. aiohttp does not ask the resolver for addresses in URLs.

    info: (family, type, protocol, canonical name, (address, port, ...)), as getaddrinfo() returns it.
    """
    family, kind, protocol, _, address = info
    public_addresses.require_public(ipaddress.ip_address(address[0]), port=address[1], exceptions=exceptions)
    return socket.socket(family=family, type=kind, proto=protocol)


async def ask_resolver(
    host: str, *, seconds: float = LOOK_UP_SECONDS, free: threading.Semaphore = _look_ups
) -> Sequence[str]:
    """Ask the system's resolver. Raises gaierror with EAI_AGAIN when it does not answer in so many seconds.

    free: the questions that may still be open.

    Each question has a thread of its own, which nobody waits for: a thread of the loop's pool that hangs would be
    missing to the look-ups of others, and the loop would wait for it when it is closed.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()
    if not free.acquire(blocking=False):
        raise socket.gaierror(socket.EAI_AGAIN, "Too many look-ups hang.")

    def ask() -> None:
        found: list[Any] = []
        fault: Exception | None = None
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except Exception as error:  # noqa: BLE001 - raised in the loop.
            fault = error
        finally:
            free.release()
        with suppress(RuntimeError):  # The loop is closed: nobody waits any more.
            loop.call_soon_threadsafe(_answer, answer, found, fault)

    threading.Thread(target=ask, name="look-up", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            found = await answer
    except TimeoutError as error:
        raise socket.gaierror(socket.EAI_AGAIN, "The resolver does not answer.") from error
    return [str(address[0]) for *_, address in found]


def _answer(future: "asyncio.Future[list[Any]]", found: list[Any], fault: Exception | None) -> None:
    if future.done():
        return
    if fault is None:
        future.set_result(found)
    else:
        future.set_exception(fault)


def _translated(error: aiohttp.ClientError, *, otherwise: OutboundError) -> OutboundError:
    if isinstance(error, aiohttp.ServerTimeoutError):
        return Stalled("The server sent nothing for too long.")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        # A resolver that does not answer has EAI_AGAIN. Another try may succeed.
        if isinstance(error.os_error, socket.gaierror) and error.os_error.errno == socket.EAI_AGAIN:
            return Unreachable("The host name could not be looked up.")
        return UnknownHost("There is no host of this name.")
    if isinstance(error, aiohttp.ClientSSLError):
        return Unreachable("The certificate or the encryption of the server cannot be accepted.")
    if isinstance(error, aiohttp.ClientConnectorError):
        return Unreachable("The server cannot be reached.")
    return otherwise


def _exceptions() -> Exceptions:
    """Return the addresses of the development setting."""
    allowed = settings.ALLOWED_PRIVATE_ADDRESSES
    if "*" in allowed:
        return Exceptions(is_everything=True)
    pairs = (word.rpartition(":") for word in allowed)
    return Exceptions(sockets=frozenset((host.strip("[]"), int(port)) for host, _, port in pairs))
