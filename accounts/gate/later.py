"""A response that is known later, when neither the thread of its view nor a database connection is held any more.

A view returns a `LaterResponse` in place of its response. It passes the middleware like any other. Then the handler
(`voxsite/waiting_handler.py`) awaits `respond`, sends what it returns, calls `note_sent` when all of it is sent, and
calls `end` when the request is over.
"""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass

from django.http import HttpResponseBase, StreamingHttpResponse

# Where the scope of a request has its `Connection`: `voxsite/serve/http_protocol.py` puts it there.
CONNECTION = "voxsite.connection"


@dataclass(slots=True)
class Connection:
    """What the server knows of a client's connection. It knows of the end before any task of the request does."""

    is_lost: bool = False


async def _nothing() -> AsyncIterator[bytes]:
    raise AssertionError("A LaterResponse is resolved by its handler and never sent itself.")
    yield b""


class LaterResponse(StreamingHttpResponse, ABC):
    """Stands for a response that is not known yet.

    It counts as a stream, so the middleware gives the thread and the database connection of the request back
    (`voxsite/middleware.py`). Headers that are set on it are for the response that comes.
    """

    def __init__(self) -> None:
        super().__init__(_nothing())

    @abstractmethod
    async def respond(self) -> HttpResponseBase:
        """Return the response. Cancelled when the client leaves. Never raises another exception."""

    @abstractmethod
    def end(self) -> None:
        """Learn that the request is over: it was answered, or the client left. Called once, in the event loop."""

    def note_sent(self) -> None:
        """Learn that the server has taken the whole response. Called before `end`, in the event loop."""

    def hand_over(self, response: HttpResponseBase) -> HttpResponseBase:
        """Give the response what the middleware gave this one: headers, and what is closed at the end."""
        for name, value in self.items():
            if name != "Content-Type":
                response.headers.setdefault(name, value)
        response._resource_closers.extend(self._resource_closers)  # type: ignore[attr-defined]  # the stubs lack it
        return response
