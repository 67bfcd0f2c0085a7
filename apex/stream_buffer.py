"""Bounded byte buffer between the upstream task and the HTTP response; a slow client applies back-pressure. Pure."""

import asyncio
from collections.abc import AsyncIterator

MAX_BUFFERED_BYTES = 256 * 1024


class StreamBuffer:
    """The buffer of one stream. Producer and consumer are two tasks of one event loop.

    max_bytes: with more bytes than this in the buffer, `wait_for_space` waits.
    """

    def __init__(self, *, max_bytes: int = MAX_BUFFERED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._chunks: list[bytes] = []
        self._size_bytes = 0
        self._is_ended = False
        self._was_filled = asyncio.Event()
        self._was_emptied = asyncio.Event()

    @property
    def is_empty(self) -> bool:
        return not self._chunks

    def put(self, chunk: bytes) -> None:
        """Add a chunk, even to a full buffer. The producer calls `wait_for_space` between chunks."""
        self._chunks.append(chunk)
        self._size_bytes += len(chunk)
        self._was_filled.set()

    def end(self) -> None:
        """Mark the end of the stream: `chunks` ends when the buffer is empty."""
        self._is_ended = True
        self._was_filled.set()

    def discard(self) -> None:
        """Empty the buffer."""
        self._chunks, self._size_bytes = [], 0
        self._was_emptied.set()

    async def wait_for_space(self, *, seconds: float) -> bool:
        """Wait until the buffer has space. Returns False if the consumer took nothing for that many seconds."""
        while self._size_bytes > self._max_bytes:
            self._was_emptied.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._was_emptied.wait()
            except TimeoutError:
                return False
        return True

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the content as it arrives. Chunks that are in the buffer together are yielded as one."""
        while True:
            if self._chunks:
                chunk = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self.discard()
                yield chunk
            elif self._is_ended:
                return
            else:
                self._was_filled.clear()
                await self._was_filled.wait()
