"""Server-sent events, read piece by piece. Pure.

WHATWG HTML, "Server-sent events", 9.2.6 (read 2026-11-20). Of its fields only `data` means something to a chat stream;
a lone carriage return as the end of a line is not read, because nobody sends it and it would cost a look at every byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass

# One event or one line. A chunk of a chat stream has some hundred bytes; whoever sends a megabyte is not one.
LARGEST_EVENT_BYTES = 1024 * 1024
DONE = b"[DONE]"


class BrokenStream(Exception):
    """What arrives is not a stream of events that we would pass on."""


@dataclass(frozen=True, slots=True)
class Data:
    """One event: its data lines, joined."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that begins with a colon; servers send them to keep a connection open."""

    line: bytes


class EventReader:
    """Gives the events of a stream as soon as they are whole."""

    def __init__(self, *, largest_event_bytes: int = LARGEST_EVENT_BYTES) -> None:
        self._largest_event_bytes = largest_event_bytes
        # Grows in place: an event of a megabyte in pieces of a few bytes would be copied as often as pieces come.
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, received: bytes) -> Iterator[Data | Comment]:
        """Give what has become whole with these bytes. Raises BrokenStream for an event that is too large."""
        self._rest += received
        ended: list[bytes] = []
        if b"\n" in received:
            *ended, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
        for line in (each.removesuffix(b"\r") for each in ended):
            self._must_be_small(len(line))
            if not line:
                if self._data:
                    yield Data(b"\n".join(self._data))
                    self._data, self._data_bytes = [], 0
            elif line.startswith(b":"):
                # Readers take a lone carriage return for the end of a line, and what follows it for a field.
                yield Comment(line.replace(b"\r", b" "))
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._data_bytes += len(line)
                self._must_be_small(self._data_bytes)
        self._must_be_small(len(self._rest))

    def _must_be_small(self, size: int) -> None:
        if size > self._largest_event_bytes:
            raise BrokenStream("An event of the stream is too large.")


def show(payload: bytes) -> bytes:
    """Return one event of JSON as it is sent, on one line: there the end of a line is only a blank."""
    return b"data: " + payload.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
