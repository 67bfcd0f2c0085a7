"""A small HTTP/1.1 client for calls of upstreams: it posts, keeps connections open, and reads streams. Pure: no Django.

It does what the chat endpoint needs of aiohttp, which was used before and takes several times as long for a request
(docs/benchmarks.md): no redirects, no cookies, no proxies, no middleware. httptools parses, as in the web server.
httpx takes longer still. Other small clients on httptools were not kept up (uvhttp, 2017).

A request is sent once. An idle connection that the server has closed meanwhile fails the request, as with aiohttp,
and `upstream` decides what is sent again.
"""

import asyncio
import base64
import socket
import ssl
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, cast

import aiohappyeyeballs
import httptools
from yarl import URL

# An idle connection is not used again after so long. Servers close theirs after 60 s and more.
IDLE_SECONDS = 30.0
# What was found of a host's addresses is used for so long.
ADDRESS_SECONDS = 60.0
# If an address does not answer within this time, the next one is tried beside it (RFC 8305 recommends 0.25 s).
NEXT_ADDRESS_SECONDS = 0.25
# A server may refuse a larger body before it has read it, and never read the rest. What follows would wait behind it.
MAX_REFUSED_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
# With more bytes that nobody has read, the server is not read from.
MAX_UNREAD_BYTES = 128 * 1024
# The most that one piece of a compressed body may become: more than any answer has.
MAX_INFLATED_BYTES = 16 * 1024 * 1024
# What `zlib` is told to find out by itself whether a body is in gzip or deflate.
GZIP_OR_DEFLATE = 32 + zlib.MAX_WBITS


class BrokenConnection(Exception):
    """The connection ended before the response did, or carried something that is no response."""


