"""Confined child processes that read untrusted files: the client of the zygote (`zygote`).

Each process has at most one zygote. It is started by `ensure_zygote`, or else by the first child. A forked process uses
the zygote of its parent, since a request is one message on a socket that both hold. If that zygote is dead, the fork
starts its own. Safe in threads. Runs on Linux and macOS; only Linux kills the children of a zygote that was killed.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transcription.speech import errors

logger = logging.getLogger(__name__)

MODULE = "transcription.speech.zygote"
REQUEST_BYTES = 512
HELLO = b"\1"
HEADER = struct.Struct("<I")
# A child that lies about the length of a block or an answer must not fill our memory.
MAX_BLOCK_BYTES = 16 << 20
MAX_ANSWER_BYTES = 64 << 10
# Starting a zygote takes 0.2 s on an idle machine; a busy one needs longer.
START_SECONDS = 30.0
# PyAV and NumPy need no more, and this package sets the last one itself. The rest of our environment holds secrets.
ENVIRONMENT = {
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """The resource limits of a child."""

    memory_bytes: int
    cpu_seconds: int


class Child:
    """The output of a confined child, read while the child writes it."""

    def __init__(self, zygote: _Zygote, pipe: int, *, stall_seconds: float) -> None:
        self._zygote, self._pipe, self._stall_seconds = zygote, pipe, stall_seconds
        self.answer: dict[str, Any] = {}
        self.has_ended_early = False  # it crashed, stalled or exceeded its limits

    def blocks(self) -> Iterator[bytearray]:
        """Yield each block of the child. Afterwards `answer` is set.

        Raises the error that the child raised. Raises NotAudio for a child that crashes, stalls or exceeds its limits,
        because the file is then the cause.
        """
        try:
            while length := HEADER.unpack(self._read(HEADER.size))[0]:
                yield self._read(length)
            self.answer = _require_dict(json.loads(self._read_rest()))
        except TimeoutError as error:
            self.has_ended_early = True
            raise errors.NotAudio("The file takes too long to read.") from error
        except (EOFError, ValueError) as error:
            if not self._zygote.is_alive():
                # The zygote died and its children with it: the file is not the cause.
                raise errors.DecoderUnavailable from error
            self.has_ended_early = isinstance(error, EOFError)
            logger.warning("a confined child ended early")
            raise errors.NotAudio from error
        if "crash" in self.answer:
            logger.warning("a confined child failed: %r", self.answer["crash"])
            raise errors.NotAudio
        if "error" in self.answer:
            raise _error(self.answer["error"])

    def has_started(self) -> bool:
        """Wait until the child is confined, and tell whether it is. The child touches the file only afterwards."""
        try:
            return bytes(self._read(1)) == HELLO
        except (EOFError, TimeoutError):
            return False

    def _read(self, count: int) -> bytearray:
        """Return `count` bytes. Raises EOFError, TimeoutError, and ValueError if `count` is too large."""
        if count > MAX_BLOCK_BYTES:
            raise ValueError("too long a block")
        block = bytearray(count)
        left = memoryview(block)
        deadline = time.monotonic() + self._stall_seconds
        while left:
            self._wait(deadline)
            got = os.readv(self._pipe, [left])
            if not got:
                raise EOFError
            left = left[got:]
        return block

    def _read_rest(self) -> bytes:
        rest = b""
        deadline = time.monotonic() + self._stall_seconds
        while len(rest) <= MAX_ANSWER_BYTES:
            self._wait(deadline)
            part = os.read(self._pipe, MAX_ANSWER_BYTES)
            if not part:
                return rest
            rest += part
        raise ValueError("too long an answer")

    def _wait(self, deadline: float) -> None:
        poller = select.poll()
        poller.register(self._pipe, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError


def _require_dict(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ValueError("an answer is a dictionary")  # noqa: TRY004 - handled like invalid JSON
    return answer


def _error(reported: Any) -> errors.AudioError:
    """Rebuild the error of a child. A compromised child can produce an AudioError only, and only a well-formed one."""
    try:
        error = errors.from_dict(reported, otherwise=errors.NotAudio)
    except (TypeError, AttributeError, ValueError):
        return errors.NotAudio()
    return error if isinstance(error, errors.AudioError) else errors.NotAudio()


_lock = threading.RLock()


class _Zygote:
    """One zygote process."""

    def __init__(self, *, module: str) -> None:
        self._owner_pid = os.getpid()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - a module of this package
                [sys.executable, "-E", "-s", "-m", module],
                cwd=Path(__file__).resolve().parents[2],
                env=ENVIRONMENT,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # A signal to our process group must not reach the zygote: recordings in progress are still needed.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ask(self, request: bytes, descriptors: list[int]) -> bool:
        """Send a request; tell whether the zygote was there to receive it."""
        with _lock:  # another thread must not close the socket meanwhile
            try:
                return socket.send_fds(self._control, [request], descriptors) == len(request)
            except OSError:
                return False

    def is_own(self) -> bool:
        """Tell whether this process started it, and not a parent."""
        return self._owner_pid == os.getpid()

    def is_alive(self) -> bool:
        """Tell whether the zygote holds its end of the socket. The kernel closes it before it ends the children."""
        with _lock:
            if self._control.fileno() < 0:
                return False
            poller = select.poll()
            poller.register(self._control, 0)
            return not poller.poll(0)

    def kill(self) -> None:
        """Kill it and its children. Only its owner waits for it; until then its process id is not reused."""
        with _lock:
            if self.is_alive():
                os.kill(self.pid, signal.SIGKILL)
            self._control.close()
            if self.is_own():
                self._process.wait()


class Zygotes:
    """The zygotes of this process: of one it has one, and starts another when that one is dead."""

    def __init__(self, *, module: str = MODULE, start_seconds: float = START_SECONDS) -> None:
        """module: what a zygote runs. start_seconds: longest wait for a child to start."""
        # The last one is in use; the others belong to a parent, which reaps them.
        self.started: list[_Zygote] = []
        self._module, self._start_seconds = module, start_seconds

    def running(self) -> _Zygote:
        """Return the zygote in use, started unless it runs."""
        with _lock:
            while self.started and self.started[-1].is_own() and not self.started[-1].is_alive():
                self.started.pop().kill()
            if not self.started or not self.started[-1].is_alive():
                self.started.append(_Zygote(module=self._module))
            return self.started[-1]

    def start_child(self, request: bytes, recording: int) -> tuple[_Zygote, int]:
        """Return (zygote, read end of the pipe) of a child that has started. Tries a second zygote if the first fails.

        Raises DecoderUnavailable.
        """
        for _ in range(2):
            zygote = self.running()
            read_end, write_end = os.pipe()
            try:
                is_asked = zygote.ask(request, [recording, write_end])
            finally:
                os.close(write_end)
            if is_asked and Child(zygote, read_end, stall_seconds=self._start_seconds).has_started():
                return zygote, read_end
            os.close(read_end)
            logger.warning("the zygote %d started no child", zygote.pid)
            zygote.kill()
        raise errors.DecoderUnavailable

    def end(self) -> None:
        """End the zygotes that this process has started."""
        with _lock:
            while self.started and self.started[-1].is_own():
                self.started.pop().kill()


ZYGOTES = Zygotes()
atexit.register(ZYGOTES.end)


@contextmanager
def child(
    task: str, path: Path | str, *, stall_seconds: float, zygotes: Zygotes = ZYGOTES, **arguments: Any
) -> Iterator[Child]:
    """Run `task` (a key of `zygote.HANDLERS`) on a recording in a confined child, which ends with the `with` block.

    stall_seconds: longest wait for the next block, and for the answer.
    Raises DecoderUnavailable when no child can be started.
    """
    request = json.dumps({"task": task, **arguments}).encode().ljust(REQUEST_BYTES)
    assert len(request) == REQUEST_BYTES, "arguments are a few numbers"
    # Non-blocking: opening a named pipe would wait for a writer.
    recording = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        zygote, pipe = zygotes.start_child(request, recording)
    finally:
        os.close(recording)
    try:
        yield Child(zygote, pipe, stall_seconds=stall_seconds)
    finally:
        os.close(pipe)  # the zygote notices it and kills the child if it still runs


def ensure_zygote() -> None:
    """Start the zygote of this process unless it runs, so that forks of this process share it."""
    ZYGOTES.running()
