"""Confined children of a clean process, in which strangers' files are read: the owner's side of `zygote`.

Each process has at most one zygote, started when it is first needed or by `ensure_zygote`. A process that was forked
uses its parent's, since asking is one message on a socket that both hold; should that zygote be dead, the fork gets
its own.
Safe in threads. Linux and macOS; only Linux kills the children of a zygote that was killed.
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
# A child that lies about the length of its blocks or answer must not fill our memory.
MAX_BLOCK_BYTES = 16 << 20
MAX_ANSWER_BYTES = 64 << 10
# Starting the zygote takes a fifth of a second on an idle machine, and everything longer on a crowded one.
START_SECONDS = 30.0
# All that PyAV and NumPy need; the rest of our environment holds secrets.
ENVIRONMENT = {"LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What a child may use."""

    memory_bytes: int
    cpu_seconds: int


class Child:
    """What a confined child writes, as it comes."""

    def __init__(self, zygote: _Zygote, pipe: int, *, stall_seconds: float) -> None:
        self._zygote, self._pipe, self._stall_seconds = zygote, pipe, stall_seconds
        self.answer: dict[str, Any] = {}

    def blocks(self) -> Iterator[bytearray]:
        """Yield each block that is sent; then `answer` is there.

        Raises what the child raised. One that crashes, stalls or exceeds its limits means NotAudio: the file did it.
        """
        try:
            while length := HEADER.unpack(self._read(HEADER.size))[0]:
                yield self._read(length)
            self.answer = _checked(json.loads(self._read_rest()))
        except TimeoutError as error:
            raise errors.NotAudio("The file takes too long to read.") from error
        except (EOFError, ValueError) as error:
            if not self._zygote.is_alive():
                # All its children died with it, whatever they were reading.
                raise errors.DecoderUnavailable from error
            logger.warning("a confined child ended early")
            raise errors.NotAudio from error
        if "crash" in self.answer:
            logger.warning("a confined child failed: %r", self.answer["crash"])
            raise errors.NotAudio
        if "error" in self.answer:
            raise _error(self.answer["error"])

    def has_started(self) -> bool:
        """Tell whether the child lives and is confined; waits for that. It touches the file only then."""
        try:
            return bytes(self._read(1, within_seconds=START_SECONDS)) == HELLO
        except (EOFError, TimeoutError):
            return False

    def _read(self, count: int, *, within_seconds: float | None = None) -> bytearray:
        """Return so many bytes. Raises EOFError or TimeoutError, and ValueError for too many."""
        if count > MAX_BLOCK_BYTES:
            raise ValueError("too long a block")
        block = bytearray(count)
        left = memoryview(block)
        deadline = time.monotonic() + (within_seconds or self._stall_seconds)
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


def _checked(answer: Any) -> dict[str, Any]:
    if not isinstance(answer, dict):
        raise ValueError("an answer is a dictionary")  # noqa: TRY004 - as what is no JSON at all
    return answer


def _error(told: Any) -> errors.AudioError:
    """Return the error that a child told of. One that was taken over may blame the file only, and only in shape."""
    try:
        error = errors.from_dict(told, otherwise=errors.NotAudio)
    except (TypeError, AttributeError, ValueError):
        return errors.NotAudio()
    return error if isinstance(error, errors.AudioError) else errors.NotAudio()


@contextmanager
def child(task: str, path: Path | str, *, stall_seconds: float, **arguments: Any) -> Iterator[Child]:
    """Give a confined child that does `task` (see `zygote.HANDLERS`) to a recording. It ends with the block.

    stall_seconds: longest wait for the next block, and for the answer.
    Raises DecoderUnavailable when no child can be had.
    """
    request = json.dumps({"task": task, **arguments}).encode().ljust(REQUEST_BYTES)
    assert len(request) == REQUEST_BYTES, "arguments are a few numbers"
    # Not blocking: opening a named pipe would wait for somebody to write to it.
    recording = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        zygote, pipe = _start_child(request, recording)
    finally:
        os.close(recording)
    try:
        yield Child(zygote, pipe, stall_seconds=stall_seconds)
    finally:
        os.close(pipe)  # the zygote sees it and kills what still runs


def ensure_zygote() -> None:
    """See to it that this process has a living zygote, for itself and for what it forks."""
    _running_zygote()


def _start_child(request: bytes, recording: int) -> tuple[_Zygote, int]:
    """Return (the zygote, the pipe to read from) of a child that has begun. Tries a second zygote if need be."""
    for _ in range(2):
        zygote = _running_zygote()
        read_end, write_end = os.pipe()
        try:
            is_asked = zygote.ask(request, [recording, write_end])
        finally:
            os.close(write_end)
        if is_asked and Child(zygote, read_end, stall_seconds=START_SECONDS).has_started():
            return zygote, read_end
        os.close(read_end)
        logger.warning("the zygote %d gave no child", zygote.pid)
        zygote.kill()
    raise errors.DecoderUnavailable


class _Zygote:
    """One zygote process."""

    def __init__(self) -> None:
        self._owner_pid = os.getpid()
        self._control, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-E", "-s", "-m", MODULE],
                cwd=Path(__file__).resolve().parents[2],
                env=ENVIRONMENT,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # A signal to our process group is for us: the recordings at hand are still wanted.
                start_new_session=True,
            )
        self.pid = self._process.pid

    def ask(self, request: bytes, descriptors: list[int]) -> bool:
        """Send a request; tell whether there was anybody to take it."""
        with _lock:  # nobody may close the socket meanwhile
            try:
                return socket.send_fds(self._control, [request], descriptors) == len(request)
            except OSError:
                return False

    def is_ours(self) -> bool:
        """Tell whether this very process started it."""
        return self._owner_pid == os.getpid()

    def is_alive(self) -> bool:
        """Tell whether the other end is held. The kernel lets go of it before the zygote's children die."""
        with _lock:
            if self._control.fileno() < 0:
                return False
            poller = select.poll()
            poller.register(self._control, 0)
            return not poller.poll(0)

    def kill(self) -> None:
        """End it and its children. A fork does not bury its parent's: that one's number stays its own till then."""
        with _lock:
            if self.is_alive():
                os.kill(self.pid, signal.SIGKILL)
            self._control.close()
            if self.is_ours():
                self._process.wait()


_lock = threading.RLock()
_zygotes: list[_Zygote] = []  # the last one is in use; others were a parent's, which buries them


def _running_zygote() -> _Zygote:
    with _lock:
        while _zygotes and _zygotes[-1].is_ours() and not _zygotes[-1].is_alive():
            _zygotes.pop().kill()
        if not _zygotes or not _zygotes[-1].is_alive():
            _zygotes.append(_Zygote())
        return _zygotes[-1]


@atexit.register
def _end() -> None:
    with _lock:
        while _zygotes and _zygotes[-1].is_ours():
            _zygotes.pop().kill()
