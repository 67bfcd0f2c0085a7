"""What a pump gives and a response takes: pieces of a stream, few enough that a slow reader slows the pump."""

import asyncio
from collections.abc import AsyncIterator

# What may wait for a reader.
LARGEST_BACKLOG_BYTES = 256 * 1024


class Channel:
    """One stream between two tasks of one event loop."""

    def __init__(self, *, largest_backlog_bytes: int = LARGEST_BACKLOG_BYTES) -> None:
        self._largest_backlog_bytes = largest_backlog_bytes
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_ended = False
        self._given = asyncio.Event()
        self._taken = asyncio.Event()

    def give(self, piece: bytes) -> None:
        """Add a piece; `room` says when to go on."""
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        self._given.set()

    def end(self) -> None:
        """Say that no more comes."""
        self._is_ended = True
        self._given.set()

    def discard(self) -> None:
        """Drop what waits: nobody will take it."""
        self._waiting, self._waiting_bytes = [], 0
        self._taken.set()

    async def room(self, *, seconds: float) -> bool:
        """Return when more may be given: False if the reader took nothing for so long."""
        while self._waiting_bytes > self._largest_backlog_bytes:
            self._taken.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._taken.wait()
            except TimeoutError:
                return False
        return True

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give what comes, as soon as it comes."""
        while True:
            if self._waiting:
                piece = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
                self.discard()
                yield piece
            elif self._is_ended:
                return
            else:
                self._given.clear()
                await self._given.wait()
