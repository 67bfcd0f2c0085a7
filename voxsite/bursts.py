"""Lets few uploads of one caller run at once. The others of a burst wait in the event loop, in order.

Each request that Django answers has a thread of its own. Of 300 uploads that came together, 273 worked at once: the
web process had 230 MB of its own then, and did not answer `/health` for ten seconds on a busy machine. With 16 at once
it had 110 MB (measured with two cores). A place is held while the view runs, not while a call waits for its transcript,
nor while a body comes in or an answer goes out.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

# Of one caller on one host, whose web processes divide them: what they protect is its memory and its cores. More than
# the files of one caller that are probed at once (transcription/recordings/probe_lanes.py).
PLACES = 16
# A body of these types and at most so many bytes is no file. A recording in JSON is larger, or as quick as one.
SMALL_TYPES = ("application/json", "application/x-www-form-urlencoded")
SMALL_BYTES = 64 * 1024


@dataclass(eq=False)
class _Line:
    """The requests of one caller: those that run, and those that wait for a place."""

    places: asyncio.Semaphore
    requests: int = field(default=0)


class Bursts:
    """The places of all callers of a process."""

    def __init__(self, places: int = PLACES) -> None:
        self._places = places
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """Wait for a place of this caller, and hold it for the time of the context. "" waits for none."""
        if not caller:
            yield
            return
        line = self._lines.setdefault(caller, _Line(asyncio.Semaphore(self._places)))
        line.requests += 1
        try:
            async with line.places:
                yield
        finally:
            line.requests -= 1
            if not line.requests:
                del self._lines[caller]


def caller_of(request: Any) -> str:
    """Return whose burst a request is part of: "" for what waits for no place, all but posts of files with a key.

    A cancel, or a token for a visitor, does not wait behind the files of its key. Only the key itself is looked at, not
    whether it is a good one: that is for the view to find out.
    """
    if request.method != "POST" or _is_small(request):
        return ""
    return str(request.headers.get("X-API-Key") or request.headers.get("Authorization") or "")


def _is_small(request: Any) -> bool:
    try:
        size_bytes = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        size_bytes = 0
    return not size_bytes or (size_bytes <= SMALL_BYTES and request.content_type in SMALL_TYPES)
