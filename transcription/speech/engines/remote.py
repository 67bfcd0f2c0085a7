"""A worker's side of the engine process: looks like an engine, holds no model.

Loses nothing when the engine process dies: the next one does not know the request, and it is sent again. Not safe
for threads; may be made before a fork, since it connects on first use and anew in a forked child.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import zmq

from transcription.speech import errors
from transcription.speech.engines import protocol
from transcription.speech.engines.base import Recognition
from transcription.speech.options import TranscriptionOptions

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Samples = npt.NDArray[np.float32]

TIMEOUT_SECONDS = 300.0
PING_SECONDS = 0.5
# An engine that computes may hold its interpreter's lock for seconds. Without a word for this long, connect anew.
SILENCE_SECONDS = 20.0
BUSY_SECONDS = 0.5


class RemoteEngine:
    """Implements `engines.base.Engine` by asking the process at `address` ("ipc://" and a path).

    timeout_seconds: how long one call may take in all, engine restarts and a full queue included.
    Every member raises EngineUnavailable when no engine process answers before that.
    """

    def __init__(self, address: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        protocol.socket_path(address)
        self._address, self._timeout_seconds = address, timeout_seconds
        self._connection: _Connection | None = None
        self._described: dict[str, Any] | None = None

    @property
    def name(self) -> str:
        return str(self._describe()["name"])

    @property
    def languages(self) -> frozenset[str] | None:
        languages = self._describe()["languages"]
        return None if languages is None else frozenset(languages)

    @property
    def max_clip_ms(self) -> int:
        return int(self._describe()["max_clip_ms"])

    @property
    def pause_ms(self) -> int:
        return int(self._describe()["pause_ms"])

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._describe()["notes"])

    @property
    def honours(self) -> frozenset[str]:
        return frozenset(self._describe()["honours"])

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """See `Engine.recognise`. Also raises what the engine raised, rebuilt."""
        if not clips:
            return []
        request_id = secrets.token_hex(12)
        message = {"kind": "recognise", "id": request_id, "options": options.to_dict()}
        packed = protocol.pack_clips(clips)
        protocol.check_size(packed)
        answer = self._ask(request_id, [protocol.pack(message), *packed])
        if answer["kind"] == "error":
            raise errors.from_dict(answer["error"], otherwise=errors.EngineFailed)
        heard = [protocol.recognition_from_list(one) for one in answer["recognitions"]]
        if len(heard) != len(clips):
            raise errors.EngineFailed
        return heard

    def close(self) -> None:
        """Let the connection go; the next call makes a new one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _ask(self, request_id: str, frames: list[bytes]) -> dict[str, Any]:
        """Send the request, again if need be, until its answer comes. Raises EngineUnavailable at the deadline."""
        deadline = time.monotonic() + self._timeout_seconds
        is_sent = False
        attempt = 0
        heard_at = pinged_at = time.monotonic()
        resend_at = 0.0
        while (now := time.monotonic()) < deadline:
            connection = self._connected()
            if not is_sent and now >= resend_at:
                attempt += 1
                is_sent = connection.send(frames, wait_seconds=min(PING_SECONDS, deadline - now))
            if is_sent and now - pinged_at >= PING_SECONDS:
                connection.ping(str(attempt), about=request_id)
                pinged_at = now
            answer = connection.receive(wait_seconds=min(PING_SECONDS, deadline - now))
            if answer is None:
                if time.monotonic() - heard_at > SILENCE_SECONDS:
                    self.close()
                    is_sent, heard_at = False, time.monotonic()
                continue
            heard_at = time.monotonic()
            if answer.get("kind") == "pong":
                self._described = answer["engine"] or self._described
                # It answers in order: had it got the request, it would know it or have answered it by now.
                if answer.get("id") == str(attempt) and not answer["is_known"]:
                    is_sent = False
            elif answer.get("id") == request_id and answer["kind"] == "busy":
                is_sent, resend_at = False, time.monotonic() + BUSY_SECONDS
            elif answer.get("id") == request_id:
                return answer
        raise errors.EngineUnavailable

    def _describe(self) -> dict[str, Any]:
        """Return what the engine says of itself, asked once."""
        deadline = time.monotonic() + self._timeout_seconds
        while self._described is None:
            state = health(self._address, min(2.0, max(0.05, deadline - time.monotonic())))
            if state is not None and state["engine"] is not None:
                self._described = state["engine"]
            elif time.monotonic() >= deadline:
                raise errors.EngineUnavailable
            elif state is not None:
                time.sleep(0.1)  # it is still loading
        return self._described

    def _connected(self) -> _Connection:
        if self._connection is not None and self._connection.pid != os.getpid():
            self._connection = None  # a parent's socket must not be touched after a fork
        if self._connection is None:
            self._connection = _Connection(self._address)
        return self._connection


class _Connection:
    """One DEALER socket. The context is the process's own: pyzmq makes a new one after a fork."""

    def __init__(self, address: str) -> None:
        self.pid = os.getpid()
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing for a process that is not there
        self._socket.setsockopt(zmq.RECONNECT_IVL, 50)
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 500)
        self._socket.connect(address)

    def send(self, frames: list[bytes], *, wait_seconds: float) -> bool:
        """Tell whether a process took the frames."""
        if not self._socket.poll(max(1, round(wait_seconds * 1000)), zmq.POLLOUT):
            return False
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def ping(self, ping_id: str, *, about: str | None) -> bool:
        """Ask whether a request is known; tell whether a process took the question."""
        return self.send([protocol.pack({"kind": "ping", "id": ping_id, "about": about})], wait_seconds=0)

    def receive(self, *, wait_seconds: float) -> dict[str, Any] | None:
        """Return the next message, None when none comes."""
        if not self._socket.poll(max(1, round(wait_seconds * 1000)), zmq.POLLIN):
            return None
        return protocol.unpack(self._socket.recv_multipart()[0])

    def close(self) -> None:
        """Let the socket go; in a forked child pyzmq leaves the parent's alone."""
        self._socket.close()

    def __del__(self) -> None:
        if hasattr(self, "_socket"):
            self.close()


def health(address: str, timeout_seconds: float) -> dict[str, Any] | None:
    """Return what the engine process says of itself, None when it does not answer in time.

    Keys: instance, state ("loading" or "ready"), pid, uptime_ms, waiting, requests, clips, audio_ms, busy_ms,
    failures, engine (None while loading; name, languages, max_clip_ms, pause_ms, notes, honours).
    While it computes, an answer may take as long as one clip does: a few seconds with PocketSphinx.
    """
    deadline = time.monotonic() + timeout_seconds
    connection = _Connection(address)
    try:
        is_sent = False
        while (left := deadline - time.monotonic()) > 0:
            if not is_sent:
                is_sent = connection.send([protocol.pack({"kind": "ping", "id": ""})], wait_seconds=left)
                continue
            answer = connection.receive(wait_seconds=left)
            if answer is not None and answer.get("kind") == "pong":
                return answer
        return None
    finally:
        connection.close()
