"""The engine process: loads one model once and recognises clips for all workers of this machine.

`python -m transcription.speech.engines.host NAME ipc:///path/to/engine.sock`, or `serve(...)`. The main thread talks,
a second thread loads and computes; nothing is forked, since a process that has loaded CTranslate2 hangs after a
fork. The socket is reachable by its owner only: what comes in is trusted to be our own workers, yet bounded.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import queue
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmq

from transcription.speech import registry
from transcription.speech.engines import protocol
from transcription.speech.engines.base import Engine
from transcription.speech.errors import EngineFailed, EngineUnavailable, SpeechError
from transcription.speech.options import TranscriptionOptions

logger = logging.getLogger(__name__)

# Requests that wait beyond either are told to come again, so that memory stays bounded (8 clips of 15 s are 8 MB).
MAX_QUEUED = 32
MAX_QUEUED_BYTES = 256 << 20
POLL_MS = 500
# How long a stop waits for the batch at hand; its worker asks the next process again in any case.
STOP_SECONDS = 5.0
_INBOX = "inproc://computed"


@dataclass(slots=True)
class _Request:
    id: str
    client: bytes
    options: TranscriptionOptions
    frames: list[bytes]


def serve(engine_name: str, *, address: str) -> None:
    """Serve clips at `address` ("ipc://" and a path) until SIGTERM or SIGINT.

    Call it in the main thread of a process that does nothing else. Makes the socket's folder if need be.
    Raises UnknownEngine, EngineUnavailable when the model does not load or another process serves this address.
    """
    path = protocol.socket_path(address)
    with _owned(path):
        host = _Host(engine_name, address=address)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, host.stop)
        host.run(path)


class _Host:
    """Main thread: sockets and queue. Second thread: `_compute`. They share the queue and an inproc socket only."""

    def __init__(self, engine_name: str, *, address: str) -> None:
        self._engine_name, self._address = engine_name, address
        self._instance = secrets.token_hex(8)
        self._state = "loading"
        self._engine: Engine | None = None
        self._failure: BaseException | None = None
        self._is_stopping = False
        self._started = time.monotonic()
        self._requests: dict[str, _Request] = {}  # asked for and not yet answered, by id
        self._queue: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._counts = {"requests": 0, "clips": 0, "audio_ms": 0, "busy_ms": 0, "failures": 0}
        self._context = zmq.Context()

    def stop(self, *_: Any) -> None:
        """Ask the main loop to end; a signal handler."""
        self._is_stopping = True

    def run(self, path: Path) -> None:
        router = self._context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 500)
        router.setsockopt(zmq.MAXMSGSIZE, protocol.MAX_CLIP_BYTES)
        inbox = self._context.socket(zmq.PULL)
        inbox.bind(_INBOX)
        mask = os.umask(0o177)
        try:
            router.bind(self._address)
        finally:
            os.umask(mask)
        path.chmod(0o600)
        worker = threading.Thread(target=self._compute, name="compute", daemon=True)
        worker.start()
        try:
            self._loop(router, inbox)
        finally:
            self._queue.put(None)
            worker.join(timeout=STOP_SECONDS)
            self._drain(router, inbox)
            router.close()
            path.unlink(missing_ok=True)
            if not worker.is_alive():
                inbox.close()
                self._context.term()
        if self._failure is not None:
            if isinstance(self._failure, SpeechError):
                raise self._failure
            raise EngineUnavailable(f"The engine {self._engine_name!r} could not be loaded.") from self._failure

    def _loop(self, router: zmq.Socket[bytes], inbox: zmq.Socket[bytes]) -> None:
        poller = zmq.Poller()
        poller.register(router, zmq.POLLIN)
        poller.register(inbox, zmq.POLLIN)
        while not self._is_stopping and self._failure is None:
            ready = dict(poller.poll(POLL_MS))
            if inbox in ready:
                self._drain(router, inbox)
            if router in ready:
                client, *frames = router.recv_multipart()
                self._answer(router, client, frames)

    def _answer(self, router: zmq.Socket[bytes], client: bytes, frames: list[bytes]) -> None:
        """Answer a ping, take a request in, or say why not. What is neither is dropped."""
        message = protocol.unpack(frames[0]) if frames else {}
        kind, request_id = message.get("kind"), str(message.get("id", ""))
        answer: dict[str, Any] | None = None
        if kind == "ping":
            answer = {"kind": "pong", "is_known": message.get("about") in self._requests, **self._health()}
        elif kind == "recognise" and request_id in self._requests:
            self._requests[request_id].client = client  # asked again over a new connection
        elif kind == "recognise" and self._is_full():
            answer = {"kind": "busy"}
        elif kind == "recognise":
            try:
                protocol.check_size(frames[1:])
                options = TranscriptionOptions.from_dict(message.get("options") or {})
            except (SpeechError, TypeError, AttributeError) as error:
                failure = error if isinstance(error, SpeechError) else EngineFailed()
                answer = {"kind": "error", "error": failure.to_dict()}
            else:
                request = _Request(request_id, client, options, frames[1:])
                self._requests[request_id] = request
                self._queue.put(request)
        if answer is not None:
            router.send_multipart([client, protocol.pack({"id": request_id, **answer})])

    def _is_full(self) -> bool:
        waiting_bytes = sum(len(frame) for request in self._requests.values() for frame in request.frames)
        return len(self._requests) >= MAX_QUEUED or waiting_bytes >= MAX_QUEUED_BYTES

    def _drain(self, router: zmq.Socket[bytes], inbox: zmq.Socket[bytes]) -> None:
        """Send what has been computed to those who asked for it."""
        while True:
            try:
                answer = inbox.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            request = self._requests.pop(str(protocol.unpack(answer).get("id")), None)
            if request is not None:
                router.send_multipart([request.client, answer])

    def _health(self) -> dict[str, Any]:
        engine = self._engine
        return {
            "instance": self._instance,
            "state": self._state,
            "pid": os.getpid(),
            "uptime_ms": round((time.monotonic() - self._started) * 1000),
            "waiting": len(self._requests),
            **self._counts,
            "engine": None
            if engine is None
            else {
                "name": engine.name,
                "languages": None if engine.languages is None else sorted(engine.languages),
                "max_clip_ms": engine.max_clip_ms,
                "pause_ms": engine.pause_ms,
                "notes": list(engine.notes),
                "honours": sorted(engine.honours),
            },
        }

    def _compute(self) -> None:
        """Second thread: load the model, then one request after the other."""
        outbox = self._context.socket(zmq.PUSH)
        outbox.connect(_INBOX)
        outbox.setsockopt(zmq.LINGER, 0)
        try:
            self._engine = registry.load_engine(self._engine_name)
            self._state = "ready"
            logger.info("engine %s is ready", self._engine.name)
        except Exception as error:  # noqa: BLE001 - whatever keeps it from loading ends the process, in `run`
            self._failure = error
            return
        try:
            while (request := self._queue.get()) is not None and not self._is_stopping:
                outbox.send(protocol.pack({"id": request.id, **self._recognise(self._engine, request)}))
        finally:
            outbox.close()

    def _recognise(self, engine: Engine, request: _Request) -> dict[str, Any]:
        started = time.monotonic()
        self._counts["requests"] += 1
        try:
            clips = protocol.unpack_clips(request.frames)
            heard = []
            for clip in clips:  # one at a time, so that the other thread can answer pings in between
                heard.extend(engine.recognise([clip], options=request.options))
                time.sleep(0)
            self._counts["clips"] += len(clips)
            self._counts["audio_ms"] += sum(len(clip) for clip in clips) // 16
            return {"kind": "result", "recognitions": [protocol.recognition_to_list(one) for one in heard]}
        except SpeechError as error:
            self._counts["failures"] += 1
            return {"kind": "error", "error": error.to_dict()}
        except Exception:
            self._counts["failures"] += 1
            logger.exception("recognition crashed")
            return {"kind": "error", "error": EngineFailed().to_dict()}
        finally:
            self._counts["busy_ms"] += round((time.monotonic() - started) * 1000)


@contextmanager
def _owned(path: Path) -> Iterator[None]:
    """Make the socket's folder, for its owner only, and hold its lock: ZeroMQ would take over a live socket."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EngineUnavailable(f"Another engine process serves {path}.") from error
        yield


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("engine", choices=sorted(registry.ENGINES))
    arguments.add_argument("address", help="ipc:// and the path of a socket")
    given = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        serve(given.engine, address=given.address)
    except SpeechError as error:
        raise SystemExit(error.message) from error


if __name__ == "__main__":
    main()
