"""The interface of services, which compute the answers of the engine process. One service for each kind of request."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

from transcription.speech.errors import EngineFailed, SpeechError, Stopped

logger = logging.getLogger(__name__)

SendAnswer = Callable[[str, dict[str, Any]], None]
BUSY: dict[str, Any] = {"kind": "busy"}
# Tells whether nobody needs the current work any more.
ShouldStop = Callable[[], bool]
Handler = Callable[[dict[str, Any], list[bytes], ShouldStop], dict[str, Any]]


@dataclass(slots=True)
class Request:
    """A request of a worker. client: number of the server's socket, as a byte, and ZeroMQ's
    identity of the connection that sent it last."""

    id: str
    kind: str
    client: bytes
    message: dict[str, Any]
    frames: list[bytes] = field(default_factory=list)

    @property
    def job(self) -> str:
        return str(self.message.get("job") or self.id)


class Service(Protocol):
    """Answers the requests of one kind. The server calls it in one thread; the service may answer in any.

    kind: the kind of its requests. max_frame_bytes: a connection that sends a larger frame is closed.
    """

    kind: str
    max_frame_bytes: int

    def start(self, answer: SendAnswer, fail: Callable[[BaseException], None]) -> None:
        """Start threads. answer(id, message) may be called in any thread. fail(error) ends the process."""
        ...

    def stop(self) -> None:
        """Make the threads end. The current request need not be finished."""
        ...

    def submit(self, request: Request) -> dict[str, Any] | None:
        """Queue a request, or return an immediate answer such as BUSY. Raises SpeechError for an invalid request."""
        ...

    def cancel(self, ids: Iterable[str]) -> None:
        """Drop requests that no client waits for any more. Unknown ids are ignored."""
        ...

    def health(self) -> dict[str, Any]:
        """Return figures for operators: plain JSON values."""
        ...


class SerialService:
    """A service with one thread, which answers its requests one by one.

    make_handler: called once, in that thread, at the first request. It returns the handler.
    The handler gets (message, frames, should_stop) and returns the fields of the result, or raises SpeechError. It
    should call should_stop often, and raise Stopped when that returns true: nobody waits for the answer then.
    at_once: gets (message, frames) of each request in the server's thread. It returns the fields of the result, or None
    for a request for the handler. It must be fast.
    """

    def __init__(
        self,
        kind: str,
        make_handler: Callable[[], Handler],
        *,
        max_frame_bytes: int,
        max_queued: int = 4,
        at_once: Callable[[dict[str, Any], list[bytes]], dict[str, Any] | None] = lambda *_: None,
    ) -> None:
        self._at_once = at_once
        self.kind, self.max_frame_bytes = kind, max_frame_bytes
        self._make_handler, self._max_queued = make_handler, max_queued
        self._queue: deque[Request] = deque()
        self._changed = threading.Condition()
        self._is_stopping = False
        self._running_id: str | None = None
        self._counts = {"requests": 0, "failures": 0, "stopped": 0}

    def start(self, answer: SendAnswer, fail: Callable[[BaseException], None]) -> None:
        threading.Thread(target=self._run, args=(answer,), name=self.kind, daemon=True).start()

    def stop(self) -> None:
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def submit(self, request: Request) -> dict[str, Any] | None:
        result = self._at_once(request.message, request.frames)
        if result is not None:
            return {"kind": "result", **result}
        with self._changed:
            if len(self._queue) >= self._max_queued:
                return BUSY
            self._queue.append(request)
            self._changed.notify_all()
        return None

    def cancel(self, ids: Iterable[str]) -> None:
        gone = set(ids)
        with self._changed:
            self._queue = deque(one for one in self._queue if one.id not in gone)
            if self._running_id in gone:
                self._running_id = None

    def health(self) -> dict[str, Any]:
        return {"waiting": len(self._queue), "is_working": self._running_id is not None, **self._counts}

    def _run(self, answer: SendAnswer) -> None:
        handler: Handler | None = None
        while (request := self._next()) is not None:
            self._counts["requests"] += 1
            try:
                handler = handler or self._make_handler()
                result = {"kind": "result", **handler(request.message, request.frames, self._should_stop(request.id))}
            except Stopped as error:
                self._counts["stopped"] += 1
                result = {"kind": "error", "error": error.to_dict()}
            except SpeechError as error:
                self._counts["failures"] += 1
                result = {"kind": "error", "error": error.to_dict()}
            except Exception:  # one bad request must not end the process
                self._counts["failures"] += 1
                logger.exception("%s crashed", self.kind)
                result = {"kind": "error", "error": EngineFailed().to_dict()}
            self._running_id = None
            answer(request.id, result)

    def _next(self) -> Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._is_stopping)
            if self._is_stopping:
                return None
            request = self._queue.popleft()
            self._running_id = request.id
            return request

    def _should_stop(self, request_id: str) -> ShouldStop:
        """Return a function that tells whether the request was cancelled, or the process is stopping."""
        return lambda: self._running_id != request_id or self._is_stopping
