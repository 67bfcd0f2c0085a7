"""Resource limits that a child process sets before a decoder reads an untrusted file. They cannot be lifted again.

A crafted file may take over the decoder. The compromised process then has little memory and CPU time, cannot write
files, start processes or open files and sockets. It has only the descriptors that it was given.
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
    """Import all modules that decoding needs, while files can still be opened. PyAV imports some on first use."""
    import av.subtitles.stream  # noqa: F401 - see above
    import numpy as np  # noqa: F401 - see above


def die_with_parent(*, parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends. Linux only; elsewhere only the check below works."""
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(0)  # the parent ended before the call above


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Limit the memory, CPU time and descriptors of this process. Call `load_libraries` first.

    Output must go to a pipe that is already open, since no file can be written afterwards.
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
