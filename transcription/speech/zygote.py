"""A zygote: a small clean process that forks a confined child for each recording (the word is Android's and Chrome's).

`children`, its only client, starts it with `python -m transcription.speech.zygote`. A new interpreter with PyAV and
NumPy costs 0.15 CPU seconds; a fork of a process that has loaded both costs a hundredth of that. So the zygote loads
them, opens no file itself, and waits for requests. It has one thread, none of its owner's environment, and none of its
owner's descriptors except the other end of its standard input.

Request, on standard input: `REQUEST_BYTES` of JSON, {"task": ..., and the arguments of its handler}, with two
descriptors: the recording, open for reading, and the write end of a pipe.
Reply, on that pipe: one byte when the child is confined; then blocks, each a length (4 bytes, little-endian) and its
bytes; then a length of zero and JSON: the answer of the handler, {"error": {"type", "message", "data"}} or
{"crash": text for the log}.

A child has three descriptors (recording, pipe, /dev/null) and cannot open others. The zygote kills a child when the
reader of its pipe closes it. Children die with the zygote, and the zygote ends when the other end of its standard input
is closed.
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
# task -> (its limits, its handler). A handler gets the descriptor of the recording, `send` for blocks, and arguments.
HANDLERS: dict[str, tuple[Callable[..., Limits], Callable[..., dict[str, Any]]]] = {
    "probe": (probing.limits, probing.handle),
    "decode": (decode.limits, decode.handle),
}
# Each child costs one descriptor here. At MAX_CHILDREN, further requests wait in the socket.
MAX_DESCRIPTORS = 256
MAX_CHILDREN = 100
CRASH_CHARACTERS = 1000


class Zygote:
    """Forks and reaps children. Never reads a recording, or what a child writes."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._pid = os.getpid()
        self._outputs: dict[int, int] = {}  # pid of a child -> our copy of its pipe, which shows when its reader closes
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)
        self._may_change_user = confinement.may_change_user()
        self._null = os.open(os.devnull, os.O_WRONLY)
        self._wake_read, wake_write = os.pipe()
        for end in (self._wake_read, wake_write):
            os.set_blocking(end, False)
        self._poller.register(self._wake_read, select.POLLIN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

    def serve(self) -> None:
        """Fork a child for each request, until the other end of the socket is closed."""
        while True:
            ready = dict(self._poller.poll())
            if self._wake_read in ready:
                os.read(self._wake_read, 4096)
                self._reap()
            for pid, output in list(self._outputs.items()):
                if output in ready:  # its reader has closed the pipe
                    os.kill(pid, signal.SIGKILL)
                    self._poller.unregister(output)
            if self._control.fileno() in ready and len(self._outputs) < MAX_CHILDREN and not self._accept_request():
                return
            # At MAX_CHILDREN, stop polling for requests.
            self._poller.modify(self._control, select.POLLIN if len(self._outputs) < MAX_CHILDREN else 0)

    def _accept_request(self) -> bool:
        """Receive one request and fork its child. Returns False when there will be no more requests."""
        message, descriptors, _, _ = socket.recv_fds(self._control, REQUEST_BYTES, 2)
        try:
            if len(message) != REQUEST_BYTES or len(descriptors) != 2:
                return False  # end of input, or a broken request: the owner starts a new zygote
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
            print(f"zygote: no fork: {error}", file=sys.stderr)  # noqa: T201 - the owner's log
            return  # the reader gets an end of file
        if pid:
            self._outputs[pid] = output
            self._poller.register(output, 0)
            return
        try:
            signal.set_wakeup_fd(-1)
            if self._may_change_user:
                confinement.become_nobody()
            _run_child(request, recording, output, self._null, parent_pid=self._pid)
        finally:
            os._exit(0)

    def _reap(self) -> None:
        while self._outputs:
            pid, _ = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            output = self._outputs.pop(pid)
            with suppress(KeyError):  # its reader had closed the pipe
                self._poller.unregister(output)
            os.close(output)


def _run_child(request: dict[str, Any], recording: int, output: int, null: int, *, parent_pid: int) -> None:
    """Child entry point: confine this process, run the handler, report its answer."""
    confinement.die_with_parent(parent_pid=parent_pid)
    name = request.pop("task")
    limits, handler = HANDLERS[name]
    # All three are above 2: descriptors 0 to 2 are the zygote's own.
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
    except Exception:  # noqa: BLE001 - a crash must reach the log, whatever the file caused
        answer = {"crash": traceback.format_exc()[-CRASH_CHARACTERS:]}
    _write(memoryview(HEADER.pack(0) + json.dumps(answer).encode()))


def _write(data: memoryview) -> None:
    while data:
        data = data[os.write(1, data) :]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, MAX_DESCRIPTORS))
    confinement.load_libraries()
    if missing := confinement.missing_layers():
        message = f"zygote: this kernel offers no {' and no '.join(missing)}: decoders are confined by fewer layers"
        print(message, file=sys.stderr)  # noqa: T201 - the owner's log
    # Exclude loaded objects from garbage collection: a collection in a child would copy every page that it touches.
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=os.dup(0)) as control:
        Zygote(control).serve()


if __name__ == "__main__":
    main()
