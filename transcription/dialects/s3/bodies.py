"""Takes request bodies of any size from an ASGI server: into a file by another thread, or a small one into memory.

While a thread writes a batch of pieces and adds to the checksum, the event loop receives the next one. So a body takes
the memory of two batches, and the loop does not wait for the disk.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

from transcription.dialects.s3.wire import Fault, bad_request
from transcription.recordings.incoming import IncomingFile

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


async def store(receive: Receive, file: IncomingFile, *, size_bytes: int) -> None:
    """Write the body to the file. Raises Fault for another size, Disconnected, and what `IncomingFile.write` raises.

    A thread may still write when it raises; `IncomingFile.close` waits for it.
    """
    received = 0
    is_complete = False
    writing: asyncio.Future[None] | None = None
    while not is_complete:
        pieces: list[bytes] = []
        batch_bytes = 0
        while not is_complete and batch_bytes < BATCH_BYTES and len(pieces) < BATCH_PIECES:
            piece, is_complete = await _next_piece(receive)
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
    while not is_complete:
        piece, is_complete = await _next_piece(receive)
        body += piece
        if len(body) > max_bytes:
            raise bad_request("MaxMessageLengthExceeded", f"The body may have {max_bytes} bytes at most.")
    return bytes(body)


async def _next_piece(receive: Receive) -> tuple[bytes, bool]:
    """Return (bytes, whether they are the last ones)."""
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            message = await receive()
    except TimeoutError as error:
        raise Fault("RequestTimeout", HTTPStatus.BAD_REQUEST, "The body did not arrive in time.") from error
    if message["type"] != "http.request":
        raise Disconnected
    return message.get("body", b""), not message.get("more_body", False)


def _retrieve(writing: "asyncio.Future[None]") -> None:
    """Keep asyncio from logging the fault of a thread that nobody waits for any more, since another one came first."""
    if not writing.cancelled():
        writing.exception()
