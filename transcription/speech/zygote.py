"""`python -m transcription.speech.zygote`: a small clean process that forks a confined child for each recording.

`children` starts it and is its only caller. A new interpreter with PyAV and NumPy costs 0.15 CPU seconds, a fork of one
that has loaded them a hundredth; so this process loads them, touches no file itself, and waits. It has one thread, none
of its owner's environment and no descriptor of its owner but the other end of its standard input.

On standard input: `REQUEST_BYTES` of JSON, {"task", and the arguments of its handler}, with two descriptors: the
recording, open for reading, and the end of a pipe to write to. On that pipe, from the child: one byte once it is
confined; then blocks of a length (4 bytes, little-endian) and as many bytes; then a length of zero and JSON: the
handler's answer,
{"error": {"type", "message", "data"}} or {"crash": text for our log}.

A child has three descriptors (recording, pipe, /dev/null) and can get no others. It is killed when the reader of its
pipe lets go, and dies with this process, which ends once nobody holds the other end of its standard input.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from transcription.speech import confinement, decode, probing
from transcription.speech.children import HEADER, HELLO, REQUEST_BYTES, Limits
from transcription.speech.errors import SpeechError

Send = Callable[[memoryview], None]
# task -> (what it may use, what it does). The handler gets the recording's descriptor, a way to send blocks, arguments.
HANDLERS: dict[str, tuple[Callable[..., Limits], Callable[..., dict[str, Any]]]] = {
    "probe": (probing.limits, probing.handle),
    "decode": (decode.limits, decode.handle),
}
# Each child costs one descriptor here. Beyond this, requests wait in the socket.
MAX_DESCRIPTORS = 256
MAX_CHILDREN = 100
CRASH_CHARACTERS = 1000


class Zygote:
    """Forks children and buries them. Never reads a recording, nor what a child writes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._outputs: dict[int, int] = {}  # pid of a child -> our copy of its pipe, to see its reader go
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._null = os.open(os.devnull, os.O_WRONLY)
        self._wake_read, wake_write = os.pipe()
        for end in (self._wake_read, wake_write):
            os.set_blocking(end, False)
        self._poller.register(self._wake_read, select.POLLIN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork a child for each request until nobody can send any."""
        while True:
            ready = dict(self._poller.poll())
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            for pid, output in list(self._outputs.items()):
                if output in ready:  # nobody reads there any more
                    os.kill(pid, signal.SIGKILL)
                    self._poller.unregister(output)
            if self._control.fileno() in ready and len(self._outputs) < MAX_CHILDREN and not self._accept_request():
                return
            # A full house listens to its children only.
            self._poller.modify(self._control, select.POLLIN if len(self._outputs) < MAX_CHILDREN else 0)

    def _accept_request(self) -> bool:
        """Serve one request. Returns False when there will be no more."""
        message, descriptors, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, 2)
        try:
            if len(message) != REQUEST_BYTES or len(descriptors) != 2:
                return False  # the end, or out of step with our owner: it starts another
            self._fork(json.loads(message), *descriptors)
        finally:
            for descriptor in descriptors:
                if descriptor not in self._outputs.values():
                    os.close(descriptor)
        return True

    def _fork(self, request: dict[str, Any], recording: int, output: int) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            print(f"zygote: no fork: {error}", file=sys.stderr)  # noqa: T201 - our owner's log
            return  # the reader finds that nobody writes
        if pid:
            self._outputs[pid] = output
            self._poller.register(output, 0)
            return
        try:
            signal.set_wakeup_fd(-1)
            _run_child(request, recording, output, self._null, parent_pid=self._pid)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        while self._outputs:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            output = self._outputs.pop(pid)
            with suppress(KeyError):  # its reader had gone
                self._poller.unregister(output)
            os.close(output)


def _run_child(request: dict[str, Any], recording: int, output: int, null: int, *, parent_pid: int) -> None:
    """Be a child: give up everything, then read the recording and tell."""
    confinement.die_with_parent(parent_pid=parent_pid)
    name = request.pop("task")
    limits, handler = HANDLERS[name]
    # All three are above 2, where the zygote's own standard descriptors are.
    os.dup2(recording, 0)
    os.dup2(output, 1)
    os.dup2(null, 2)
    os.closerange(3, MAX_DESCRIPTORS)
    allowed = limits(**request)
    confinement.confine(memory_bytes=allowed.memory_bytes, cpu_seconds=allowed.cpu_seconds)
    _write(memoryview(HELLO))

    def send(block: memoryview) -> None:
        _write(memoryview(HEADER.pack(block.nbytes)))
        _write(block.cast("B"))

    try:
        answer = handler(0, send=send, **request)
    except SpeechError as error:
        answer = {"error": error.to_dict()}
    except Exception:  # noqa: BLE001 - whatever a file brought about, our log must say
        answer = {"crash": traceback.format_exc()[-CRASH_CHARACTERS:]}
    _write(memoryview(HEADER.pack(0) + json.dumps(answer).encode()))


def _write(data: memoryview) -> None:
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
    confinement.load_libraries()
    # What is loaded stays as it is: a collection in a child would copy every page that it looks at.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as control:
        Zygote(control).serve()


if __name__ == "__main__":
    main()
