"""uvicorn's HTTP protocol, hardened for the open internet in three ways. It also says at once who has left.

* A response reaches the client even if the request was not read to its end. If a socket is closed with unread data,
  the kernel sends a reset. A client that is still sending then gets "connection reset", and often never reads the
  response that is already in its buffer. Here the connection is half-closed first, and further data is dropped for a
  moment. A client whose peer has half-closed gets "broken pipe" instead (Linux, `tcp_reset`). After that, clients still
  read the response: urllib3 and requests for this error only, curl and httpcore in any case.
* The head of a request is limited in size and time. httptools limits neither.
* The connection of a client that reads nothing of its response is aborted. Closing would first send what is buffered.
  The attack: ask for megabytes and read none. The server would keep them as long as the client's kernel acknowledges
  probes, which is without end.

This relies on the names transport, cycle.more_body, flow and send_400_response inside uvicorn 0.54. The tests would
fail without them.
"""

import asyncio
import fcntl
import sys
import termios
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from voxsite import env

# How much of a refused body is read, and how long the client may read the response before the connection is closed.
LINGER_BYTES = 256 * 1024
LINGER_SECONDS = 1.0
MAX_HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 30.0
# ": " and the end of the line.
FIELD_SIGNS = 4
# Each read starts this time again, so a slow reader is not cut off (as nginx's send_timeout).
STALL_SECONDS = env.integer("VOXSITE_WEB_STALL_SECONDS", default=60, minimum=1)


# Where a request's scope has its connection. `accounts.gate.later`, which stands above this package, has the name too.
CONNECTION = "voxsite.connection"


@dataclass(slots=True)
class Connection:
    """What requests are told of a connection: `accounts.gate.later.Connection`."""

    is_lost: bool = False


class _LingeringTransport:
    """A transport whose close() lets the client read the response first."""

    def __init__(self, transport: asyncio.Transport, protocol: "HttpProtocol") -> None:
        self._transport = transport
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        return self._protocol.is_lingering or self._transport.is_closing()

    def close(self) -> None:
        if self.is_closing():
            return
        if self._protocol.is_request_unread() and self._transport.can_write_eof():
            self._protocol.linger(self._transport)
        else:
            self._transport.close()
            self._protocol.watch_reader(self._transport)


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lingering: asyncio.Transport | None = None
        self._lingered_bytes = 0
        self._is_in_head = True
        self._head_bytes = 0
        self._field_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stall_timer: asyncio.TimerHandle | None = None
        self._connection = Connection()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(_LingeringTransport(transport, self))  # type: ignore[arg-type]  # it passes all on
        self._start_timer(HEAD_SECONDS, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.is_lost = True
        self._stop_timer()
        super().connection_lost(exc)
        self._forget_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.watch_reader(self.transport)

    def resume_writing(self) -> None:
        # A closing connection still sends the rest of its buffer.
        if not self.transport.is_closing():
            self._forget_reader()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._lingering is not None:
            self._lingered_bytes += len(data)
            if self._lingered_bytes > LINGER_BYTES:
                # Only stop reading. Closing now could reset the connection before a fast sender has read the response
                # (curl, one in ten).
                self.flow.pause_reading()
            return
        if self._is_in_head:
            self._head_bytes += len(data)
        # A head that comes in one piece with its end is measured by its fields: `on_url`, `on_header`.
        super().data_received(data)
        if self._is_in_head and self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # Not known to uvicorn's type of a scope. ASGI allows names of one's own.
        cast("dict[str, Any]", self.scope)[CONNECTION] = self._connection
        self._is_in_head = True
        self._field_bytes = 0
        if self._timer is None:
            self._start_timer(HEAD_SECONDS, self.transport.close)

    def on_url(self, url: bytes) -> None:
        self._count_field(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count_field(len(name) + len(value) + FIELD_SIGNS)
        super().on_header(name, value)

    def _count_field(self, byte_count: int) -> None:
        """Raise HttpParserError, which uvicorn answers with 400, if the head has become too large."""
        self._field_bytes += byte_count
        if self._field_bytes > MAX_HEAD_BYTES:
            raise httptools.HttpParserError("The head of the request is too large.")

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    @property
    def is_lingering(self) -> bool:
        """Whether the response was sent and the rest of the request is being dropped."""
        return self._lingering is not None

    def is_request_unread(self) -> bool:
        """Return whether the client may still be sending."""
        if self._is_in_head:
            return self._head_bytes > 0
        return self.cycle is not None and self.cycle.more_body

    def linger(self, transport: asyncio.Transport) -> None:
        """Half-close the connection after the response, and drop further data, within limits."""
        self._lingering = transport
        transport.write_eof()
        self.flow.resume_reading()
        self._start_timer(LINGER_SECONDS, lambda: self._end_lingering(transport))

    def watch_reader(self, transport: asyncio.Transport) -> None:
        """Abort the connection if the client reads nothing of the buffer. Call it when nothing more will be written."""
        self._forget_reader()
        if transport.get_write_buffer_size():
            self._stall_timer = self.loop.call_later(STALL_SECONDS, self._hang_up, transport, _untaken_bytes(transport))

    def _hang_up(self, transport: asyncio.Transport, untaken_bytes: int) -> None:
        if _untaken_bytes(transport) < untaken_bytes:
            self.watch_reader(transport)
        else:
            # close() would wait until the client has read the buffer.
            transport.abort()

    def _forget_reader(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _end_lingering(self, transport: asyncio.Transport) -> None:
        transport.close()
        self.watch_reader(transport)

    def _start_timer(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _untaken_bytes(transport: asyncio.Transport) -> int:
    """Return how many bytes the client's kernel has not acknowledged: those in our buffer and in our kernel's.

    Our buffer alone is not enough. Our kernel takes more only when a third of its own buffer is free, which is a
    megabyte and more. So a client that reads 20 KB each second, such as an audio player, would seem to read nothing
    for a minute.
    """
    waiting_bytes = transport.get_write_buffer_size()
    if sys.platform != "linux":
        return waiting_bytes
    # SIOCOUTQ of tcp(7). The terminal headers have the same number under this name.
    unacknowledged = fcntl.ioctl(transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
    return waiting_bytes + int.from_bytes(unacknowledged, sys.byteorder)
