"""Ties processes to their parents' lives, so that none outlives the server, however it ended.

Linux only; elsewhere a `kill -9` of the server may leave processes behind, an orderly end still does not.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable

import psutil

# prctl(2), values from linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def _load_prctl() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    return ctypes.CDLL(None, use_errno=True).prctl


# Loaded before any fork: a child between fork and exec should not have to load libraries.
_prctl = _load_prctl()


def die_with_parent(*, parent_pid: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Have the kernel send this process the signal when its parent ends. Survives exec, is not inherited by fork."""
    if _prctl is None:
        return
    _prctl(PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        # The parent ended before the line above: nobody would ever send the signal.
        os._exit(0)


def let_no_fork_outlive_this_process() -> None:
    """Have every later fork of this process die with it.

    RQ forks a work-horse per job into a process group of its own. Without this, `kill -9` of a worker leaves the
    horse running, and soon a second one beside it on the same job (measured).
    """
    forking: dict[str, int] = {}
    os.register_at_fork(
        before=lambda: forking.update(parent=os.getpid()),
        after_in_child=lambda: die_with_parent(parent_pid=forking["parent"]),
    )


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends, so that `end_descendants` finds it."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> int:
    """Kill what is left below this process; return how many processes that were."""
    ended = 0
    # Killing one may hand us its children: look again until there are none.
    while left := psutil.Process().children(recursive=True):
        for process in left:
            process.kill()
        gone, _ = psutil.wait_procs(left, timeout=2)
        ended += len(gone)
        if not gone:
            break
    return ended
