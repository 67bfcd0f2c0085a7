"""The client of engine processes, used by workers. Requests are answered in any order.

No request is lost when an engine process dies: its successor does not know the request, so the client sends it again.
With several processes the client fails over to another one. Not safe in threads. It may be created before a fork, since
it connects on first use, and a forked child opens its own connection.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import zmq

from transcription.speech import errors
from transcription.speech.engines import protocol

PING_SECONDS = 0.5
# The longest wait between two calls of `should_stop`.
POLL_SECONDS = 0.25
# An engine may hold the interpreter's lock for seconds while it computes. After this silence the client reconnects ...
RECONNECT_SECONDS = 20.0
# ... or fails over, if there is another process.
FAILOVER_SECONDS = 5.0
BUSY_RETRY_SECONDS = 0.25


@dataclass(slots=True)
class _PendingRequest:
    frames: list[bytes]
    is_sent: bool = False


class EngineClient:
    """Sends requests to the engine process at the first of `addresses`, and to the next one if that is silent.

    timeout_seconds: EngineUnavailable is raised after this time without any process, or without one that knows our
    requests. There is no limit while a process works on requests, ours or others': the process itself detects work that
    is stuck (`recogniser.STUCK_SECONDS`).
    should_stop: called at least every half second while waiting. When it returns true, `receive` raises Stopped; an
    exception passes through `receive`.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        *,
        timeout_seconds: float,
        failover_seconds: float = FAILOVER_SECONDS,
        should_stop: Callable[[], bool] = lambda: False,
        model: str = "",
    ) -> None:
        for address in addresses:
            protocol.socket_path(address)
        self._addresses = list(addresses)
        self._timeout_seconds, self._failover_seconds = timeout_seconds, failover_seconds
        self._should_stop, self._model = should_stop, model
        self._connection: Connection | None = None
        self._pending: dict[str, _PendingRequest] = {}
        self._resend_at = self._pinged_at = 0.0
        self._last_heard_at = self._last_known_at = time.monotonic()

    def __len__(self) -> int:
        """Return the number of requests without an answer."""
        return len(self._pending)

    def submit(self, message: dict[str, Any], frames: Sequence[bytes]) -> str:
        """Queue a request and return its id. Does not wait: `receive` sends a request that cannot be sent at once."""
        if not self._pending:
            self._last_heard_at = self._last_known_at = time.monotonic()
        request_id = secrets.token_hex(12)
        self._pending[request_id] = _PendingRequest([protocol.pack({**message, "id": request_id}), *frames])
        self._send(wait_seconds=0.0)
        return request_id

    def receive(self, *, wait_seconds: float = 0.0) -> tuple[str, dict[str, Any]] | None:
        """Return (id, answer) of a request, None if no answer came in time.

        Raises the error in the answer, Stopped (see `should_stop`) and EngineUnavailable.
        """
        deadline = time.monotonic() + wait_seconds
        while True:
            if self._should_stop():
                raise errors.Stopped
            now = time.monotonic()
            if now - self._last_known_at > self._timeout_seconds:
                raise errors.EngineUnavailable
            step = max(0.0, min(POLL_SECONDS, deadline - now, self._last_known_at + self._timeout_seconds - now))
            self._send(wait_seconds=step)
            self._ping(now)
            message = self._connected().receive(wait_seconds=max(0.0, min(step, deadline - time.monotonic())))
            answer = self._handle(message) if message is not None else None
            if answer is not None:
                return answer
            if message is None:
                self._fail_over()
            if time.monotonic() >= deadline and message is None:
                return None

    def ask(self, message: dict[str, Any], frames: Sequence[bytes] = ()) -> dict[str, Any]:
        """Send a request and return its result. The client must have no other requests. Raises like `receive`."""
        self.submit(message, frames)
        while (answer := self.receive(wait_seconds=60.0)) is None:
            pass
        return answer[1]

    def cancel(self) -> None:
        """Cancel all requests, here and in the engine process."""
        if self._pending and self._connection is not None and self._connection.pid == os.getpid():
            self._connection.send([protocol.pack({"kind": "cancel", "ids": list(self._pending)})], wait_seconds=0.0)
        self._pending.clear()

    def close(self) -> None:
        """Close the connection. The next call opens a new one."""
        if self._connection is not None and self._connection.pid == os.getpid():
            self._connection.close()
        self._connection = None

    def _send(self, *, wait_seconds: float) -> None:
        if time.monotonic() < self._resend_at:
            return
        for request in self._pending.values():
            if not request.is_sent:
                if not self._connected().send(request.frames, wait_seconds=wait_seconds):
                    return
                request.is_sent, wait_seconds = True, 0.0

    def _ping(self, now: float) -> None:
        if now - self._pinged_at >= PING_SECONDS:
            sent = [request_id for request_id, request in self._pending.items() if request.is_sent]
            self._connected().ping(about=sent, model=self._model)
            self._pinged_at = now

    def _handle(self, message: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
        self._last_heard_at = time.monotonic()
        request_id = str(message.get("id"))
        if message.get("kind") == "pong":
            # Messages keep their order. A request that the process neither knows nor has answered did not arrive.
            for unknown in message["unknown"]:
                if unknown in self._pending:
                    self._pending[unknown].is_sent = False
            self._last_known_at = self._last_heard_at
            return None
        if request_id not in self._pending:
            return None
        if message["kind"] == "busy":
            self._pending[request_id].is_sent = False
            self._resend_at = time.monotonic() + BUSY_RETRY_SECONDS
            return None
        self._last_known_at = self._last_heard_at
        del self._pending[request_id]
        if message["kind"] == "error":
            raise errors.from_dict(message["error"], otherwise=errors.EngineFailed)
        return request_id, message

    def _fail_over(self) -> None:
        """After too long a silence, connect to the next address, or again to the only one."""
        limit = self._failover_seconds if len(self._addresses) > 1 else RECONNECT_SECONDS
        if self._pending and time.monotonic() - self._last_heard_at > limit:
            self.close()
            self._addresses.append(self._addresses.pop(0))
            for request in self._pending.values():
                request.is_sent = False
            self._last_heard_at = time.monotonic()

    def _connected(self) -> Connection:
        if self._connection is not None and self._connection.pid != os.getpid():
            self._connection = None  # a forked child must not use the socket of its parent
        if self._connection is None:
            self._connection = Connection(self._addresses[0])
        return self._connection


class Connection:
    """One DEALER socket. pyzmq makes a new context after a fork."""

    def __init__(self, address: str) -> None:
        self.pid = os.getpid()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 200)  # time to send a last "cancel"
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing while no process is connected
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._socket.connect(address)

    def send(self, frames: list[bytes], *, wait_seconds: float) -> bool:
        """Send the frames; tell whether a process was connected to take them."""
        if not self._socket.poll(round(wait_seconds * 1000), zmq.POLLOUT):
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True

    def ping(self, *, about: Sequence[str] = (), model: str = "", wait_seconds: float = 0.0) -> bool:
        """Send a ping about these requests; tell whether a process was connected to take it."""
        message = {"kind": "ping", "id": "", "about": list(about), "model": model}
        return self.send([protocol.pack(message)], wait_seconds=wait_seconds)

    def receive(self, *, wait_seconds: float) -> dict[str, Any] | None:
        """Return the next message, None if none came in time."""
        if not self._socket.poll(round(wait_seconds * 1000), zmq.POLLIN):
            return None
        return protocol.unpack(self._socket.recv_multipart()[0])

    def close(self) -> None:
        """Close the socket. In a forked child pyzmq does not touch the socket of the parent."""
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()


def health(address: str, timeout_seconds: float, *, model: str = "") -> dict[str, Any] | None:
    """Return the health report of an engine process, None if it does not answer in time.

    model: a model to preload. Keys of the report: see `server._Server._health` and `recogniser.Recogniser.health`.
    """
    deadline = time.monotonic() + timeout_seconds
    connection = Connection(address)
    try:
        is_sent = False
        while (left := deadline - time.monotonic()) > 0:
            if not is_sent:
                is_sent = connection.ping(model=model, wait_seconds=left)
                continue
            answer = connection.receive(wait_seconds=left)
            if answer is not None and answer.get("kind") == "pong":
                return answer
        return None
    finally:
        connection.close()
