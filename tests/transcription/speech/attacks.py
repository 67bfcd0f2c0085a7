"""A zygote whose children behave like a decoder that a crafted file has compromised.

Run as a module by `zygotes.compromised`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transcription.speech import zygote
from transcription.speech.children import HEADER, Limits


def attempt(attack: Callable[[], Any]) -> str:
    """Call a function and return "done", or the error that it raised."""
    try:
        attack()
    except OSError as error:
        return f"{type(error).__name__} {error.errno}"
    except MemoryError:
        return "MemoryError"
    return "done"


def descriptors() -> list[int]:
    found = []
    for number in range(1024):
        try:
            os.fstat(number)
        except OSError:
            continue
        found.append(number)
    return found


def ptrace(pid: int) -> None:
    attach = 16
    if LIBC.ptrace(attach, pid, None, None) == -1:
        raise OSError(ctypes.get_errno(), "ptrace")


LIBC = ctypes.CDLL(None, use_errno=True)
TRUTH = {"duration_ms": 2000, "format": "wav", "codec": "pcm_s16le", "sample_rate": 16_000, "channels": 1}
LIES: list[Any] = [
    TRUTH,
    {},
    {**TRUTH, "duration_ms": -2000},
    {**TRUTH, "duration_ms": 0},
    {**TRUTH, "duration_ms": True},
    {**TRUTH, "duration_ms": "2000"},
    {**TRUTH, "duration_ms": 10**15},
    {**TRUTH, "channels": -1},
    {**TRUTH, "codec": 7},
    {**TRUTH, "more": 1},
    [],
    "crash",
    {"error": 7},
    {"error": {"type": "engine_failed"}},
    {"error": {"type": "audio_too_long", "data": {"message": "x", "self": 1}}},
    {"error": {"type": "audio_too_long", "data": 7}},
]


def lie(length: int) -> dict[str, Any]:
    os.write(1, HEADER.pack(length))
    for _ in range(200):
        os.write(1, bytes(1 << 20))
    return {}


def never_stop(_: int, *, send: Callable[[memoryview], None], **__: Any) -> dict[str, Any]:
    """Send a second of silence again and again, however long the recording may be."""
    while True:
        send(memoryview(bytes(4 * 16_000)))


def handle(recording: int, *, send: Callable[[memoryview], None], attack: str, target: str = "") -> dict[str, Any]:
    attacks: dict[str, Callable[[], dict[str, Any]]] = {
        "environment": lambda: {"seen": dict(os.environ)},
        "descriptors": lambda: {"seen": descriptors()},
        "complaints": lambda: {"seen": os.fstat(2).st_rdev},
        "reads": lambda: {"seen": os.read(recording, 4).decode()},
        "file": lambda: {"seen": attempt(lambda: os.open("/etc/hostname", os.O_RDONLY))},
        "owner": lambda: {"seen": attempt(lambda: os.open(f"/proc/{os.getppid()}/environ", os.O_RDONLY))},
        "socket": lambda: {"seen": attempt(socket.socket)},
        "duplicate": lambda: {"seen": attempt(lambda: os.dup(1))},
        "writes": lambda: {"seen": attempt(lambda: os.write(recording, b"x"))},
        "memory": lambda: {"seen": attempt(lambda: bytearray(2 << 30))},
        "unlink": lambda: {"seen": attempt(lambda: Path(target).unlink())},
        "rename": lambda: {"seen": attempt(lambda: Path(target).rename(f"{target}2"))},
        "truncate": lambda: {"seen": attempt(lambda: os.truncate(target, 0))},
        "kill": lambda: {"seen": attempt(lambda: os.kill(int(target), signal.SIGKILL))},
        "ptrace": lambda: {"seen": attempt(lambda: ptrace(int(target)))},
        "execute": lambda: {"seen": attempt(lambda: os.execv("/bin/true", ["true"]))},
        "fork": lambda: {"seen": attempt(os.fork)},
        "crash": lambda: ctypes.string_at(0) and {},
        "raise": lambda: {"seen": 1 // 0},
        "spin": lambda: {"seen": [None for _ in iter(int, 1)]},
        "sleep": lambda: time.sleep(600) or {},
        "flood": lambda: [send(memoryview(bytes(1 << 20))) for _ in range(1 << 30)] and {},
        "long block": lambda: lie(1 << 30),
        "long answer": lambda: {"seen": "x" * (1 << 20)},
        "no answer": lambda: os._exit(0),
        "zygote": lambda: {"seen": os.getppid()},
    }
    return attacks[attack]()


if __name__ == "__main__":
    zygote.HANDLERS["attack"] = (lambda **_: Limits(memory_bytes=1 << 30, cpu_seconds=1), handle)
    zygote.HANDLERS["decode"] = (lambda **_: Limits(memory_bytes=1 << 30, cpu_seconds=1), never_stop)
    # The allowed length, in thousands of seconds, selects the lie.
    zygote.HANDLERS["probe"] = (
        lambda **_: Limits(memory_bytes=1 << 30, cpu_seconds=1),
        lambda _, *, max_duration_ms, **__: LIES[max_duration_ms // 1_000_000],
    )
    zygote.main()