class Response:
    """The response to a request, whose body may still come.

    status: the HTTP status. headers: by their names in lower case; of equal names, the first.
    """

    def __init__(self, connection: "_Connection") -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self._connection = connection
        self._pieces: list[bytes] = []
        self._unread_bytes = 0
        self._inflater: Any = None
        self._is_complete = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read_any(self) -> bytes:
        """Wait until something of the body has come, and return all of it that is there; b"" at its end.

        Raises BrokenConnection and OSError.
        """
        while not self._pieces:
            if self._error is not None:
                raise self._error
            if self._is_complete:
                return b""
            await self._wait()
        received = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces = []
        self._unread_bytes = 0
        self._connection.resume()
        return received

    def close(self) -> None:
        """Read no more. A response that has not come to its end takes its connection with it."""
        if not self._is_complete:
            self._connection.abort()

    # --- For the connection ---

    async def wait_for_head(self) -> None:
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    def begin_body(self, status: int) -> None:
        encoding = self.headers.get("content-encoding", "identity").strip().lower()
        if encoding in {"gzip", "x-gzip", "deflate"}:
            # Not asked for, and some servers do it all the same.
            self._inflater = zlib.decompressobj(GZIP_OR_DEFLATE)
        elif encoding not in {"", "identity"}:
            raise BrokenConnection("the response is compressed in an unknown way")
        self.status = status
        self._wake()

    def add(self, piece: bytes) -> None:
        if self._inflater is not None:
            piece = self._inflated(piece)
        if piece:
            self._pieces.append(piece)
            self._unread_bytes += len(piece)
            self._wake()

    def _inflated(self, piece: bytes) -> bytes:
        try:
            inflated = cast("bytes", self._inflater.decompress(piece, MAX_INFLATED_BYTES))
        except zlib.error as error:
            raise BrokenConnection("the response cannot be decompressed") from error
        if self._inflater.unconsumed_tail:
            raise BrokenConnection("the response is too large when it is decompressed")
        return inflated

    @property
    def is_waiting_for_reader(self) -> bool:
        return self._unread_bytes > MAX_UNREAD_BYTES

    def complete(self) -> None:
        self._is_complete = True
        self._wake()

    def fail(self, error: Exception) -> None:
        if not self._is_complete and self._error is None:
            self._error = error
            self._wake()

    async def _wait(self) -> None:
        assert self._waiter is None, "one task reads a response"
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection(asyncio.Protocol):
    """One connection to an upstream. It carries one request at a time."""

    def __init__(self, idle: "list[_Connection]", *, loop: asyncio.AbstractEventLoop) -> None:
        # Those of the same server that can be used again: itself among them, between two requests.
        self._idle = idle
        self._loop = loop
        self.closed: asyncio.Future[None] = loop.create_future()
        self.idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser: Any = None
        self._response: Response | None = None
        self._head_bytes = 0
        self._is_in_head = True
        self._is_done = False
        self._is_kept = False
        self._is_large = False
        self._is_paused = False
        # The body has no length: the end of the connection is its end.
        self._ends_with_connection = False

    async def send(self, head: bytes, body: bytes) -> Response:
        """Send a request, and return its response once its head has come. Raises BrokenConnection and OSError."""
        assert self._transport is not None, "it is connected"
        self._response = response = Response(self)
        self._head_bytes, self._is_in_head, self._is_done, self._ends_with_connection = 0, True, False, False
        self._is_large = len(body) > MAX_REFUSED_BYTES
        self._transport.write(head + body)
        try:
            await response.wait_for_head()
        except BaseException:
            response.close()
            raise
        return response

    @property
    def is_usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    # --- What the event loop calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpResponseParser(self)
        # What aiohttp lets pass too.
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )

    def data_received(self, data: bytes) -> None:
        response = self._response
        if response is None:
            # Nobody asked for it: whatever it is, it must not be taken for the next response.
            self._drop()
            return
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._is_done:
                cause = error.__context__
                self._fail(cause if isinstance(cause, BrokenConnection) else BrokenConnection(f"no HTTP: {error}"))
                return
            # What followed the response is wrong, and the response is whole.
            self._is_kept = False
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(BrokenConnection("the head of the response is too large"))
        elif self._is_done:
            self._end(response)
        elif response.is_waiting_for_reader and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        response, self._response = self._response, None
        self._forget()
        self._transport = self._parser = None
        if response is not None:
            if self._ends_with_connection and exc is None:
                response.complete()
            else:
                response.fail(exc or BrokenConnection("the connection was closed before the end of the response"))
        if not self.closed.done():
            self.closed.set_result(None)

    def _end(self, response: Response) -> None:
        """End a response that has come to its end, and keep the connection if the server does."""
        self._response = None
        response.complete()
        # How much of the body was sent, a transport with TLS does not say.
        is_read = response.status < 300 or not self._is_large
        if self.is_usable and self._is_kept and is_read:
            self.resume()
            self.idle_since = self._loop.time()
            self._idle.append(self)
        else:
            self._drop()

    def _fail(self, error: Exception) -> None:
        response, self._response = self._response, None
        if response is not None:
            response.fail(error)
        self._drop()

    def _drop(self) -> None:
        self._forget()
        self.abort()

    def _forget(self) -> None:
        if self in self._idle:
            self._idle.remove(self)

    # --- What the parser calls ---

    def on_message_begin(self) -> None:
        if self._is_done:
            raise BrokenConnection("something followed the response")

    def on_header(self, name: bytes, value: bytes) -> None:
        # Those behind the body in chunks say nothing that is needed.
        if self._is_in_head and self._response is not None:
            self._response.headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        response, status = self._response, self._parser.get_status_code()
        assert response is not None, "data without a request is not parsed"
        if status < 200:
            # 100 and 103 announce the response.
            response.headers.clear()
            return
        self._is_in_head = False
        self._ends_with_connection = response.headers.keys().isdisjoint({"content-length", "transfer-encoding"})
        response.begin_body(status)

    def on_body(self, body: bytes) -> None:
        if self._response is not None:
            self._response.add(body)

    def on_message_complete(self) -> None:
        self._is_done = not self._is_in_head
        # The parser forgets it when this returns.
        self._is_kept = self._parser.should_keep_alive()


