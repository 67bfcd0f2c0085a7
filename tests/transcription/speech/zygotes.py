"""The zygote of this process, and programs in other processes with a zygote of their own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.fixtures import recordings
from transcription.speech import children, probing

PROJECT = Path(__file__).resolve().parents[3]
HOUR_MS = 3_600_000
SOUND = recordings.named("silence.wav").path


def zygotes() -> list[psutil.Process]:
    """Return the running zygotes of this process."""
    below = psutil.Process().children()
    return [one for one in below if one.status() != psutil.STATUS_ZOMBIE and "speech.zygote" in " ".join(one.cmdline())]


def zygote() -> psutil.Process:
    """Return the zygote of this process, after it has worked: before, the kernel may show no command line yet."""
    probe()
    [only] = zygotes()
    return only


def wait(condition: object, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def end_zygote() -> None:
    """Kill the zygote, so that the next recording starts a new one."""
    zygote().kill()
    wait(lambda: not children.ZYGOTES.started[-1].is_alive())


def probe(zygotes: children.Zygotes = children.ZYGOTES) -> int:
    return probing.probe_in_child(SOUND, max_duration_ms=HOUR_MS, zygotes=zygotes).duration_ms


@contextmanager
def compromised() -> Iterator[children.Zygotes]:
    """Give zygotes with attacks among their tasks: one after the other, each until it ends."""
    zygotes = children.Zygotes(module="tests.transcription.speech.attacks")
    try:
        yield zygotes
    finally:
        zygotes.end()


def owner(program: str) -> subprocess.Popen[str]:
    """Start a program that uses children and prints figures about them."""
    # SIGINT ends it: it would be ignored if the tests were started in the background of a shell.
    head = "import os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    head += f"from transcription.speech import children, decode, probing\nPATH = {str(SOUND)!r}\n"
    return subprocess.Popen([sys.executable, "-c", head + program], cwd=PROJECT, stdout=subprocess.PIPE, text=True)
