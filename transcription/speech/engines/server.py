"""The server of the engine process: loads models once and serves the workers of this machine.

Start it with `python -m transcription.speech.engines.server NAME ipc:///path/to/engine.sock`, or call `serve`. The main
thread does the communication and never computes. Services (`service.Service`), one for each kind of request, load and
compute in threads of their own. The process never forks, because it would hang after loading CTranslate2. Only the
owner of the socket can connect, so clients are trusted to be our workers. Their messages are limited in size anyway.
It may listen on TCP too, for workers of other hosts, and then admits clients by their keys (`curve.Listener`).
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import queue
import secrets
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import zmq

from transcription.speech import registry
from transcription.speech.engines import curve, protocol
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import Request, Service
from transcription.speech.errors import EngineFailed, EngineUnavailable, SpeechError

logger = logging.getLogger(__name__)

POLL_MS = 500
# How long a stop waits for the current batch. Its workers send the requests to the next process in any case.
STOP_SECONDS = 5.0
# A worker that waits for an answer pings twice a second. After this silence it is considered gone. If it comes back, it
# sends its requests again.
CLIENT_TIMEOUT_SECONDS = 30.0


def serve(recogniser: Recogniser, *services: Service, address: str, listener: curve.Listener | None = None) -> None:
    """Serve at `address` ("ipc://" and a path), and for other hosts at that of `listener`, until SIGTERM or SIGINT.

    Call it in the main thread of a process that does nothing else. Creates the folder of the socket if needed.
    Raises EngineUnavailable when the default model does not load, or another process serves one of the addresses.
    """
    server = EngineServer(recogniser, services, address=address, listener=listener)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.stop)
    server.run()


class EngineServer:
    """Owns the socket and all requests without an answer. Other threads may call `stop`, `_queue_answer`, `_fail`."""

    def __init__(
        self,
        recogniser: Recogniser,
        services: Sequence[Service],
        *,
        address: str,
        listener: curve.Listener | None = None,
        client_timeout_seconds: float = CLIENT_TIMEOUT_SECONDS,
    ) -> None:
        self._address, self._path = address, protocol.socket_path(address)
        self._listener = listener
        self._client_timeout_seconds = client_timeout_seconds
        self._recogniser = recogniser
        self._services: dict[str, Service] = {one.kind: one for one in (recogniser, *services)}
        self._instance = secrets.token_hex(8)
        self._failure: BaseException | None = None
        self._is_stopping = False
        self._started = time.monotonic()
        self._requests: dict[str, Request] = {}
        self._last_heard_at: dict[bytes, float] = {}  # by client
        self._swept_at = time.monotonic()
        self._answers: queue.SimpleQueue[tuple[str, dict[str, Any]]] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def stop(self, *_: Any) -> None:
        """Make `run` return. May be used as a signal handler."""
        self._is_stopping = True
        self._wake()

    def run(self) -> None:
        """Serve until `stop` is called. Raises like `serve`."""
        with _locked(self._path, instance=self._instance):
            self._serve()

    def _serve(self) -> None:
        with ExitStack() as stack:
            context = stack.enter_context(zmq.Context())
            stack.callback(self._path.unlink, missing_ok=True)
            routers = [stack.enter_context(self._local_router(context))]
            if self._listener is not None:
                stack.enter_context(curve.admission(context, listener=self._listener))
                routers.append(stack.enter_context(self._remote_router(context, listener=self._listener)))
            for service in self._services.values():
                service.start(self._queue_answer, self._fail)
            try:
                self._loop(routers)
            finally:
                for service in self._services.values():
                    service.stop()
                if self._failure is None:
                    self._recogniser.join(STOP_SECONDS)
                    self._send(routers)
        if self._failure is not None:
            if isinstance(self._failure, SpeechError):
                raise self._failure
            raise EngineUnavailable("The engine failed.") from self._failure

    def _router(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        router = context.socket(zmq.ROUTER)
        router.setsockopt(zmq.LINGER, 500)
        router.setsockopt(zmq.MAXMSGSIZE, max(one.max_frame_bytes for one in self._services.values()))
        return router

    def _local_router(self, context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
        router = self._router(context)
        mask = os.umask(0o177)
        try:
            router.bind(self._address)
        finally:
            os.umask(mask)
        self._path.chmod(0o600)
        return router

    def _remote_router(self, context: zmq.Context[zmq.Socket[bytes]], *, listener: curve.Listener) -> zmq.Socket[bytes]:
        router = self._router(context)
        curve.protect_server(router, listener=listener)
        try:
            router.bind(listener.address)
        except zmq.ZMQError as error:
            router.close()
            raise EngineUnavailable(f"The engine cannot listen on {listener.address}: {error}.") from error
        return router

    def _queue_answer(self, request_id: str, answer: dict[str, Any]) -> None:
        self._answers.put((request_id, answer))
        self._wake()

    def _fail(self, error: BaseException) -> None:
        self._failure = error
        self._wake()

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"\0")
        except BlockingIOError:
            pass  # the pipe is full, so the loop will wake up
        except OSError:
            logger.debug("the loop has ended")

    def _loop(self, routers: Sequence[zmq.Socket[bytes]]) -> None:
        poller = zmq.Poller()
        for router in routers:
            poller.register(router, zmq.POLLIN)
        poller.register(self._wake_read, zmq.POLLIN)
        while not self._is_stopping and self._failure is None:
            ready = dict(poller.poll(POLL_MS))
            if self._wake_read in ready:
                os.read(self._wake_read, 65536)
            self._send(routers)
            for number, router in enumerate(routers):
                if router in ready:
                    identity, *frames = router.recv_multipart()
                    client = bytes([number]) + identity
                    self._last_heard_at[client] = time.monotonic()
                    answer = self._handle(client, frames)
                    if answer is not None:
                        # The pong must not arrive before answers whose requests it lists as unknown.
                        self._send(routers)
                        router.send_multipart([identity, protocol.pack(answer)])
            if time.monotonic() - self._swept_at > self._client_timeout_seconds / 6:
                self._drop_silent_clients()

    def _handle(self, client: bytes, frames: list[bytes]) -> dict[str, Any] | None:
        """Return an immediate answer (pong, busy, error) or None. Messages of unknown kinds are ignored."""
        message = protocol.unpack(frames[0]) if frames else {}
        kind, request_id = str(message.get("kind")), str(message.get("id", ""))
        if kind == "ping":
            about = _strings(message.get("about"))
            for one in about:
                if one in self._requests:
                    self._requests[one].client = client
            if message.get("model"):
                self._recogniser.preload(str(message["model"]))
            unknown = [one for one in about if one not in self._requests]
            return {"id": request_id, "kind": "pong", "unknown": unknown, **self._health()}
        if kind == "cancel":
            self._cancel(_strings(message.get("ids")))
            return None
        if kind == "release":
            waited_ms = self._recogniser.release(_strings(message.get("ids")))
            for one in waited_ms:
                self._requests.pop(one, None)
            return {"id": request_id, "kind": "released", "waited_ms": waited_ms}
        if kind not in self._services or not request_id:
            return None
        if request_id in self._requests:
            self._requests[request_id].client = client  # the client sent it again over a new connection
            return None
        request = Request(request_id, kind, client, message, frames[1:])
        try:
            answer = self._services[kind].submit(request)
        except (SpeechError, TypeError, AttributeError, ValueError) as error:
            failure = error if isinstance(error, SpeechError) else EngineFailed()
            answer = {"kind": "error", "error": failure.to_dict()}
        if answer is None:
            request.frames = []
            self._requests[request_id] = request
            return None
        return {"id": request_id, **answer}

    def _send(self, routers: Sequence[zmq.Socket[bytes]]) -> None:
        """Send the queued answers to their clients."""
        while True:
            try:
                request_id, answer = self._answers.get_nowait()
            except queue.Empty:
                return
            request = self._requests.pop(request_id, None)
            if request is not None:
                number, identity = request.client[0], request.client[1:]
                routers[number].send_multipart([identity, protocol.pack({"id": request_id, **answer})])

    def _drop_silent_clients(self) -> None:
        """Cancel the requests of clients that have been silent for too long."""
        self._swept_at = now = time.monotonic()
        heard_since = now - self._client_timeout_seconds
        gone = {client for client, heard_at in self._last_heard_at.items() if heard_at < heard_since}
        self._last_heard_at = {
            client: heard_at for client, heard_at in self._last_heard_at.items() if client not in gone
        }
        left = [one.id for one in self._requests.values() if one.client in gone]
        if left:
            logger.info("dropping %d requests of clients that vanished", len(left))
            self._cancel(left)

    def _cancel(self, ids: Sequence[str]) -> None:
        by_kind: dict[str, list[str]] = {}
        for one in ids:
            request = self._requests.pop(one, None)
            if request is not None:
                by_kind.setdefault(request.kind, []).append(one)
        for kind, of_kind in by_kind.items():
            self._services[kind].cancel(of_kind)

    def _health(self) -> dict[str, Any]:
        resident, peak = _memory_mb()
        return {
            "instance": self._instance,
            "pid": os.getpid(),
            "uptime_ms": round((time.monotonic() - self._started) * 1000),
            "waiting": len(self._requests),
            "memory_mb": resident,
            "peak_memory_mb": peak,
            **self._recogniser.health(),
            "services": {kind: one.health() for kind, one in self._services.items() if one is not self._recogniser},
        }


def _strings(value: Any) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []


def _memory_mb() -> tuple[int, int]:
    """Return (resident, peak resident) memory of this process; zeros on a system without /proc."""
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    except OSError:
        return 0, 0
    return tuple(int(lines.get(name, "0 kB").split()[0]) // 1024 for name in ("VmRSS", "VmHWM"))  # type: ignore[return-value]  # two names


@contextmanager
def _locked(path: Path, *, instance: str) -> Iterator[None]:
    """Create the folder of the socket, for its owner only, and hold a lock: ZeroMQ would replace a socket in use.

    The file of the lock says which process has it (`protocol.instance_at`).
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.with_name(path.name + ".lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise EngineUnavailable(f"Another engine process serves {path}.") from error
        lock.truncate(0)
        lock.write(instance)
        lock.flush()
        yield


def _listener(given: argparse.Namespace) -> curve.Listener | None:
    if not given.listen:
        return None
    # Not an argument: everybody on this machine sees those.
    return curve.Listener(given.listen, os.environ.get("VOXSITE_ENGINE_SECRET_KEY", ""), given.client_key)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("engine", choices=sorted(registry.ENGINES))
    arguments.add_argument("address", help="ipc:// and the path of a socket")
    arguments.add_argument("--model", action="append", default=[], help="NAME=FOLDER; the first one is the default")
    arguments.add_argument("--listen", default="", help="tcp://HOST:PORT, for clients of other hosts")
    arguments.add_argument("--client-key", action="append", default=[], help="public key of an admitted client")
    given = arguments.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sources = dict(one.split("=", 1) for one in given.model) or {"standard": "", "premium": ""}
    load = registry.engine_loader(given.engine)
    try:
        serve(Recogniser(ModelCache(sources, load)), address=given.address, listener=_listener(given))
    except SpeechError as error:
        raise SystemExit(error.message) from error


if __name__ == "__main__":
    main()