class Client:
    """The connections of one event loop to all upstreams.

    tls: for servers with https; without it, certificates are checked as the system does.
    """

    def __init__(self, *, user_agent: str, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._user_agent = user_agent
        self._tls = tls
        self._idle: dict[URL, list[_Connection]] = {}
        self._open: set[_Connection] = set()
        # When they were found, by the loop's time, and the addresses as `getaddrinfo` has them.
        self._addresses: dict[tuple[str, int], tuple[float, Sequence[Any]]] = {}
        self._cleaner: asyncio.TimerHandle | None = None

    async def post(self, url: str, *, body: bytes, headers: Mapping[str, str], connect_seconds: float) -> Response:
        """Send a request, and return its response once its head has come.

        headers: without Host, Content-Length and User-Agent.
        connect_seconds: the longest time to connect, if no connection is free. Nothing else is timed here.
        Raises TimeoutError, BrokenConnection and OSError.
        """
        server, head = _head(url, tuple(headers.items()), self._user_agent)
        connection = self._free_connection(server)
        if connection is None:
            async with asyncio.timeout(connect_seconds):
                connection = await self._connect(server)
        return await connection.send(b"%sContent-Length: %d\r\n\r\n" % (head, len(body)), body)

    async def close(self) -> None:
        """Close all connections, also those in use."""
        if self._cleaner is not None:
            self._cleaner.cancel()
            self._cleaner = None
        connections = list(self._open)
        for connection in connections:
            connection.abort()
        if connections:
            await asyncio.wait([connection.closed for connection in connections])

    def _free_connection(self, server: URL) -> _Connection | None:
        idle = self._idle.get(server)
        oldest = self._loop.time() - IDLE_SECONDS
        # The newest first, so that those which are not needed grow old.
        while idle:
            connection = idle.pop()
            if connection.is_usable and connection.idle_since >= oldest:
                return connection
            connection.abort()
        return None

    async def _connect(self, server: URL) -> _Connection:
        host, port = cast("str", server.raw_host), cast("int", server.port)
        sock = await aiohappyeyeballs.start_connection(
            await self._addresses_of(host, port),
            happy_eyeballs_delay=NEXT_ADDRESS_SECONDS,
            interleave=1,
            loop=self._loop,
        )
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            tls = (self._tls or _default_tls()) if server.scheme == "https" else None
            idle = self._idle.setdefault(server, [])
            _, connection = await self._loop.create_connection(
                lambda: _Connection(idle, loop=self._loop),
                sock=sock,
                ssl=tls,
                server_hostname=host.rstrip(".") if tls else None,
            )
        except BaseException:
            sock.close()
            raise
        self._open.add(connection)
        connection.closed.add_done_callback(lambda _: self._open.discard(connection))
        if self._cleaner is None:
            self._cleaner = self._loop.call_later(IDLE_SECONDS, self._clean)
        return connection

    async def _addresses_of(self, host: str, port: int) -> Sequence[Any]:
        found_at, addresses = self._addresses.get((host, port), (0.0, ()))
        if not addresses or self._loop.time() - found_at > ADDRESS_SECONDS:
            addresses = await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self._addresses[host, port] = self._loop.time(), addresses
        return addresses

    def _clean(self) -> None:
        """Close what was idle for too long."""
        oldest = self._loop.time() - IDLE_SECONDS
        for idle in self._idle.values():
            for connection in [each for each in idle if each.idle_since < oldest]:
                idle.remove(connection)
                connection.abort()
        self._cleaner = self._loop.call_later(IDLE_SECONDS, self._clean) if self._open else None


@lru_cache(maxsize=64)
def _head(url: str, headers: tuple[tuple[str, str], ...], user_agent: str) -> tuple[URL, bytes]:
    """Return the server of an address, and the head of a request to it up to its length."""
    address = URL(url)
    if address.scheme not in {"http", "https"} or not address.raw_host:
        raise OSError("The address of the upstream is no address of HTTP.")
    server = address.origin()
    fields = {"Host": server.raw_authority, "User-Agent": user_agent, **dict(headers)}
    if address.user is not None and "Authorization" not in fields:
        pair = f"{address.user}:{address.password or ''}".encode()
        fields["Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    lines = [f"POST {address.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    if any(sign in line for line in lines for sign in "\r\n\0"):
        raise OSError("A header of the upstream's request has a line end.")
    return server, "".join(f"{line}\r\n" for line in lines).encode()


@lru_cache
def _default_tls() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
