"""seccomp: a process gives up all system calls except those that a decoder needs. The kernel checks each call.

The filter is an allow list of classic BPF, written by hand: the binding to libseccomp needs that library on the host,
and its last release is of 2021. Sources: linux/seccomp.h, linux/filter.h, asm/unistd_64.h and asm-generic/unistd.h of
Linux 6.12, and seccomp(2), read 2026-11-29.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from dataclasses import dataclass

from transcription.speech import system_calls


@dataclass(frozen=True, slots=True)
class Condition:
    """Allows a call only if an argument, cut to 32 bits and masked, has a value."""

    argument: int
    value: int
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Architecture:
    """What the kernel calls an architecture, and the numbers of its system calls."""

    audit: int
    seccomp: int
    numbers: dict[str, int]


_MACHINES = {
    "x86_64": Architecture(
        audit=0xC000003E,
        seccomp=317,
        numbers={
            "read": 0, "write": 1, "futex": 202, "lseek": 8, "close": 3, "fstat": 5, "newfstatat": 262, "mmap": 9,
            "mprotect": 10, "munmap": 11, "brk": 12, "mremap": 25, "madvise": 28, "rt_sigaction": 13,
            "rt_sigprocmask": 14, "rt_sigreturn": 15, "sigaltstack": 131, "pread64": 17, "readv": 19, "writev": 20,
            "sched_yield": 24, "sched_getaffinity": 204, "nanosleep": 35, "clock_nanosleep": 230, "clock_gettime": 228,
            "clock_getres": 229, "gettimeofday": 96, "setitimer": 38, "getrusage": 98, "sysinfo": 99, "getpid": 39,
            "getppid": 110, "gettid": 186, "getpriority": 140, "setpriority": 141, "clone": 56, "clone3": 435,
            "set_robust_list": 273, "rseq": 334, "membarrier": 324, "getrandom": 318, "restart_syscall": 219,
            "prctl": 157, "tgkill": 234, "exit": 60, "exit_group": 231,
        },
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        seccomp=277,
        numbers={
            "read": 63, "write": 64, "futex": 98, "lseek": 62, "close": 57, "fstat": 80, "newfstatat": 79, "mmap": 222,
            "mprotect": 226, "munmap": 215, "brk": 214, "mremap": 216, "madvise": 233, "rt_sigaction": 134,
            "rt_sigprocmask": 135, "rt_sigreturn": 139, "sigaltstack": 132, "pread64": 67, "readv": 65, "writev": 66,
            "sched_yield": 124, "sched_getaffinity": 123, "nanosleep": 101, "clock_nanosleep": 115,
            "clock_gettime": 113, "clock_getres": 114, "gettimeofday": 169, "setitimer": 103, "getrusage": 165,
            "sysinfo": 179, "getpid": 172, "getppid": 173, "gettid": 178, "getpriority": 141, "setpriority": 140,
            "clone": 220, "clone3": 435, "set_robust_list": 99, "rseq": 293, "membarrier": 283, "getrandom": 278,
            "restart_syscall": 128, "prctl": 167, "tgkill": 131, "exit": 93, "exit_group": 94,
        },
    ),
}  # fmt: skip

_THREAD_FLAGS = 0x00010000 | 0x00000100  # CLONE_THREAD and CLONE_VM
_AT_EMPTY_PATH = 0x1000
_SET_NAME = 15  # prctl's option by which FFmpeg names a thread

_SET_MODE_FILTER, _GET_ACTION_AVAILABLE = 1, 2
_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
# struct seccomp_data: the number, the architecture, the instruction pointer, six arguments of 64 bits.
_NUMBER_OFFSET, _ARCHITECTURE_OFFSET, _ARGUMENTS_OFFSET = 0, 4, 16
_LOAD, _AND, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter: code, jump if true, jump if false, value


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def is_offered() -> bool:
    """Tell whether this kernel takes filters, on an architecture whose numbers are known here."""
    machine = _machine()
    if machine is None:
        return False
    action = ctypes.c_uint32(_ERRNO)
    return system_calls.call(machine.seccomp, _GET_ACTION_AVAILABLE, 0, ctypes.byref(action)) == 0


def install() -> None:
    """Have the kernel refuse this thread, and all that it starts, every call that a decoder does not need.

    A refused call returns EPERM, so that a library goes on without it. Needs no_new_privs. Raises OSError.
    """
    machine = _machine()
    assert machine is not None, "ask is_offered first"
    code = b"".join(_INSTRUCTION.pack(*one) for one in _instructions(machine, own_pid=os.getpid()))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    system_calls.must(machine.seccomp, _SET_MODE_FILTER, 0, ctypes.byref(program))


def _machine() -> Architecture | None:
    return _MACHINES.get(platform.machine()) if sys.platform == "linux" and sys.maxsize > 2**32 else None


def _conditions(*, own_pid: int) -> dict[str, tuple[Condition, ...]]:
    """Return what some calls must be asked for."""
    return {
        # Threads, no processes. clone3 hides its flags behind a pointer, so it is refused like a call that does not
        # exist, and the C library falls back to clone.
        "clone": (Condition(0, _THREAD_FLAGS, _THREAD_FLAGS),),
        # abort() of its own process only.
        "tgkill": (Condition(0, own_pid),),
        # The C library asks for an open descriptor by it. A path could still be given: a compromised decoder may
        # learn whether a file exists and how large it is, no more.
        "newfstatat": (Condition(3, _AT_EMPTY_PATH, _AT_EMPTY_PATH),),
        # `os.nice` of its own process; by another argument all processes of the user are meant.
        "setpriority": (Condition(0, 0), Condition(1, 0)),
        "prctl": (Condition(0, _SET_NAME),),
    }


def _instructions(machine: Architecture, *, own_pid: int) -> list[tuple[int, int, int, int]]:
    """Return the filter as a list of (code, jump if true, jump if false, value)."""
    refuse = (_RETURN, 0, 0, _ERRNO | errno.EPERM)
    allow = (_RETURN, 0, 0, _ALLOW)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_OFFSET),
        # Another architecture's calls have other numbers: no decoder of this process makes one.
        (_JUMP_IF_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_OFFSET),
    ]
    conditions = _conditions(own_pid=own_pid)
    for name, number in machine.numbers.items():
        block: list[tuple[int, int, int, int]] = []
        for condition in conditions.get(name, ()):
            block += [
                (_LOAD, 0, 0, _ARGUMENTS_OFFSET + 8 * condition.argument),  # little-endian: the lower half
                (_AND, 0, 0, condition.mask),
                (_JUMP_IF_EQUAL, 1, 0, condition.value),
                refuse,
            ]
        block.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS) if name == "clone3" else allow)
        program += [(_JUMP_IF_EQUAL, 0, len(block), number), *block]
    return [*program, refuse]
