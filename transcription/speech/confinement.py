"""What a child process gives up before a decoder reads an untrusted file. It cannot be had again.

A crafted file may take over the decoder. The compromised process then has little memory and CPU time. It cannot reach
files, sockets or other processes, nor start one. It has only the descriptors that it was given.

Layers, each of which would hold without the others: resource limits everywhere; on Linux a filter of system calls
(`syscall_filter`) and Landlock (`landlock`), where the kernel has them; another user, where the process may change it.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
from contextlib import suppress
from pathlib import Path

from transcription.speech import landlock, syscall_filter, system_calls

_PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h
_NOBODY = 65534
_CAP_KILL, _CAP_SETGID, _CAP_SETUID = 5, 6, 7  # linux/capability.h


def load_libraries() -> None:
    """Import all modules that decoding needs, while files can still be opened. PyAV imports some on first use."""
    import av.subtitles.stream  # noqa: F401 - see above
    import numpy as np  # noqa: F401 - see above


def missing_layers() -> list[str]:
    """Return the names of the layers that this kernel does not offer. Both are inside Linux 5.13 and newer."""
    return [
        name
        for name, is_offered in (("seccomp", syscall_filter.is_offered()), ("Landlock", landlock.version() > 0))
        if not is_offered
    ]


def may_change_user() -> bool:
    """Tell whether a child may become another user whom this process can still kill, as root can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    effective = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff:")]
    capabilities = int(effective[0].split()[1], 16)
    return all(capabilities >> one & 1 for one in (_CAP_KILL, _CAP_SETGID, _CAP_SETUID))


def become_nobody() -> None:
    """Become the user nobody, without any capability. Call it before `die_with_parent`, which it would undo."""
    # A user namespace may not know this user; the other layers hold without it.
    with suppress(OSError):
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def die_with_parent(*, parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends. Linux only; elsewhere only the check below works."""
    if sys.platform == "linux":
        system_calls.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:
        os._exit(0)  # the parent ended before the call above


def confine(*, memory_bytes: int, cpu_seconds: int) -> None:
    """Give up everything but memory, CPU time and open descriptors. Call `load_libraries` first.

    Output must go to a pipe that is already open, since no file can be written afterwards. Raises OSError if the kernel
    refuses a layer that it offers: the file must then not be read.
    """
    has_filter = syscall_filter.is_offered()
    if sys.platform == "linux":
        system_calls.give_up_new_privileges()
    if version := landlock.version():
        landlock.restrict(version)  # needs a descriptor, so it comes before the limits
    limits = [
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),
        (resource.RLIMIT_CORE, 0),
    ]
    if not has_filter:
        # It also forbids threads, which some decoders of FFmpeg start. The filter tells them from processes.
        limits.append((resource.RLIMIT_NPROC, 0))
    for limit, most in limits:
        _, hard = resource.getrlimit(limit)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(limit, (allowed, allowed))
    if has_filter:
        syscall_filter.install()  # last: it forbids all of the above
