"""Server-sent events, parsed from bytes as they arrive. Pure.

Source: WHATWG HTML, "Server-sent events", 9.2.6 (read 2026-11-20). A chat stream uses the fields `data` and `event`;
other fields are skipped. A lone carriage return does not end a line here, although the standard allows it: no server
sends one, and the check would slow down every byte.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

# The limit for one event and for one line. A chunk of a chat stream has some hundred bytes.
MAX_EVENT_BYTES = 1024 * 1024
DONE = b"[DONE]"
# A comment that keeps the connection to a client open. Every parser of events skips it.
KEEP_ALIVE = b": keep-alive\n\n"


class BrokenStream(Exception):
    """The received bytes are not a stream of events that we would pass on."""


@dataclass(frozen=True, slots=True)
class Data:
    """One event: its data lines, joined by newlines, and its name, which few servers send."""

    payload: bytes
    name: bytes = field(default=b"", compare=False)


@dataclass(frozen=True, slots=True)
class Comment:
    """A line that begins with a colon. Servers send comments to keep a connection open."""

    line: bytes


class EventReader:
    """Parses a stream into events."""

    def __init__(self, *, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_event_bytes = max_event_bytes
        # A bytearray grows in place. Bytes would be copied for each received piece of a large event.
        self._rest = bytearray()
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._name = b""

    def feed(self, received: bytes) -> Iterator[Data | Comment]:
        """Yield the events and comments that these bytes complete. Raises BrokenStream for an event over the limit."""
        self._rest += received
        ended: list[bytes] = []
        if b"\n" in received:
            *ended, rest = bytes(self._rest).split(b"\n")
            self._rest = bytearray(rest)
        for line in (each.removesuffix(b"\r") for each in ended):
            self._check_size(len(line))
            if not line:
                yield from self._complete()
            elif line.startswith(b":"):
                # A client's parser ends the line at a lone carriage return and would read the rest as a field.
                yield Comment(line.replace(b"\r", b" "))
            elif line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._data_bytes += len(line)
                self._check_size(self._data_bytes)
            elif line.startswith(b"event:"):
                self._name = line[6:].strip()
            elif line.startswith(b"error:"):
                # No field of the standard. llama.cpp's server sent its errors like this until September 2025, and
                # [DONE] after them (ggml-org/llama.cpp, pull request 16109).
                self._data.append(line[6:].strip())
                self._name = b"error"
        self._check_size(len(self._rest))

    def finish(self) -> Iterator[Data | Comment]:
        """Yield the event that the end of the stream completes. The standard drops it, but some servers omit the last
        line end, and the event may state the usage."""
        yield from self.feed(b"\n\n")

    def _complete(self) -> Iterator[Data]:
        if self._data:
            yield Data(b"\n".join(self._data), self._name)
            self._data, self._data_bytes = [], 0
        self._name = b""

    def _check_size(self, size: int) -> None:
        if size > self._max_event_bytes:
            raise BrokenStream("An event of the stream is too large.")


def format_event(payload: bytes) -> bytes:
    """Return one event with a JSON payload on one line. In JSON, line ends are white space, so blanks replace them."""
    return b"data: " + payload.replace(b"\n", b" ").replace(b"\r", b" ") + b"\n\n"
