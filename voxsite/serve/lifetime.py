"""Ends processes when their parent ends, so that none outlives the server, even after `kill -9`.

This works on Linux only. Elsewhere, `kill -9` of the server may leave processes behind; a normal end does not.
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


# Loaded before any fork, because a child should not load libraries between fork and exec.
_prctl = _load_prctl()


def die_with_parent(*, parent_pid: int, with_signal: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to send this process the signal when its parent ends. Exec keeps this, fork does not."""
    if _prctl is None:
        return
    _prctl(PR_SET_PDEATHSIG, with_signal, 0, 0, 0)
    if os.getppid() != parent_pid:
        # The parent ended before the line above, so no signal would ever come.
        os._exit(0)


def let_no_fork_outlive_this_process() -> None:
    """Make every later fork of this process end with it.

    RQ forks a "work horse" for each job, in a process group of its own. Without this, `kill -9` of a worker leaves its
    horse running, and soon a second one works on the same job (measured).
    """
    forking: dict[str, int] = {}
    os.register_at_fork(
        before=lambda: forking.update(parent=os.getpid()),
        after_in_child=lambda: die_with_parent(parent_pid=forking["parent"]),
    )


def adopt_orphans() -> None:
    """Become the parent of every descendant whose parent ends, so that `end_descendants` finds it."""
    if _prctl is not None:
        _prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> int:
    """Kill all descendants of this process. Returns their number."""
    ended = 0
    # The children of a killed process become ours, so look again until there are none.
    while left := psutil.Process().children(recursive=True):
        for process in left:
            process.kill()
        gone, _ = psutil.wait_procs(left, timeout=2)
        ended += len(gone)
        if not gone:
            break
    return ended
