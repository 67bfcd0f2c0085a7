"""Takes request bodies of any size from an ASGI server: into a file by another thread, or a small one into memory.

While a thread writes a batch of pieces and adds to the checksum, the event loop receives the next one. So a body takes
the memory of two batches, and the loop does not wait for the disk.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

from accounts.gate.body_rate import MIN_BYTES, WINDOW_SECONDS, BodyRate
from transcription.dialects.s3.wire import Fault, bad_request
from transcription.recordings.incoming import Gone, IncomingFile

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
T = TypeVar("T")

BATCH_BYTES = 1024**2
# Bytes that come one by one would fill a list of objects that are much larger than they are.
BATCH_PIECES = 256
# A client that sends nothing for this long is gone, or keeps the connection busy on purpose (slow loris).
IDLE_SECONDS = 60.0
# Of their own, so that a slow disk delays uploads only.
_threads = ThreadPoolExecutor(8, thread_name_prefix="upload")
# For what may take half a minute: a file that is moved to another volume, or whose parts were all sent twice.
_slow_threads = ThreadPoolExecutor(4, thread_name_prefix="slow-upload")


class Disconnected(Exception):
    """The client left before the end of its body."""


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Return what the call returns, made in a thread for files."""
    return await asyncio.get_running_loop().run_in_executor(_threads, call, *args)


async def in_slow_thread(call: Callable[..., T], *args: Any) -> T:
    """Return what the call returns, made in a thread that neither other uploads nor the site need."""
    return await asyncio.get_running_loop().run_in_executor(_slow_threads, call, *args)


async def store(receive: Receive, file: IncomingFile, *, size_bytes: int, max_seconds: float | None = None) -> None:
    """Write the body to the file.

    max_seconds: how long it may take, however fast it comes; None for any time.
    Raises Fault for another size and for a body that drips, Disconnected, Gone after max_seconds, and what
    `IncomingFile.write` raises. A thread may still write when it raises; `IncomingFile.close` waits for it.
    """
    try:
        async with asyncio.timeout(max_seconds):
            await _store(receive, file, size_bytes=size_bytes)
    except TimeoutError as error:
        raise Gone from error


async def _store(receive: Receive, file: IncomingFile, *, size_bytes: int) -> None:
    received = 0
    is_complete = False
    pieces_of_body = _Pieces(receive)
    writing: asyncio.Future[None] | None = None
    while not is_complete:
        pieces: list[bytes] = []
        batch_bytes = 0
        while not is_complete and batch_bytes < BATCH_BYTES and len(pieces) < BATCH_PIECES:
            piece, is_complete = await pieces_of_body.next()
            pieces.append(piece)
            batch_bytes += len(piece)
        received += batch_bytes
        if received > size_bytes or (is_complete and received < size_bytes):
            code = "EntityTooLarge" if received > size_bytes else "IncompleteBody"
            raise bad_request(code, f"The body must have {size_bytes} bytes.")
        if writing is not None:
            await writing
        writing = asyncio.get_running_loop().run_in_executor(_threads, file.write, pieces)
        writing.add_done_callback(_retrieve)
    if writing is not None:
        await writing


async def read(receive: Receive, *, max_bytes: int) -> bytes:
    """Return a small body. Raises Fault for a larger one, and Disconnected."""
    body = bytearray()
    is_complete = False
    pieces = _Pieces(receive)
    while not is_complete:
        piece, is_complete = await pieces.next()
        body += piece
        if len(body) > max_bytes:
            raise bad_request("MaxMessageLengthExceeded", f"The body may have {max_bytes} bytes at most.")
    return bytes(body)


class _Pieces:
    """The pieces of a body, as long as they come."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._rate = BodyRate(min_bytes=MIN_BYTES, window_seconds=WINDOW_SECONDS)

    async def next(self) -> tuple[bytes, bool]:
        """Return (bytes, whether they are the last ones). Raises Fault when too few come, and Disconnected."""
        waits_since = time.monotonic()
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await self._receive()
        except TimeoutError as error:
            raise _too_slow() from error
        if message["type"] != "http.request":
            raise Disconnected
        piece, is_last = message.get("body", b""), not message.get("more_body", False)
        waited_seconds = time.monotonic() - waits_since
        if self._rate.is_too_slow(size_bytes=len(piece), waited_seconds=waited_seconds) and not is_last:
            raise _too_slow()
        return piece, is_last


def _too_slow() -> Fault:
    message = f"The body came too slowly: less than {MIN_BYTES} bytes in {WINDOW_SECONDS:.0f} seconds. Send it again."
    return Fault("RequestTimeout", HTTPStatus.REQUEST_TIMEOUT, message)


def _retrieve(writing: "asyncio.Future[None]") -> None:
    """Keep asyncio from logging the fault of a thread that nobody waits for any more, since another one came first."""
    if not writing.cancelled():
        writing.exception()
