"""What a process gives up before it lets a decoder touch a stranger's file. For good, so only in a child of our own.

A decoder that a crafted file takes over finds little memory and time, no disk to write to, no new process, and no
descriptor but those that it was given: it can open no file and no socket.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h
_prctl = ctypes.CDLL(None, use_errno=True).prctl if sys.platform == "linux" else None


def load_libraries() -> None:
    """Import all that decoding imports, while files may still be opened. Some of PyAV comes only when it is used."""
    import av.subtitles.stream  # noqa: F401
    import numpy as np  # noqa: F401


def die_with_parent(*, parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends. On Linux only."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)  # it ended before the line above


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Bound this process: memory, CPU time, and the descriptors that it has. Load libraries before.

    Output must go to a pipe that is open already, since no file may be written.
    """
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))
