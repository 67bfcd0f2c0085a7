"""Takes request bodies of any size from an ASGI server: into a file by another thread, or a small one into memory.

While a thread writes a batch of pieces and adds to the checksum, the event loop receives the next one. So a body takes
the memory of two batches, and the loop does not wait for the disk.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
# Of their own, so that a slow disk delays uploads only.
_threads = ThreadPoolExecutor(8, thread_name_prefix="upload")
# For what may take half a minute: a file that is moved to another volume, or whose parts were all sent twice.
_slow_threads = ThreadPoolExecutor(4, thread_name_prefix="slow-upload")


class Disconnected(Exception):
    """The client left before the end of its body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How slowly a body may come.

    idle_seconds: a client that sends nothing for this long is gone, or keeps the connection busy on purpose (slow
    loris). min_bytes: what must come in each window.
    """

    idle_seconds: float = 60.0
    min_bytes: int = MIN_BYTES
    window_seconds: float = WINDOW_SECONDS


PATIENCE = Patience()


class Body:
    """The body of one request, piece by piece, as long as it comes."""

    def __init__(self, receive: Receive, *, patience: Patience = PATIENCE) -> None:
        self._receive = receive
        self._patience = patience
        self._rate = BodyRate(min_bytes=patience.min_bytes, window_seconds=patience.window_seconds)
        self.is_complete = False

    async def next(self) -> bytes:
        """Return the next piece. Raises Fault when too few bytes come, and Disconnected."""
        waits_since = time.monotonic()
        try:
            async with asyncio.timeout(self._patience.idle_seconds):
                message = await self._receive()
        except TimeoutError as error:
            raise self._too_slow() from error
        if message["type"] != "http.request":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        self.is_complete = not message.get("more_body", False)
        waited_seconds = time.monotonic() - waits_since
        if self._rate.is_too_slow(size_bytes=len(piece), waited_seconds=waited_seconds) and not self.is_complete:
            raise self._too_slow()
        return piece

    def _too_slow(self) -> Fault:
        least = f"less than {self._patience.min_bytes} bytes in {self._patience.window_seconds:.0f} seconds"
        return Fault("RequestTimeout", HTTPStatus.REQUEST_TIMEOUT, f"The body came too slowly: {least}. Send it again.")


async def in_thread(call: Callable[..., T], *args: Any) -> T:
    """Return what the call returns, made in a thread for files."""
    return await asyncio.get_running_loop().run_in_executor(_threads, call, *args)


async def in_slow_thread(call: Callable[..., T], *args: Any) -> T:
    """Return what the call returns, made in a thread that neither other uploads nor the site need."""
    return await asyncio.get_running_loop().run_in_executor(_slow_threads, call, *args)


async def store(body: Body, file: IncomingFile, *, size_bytes: int, max_seconds: float | None = None) -> None:
    """Write the body to the file.

    max_seconds: how long it may take, however fast it comes; None for any time.
    Raises Fault for another size and for a body that drips, Disconnected, Gone after max_seconds, and what
    `IncomingFile.write` raises. A thread may still write when it raises; `IncomingFile.close` waits for it.
    """
    try:
        async with asyncio.timeout(max_seconds):
            await _store(body, file, size_bytes=size_bytes)
    except TimeoutError as error:
        raise Gone from error


async def _store(body: Body, file: IncomingFile, *, size_bytes: int) -> None:
    received = 0
    writing: asyncio.Future[None] | None = None
    while not body.is_complete:
        pieces: list[bytes] = []
        batch_bytes = 0
        while not body.is_complete and batch_bytes < BATCH_BYTES and len(pieces) < BATCH_PIECES:
            piece = await body.next()
            pieces.append(piece)
            batch_bytes += len(piece)
        received += batch_bytes
        if received > size_bytes or (body.is_complete and received < size_bytes):
            code = "EntityTooLarge" if received > size_bytes else "IncompleteBody"
            raise bad_request(code, f"The body must have {size_bytes} bytes.")
        if writing is not None:
            await writing
        writing = asyncio.get_running_loop().run_in_executor(_threads, file.write, pieces)
        writing.add_done_callback(_retrieve)
    if writing is not None:
        await writing


async def read(body: Body, *, max_bytes: int) -> bytes:
    """Return a small body. Raises Fault for a larger one, and Disconnected."""
    content = bytearray()
    while not body.is_complete:
        content += await body.next()
        if len(content) > max_bytes:
            raise bad_request("MaxMessageLengthExceeded", f"The body may have {max_bytes} bytes at most.")
    return bytes(content)


def _retrieve(writing: "asyncio.Future[None]") -> None:
    """Keep asyncio from logging the fault of a thread that nobody waits for any more, since another one came first."""
    if not writing.cancelled():
        writing.exception()
