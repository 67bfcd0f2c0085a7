"""System calls that Python has no function for, by the number that the kernel knows them by. Linux only."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

_PRCTL_NO_NEW_PRIVS = 38  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def call(number: int, *arguments: Any) -> int:
    """Return what the system call returns: -1 when it failed."""
    assert _libc is not None, "Linux only"
    # A plain int would be passed as 32 bits, and the kernel reads 64.
    wide = [ctypes.c_long(one) if isinstance(one, int) else one for one in (number, *arguments)]
    return int(_libc.syscall(*wide))


def must(number: int, *arguments: Any) -> int:
    """Return what the system call returns. Raises OSError when it failed."""
    returned = call(number, *arguments)
    if returned == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return returned


def prctl(option: int, value: int) -> None:
    """Set an attribute of this process. Raises OSError."""
    assert _libc is not None, "Linux only"
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) == -1:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def give_up_new_privileges() -> None:
    """Have this process gain nothing by any program that it might start. The kernel asks for it before filters."""
    prctl(_PRCTL_NO_NEW_PRIVS, 1)
