"""What a process gives up before it lets a decoder touch a stranger's file. For good, so only in a child of our own.

A decoder that a crafted file takes over finds little memory and time, no disk to write to, no new process, and no
descriptor for a socket: opening one more file is all that is left, and that file is the recording.
"""

from __future__ import annotations

import os
import resource


def load_libraries() -> None:
    """Import all that decoding imports, while files may still be opened. Some of PyAV comes only when it is used."""
    import av.subtitles.stream  # noqa: F401
    import numpy as np  # noqa: F401


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Bound this process: memory, CPU time, and one file that it may still open. Load libraries before.

    Output must go to a pipe that is open already, since no file may be written.
    """
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _lowest_free_descriptor() + 1),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))


def _lowest_free_descriptor() -> int:
    """Return the number that the next opened file will get; the limit is on numbers, not on how many are open."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor
