"""Landlock: a process gives up all files, TCP ports and signals to other processes, by three system calls of Linux.

ctypes calls the kernel itself: the packages for it are development releases or ask for less than the kernel offers.
Source of the numbers: linux/landlock.h of Linux 6.12 and landlock(7), read 2026-11-29.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from transcription.speech import system_calls

# The same numbers on every architecture.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_CREATE_RULESET_VERSION = 1
# struct landlock_ruleset_attr: handled_access_fs, handled_access_net, scoped. An older kernel takes the longer struct
# if what it does not know is zero.
_RULESET = struct.Struct("=QQQ")
# How many kinds of access to files a version knows: the newest entry that is not newer than the kernel's.
_FILE_ACCESS_BITS = {1: 13, 2: 14, 3: 15, 5: 16}
_NETWORK_ACCESS = 0b11  # bind and connect TCP, since version 4
_SCOPES = 0b11  # abstract Unix sockets, and signals to processes outside, since version 6


def version() -> int:
    """Return the version of Landlock that this kernel offers, 0 if it offers none."""
    if sys.platform != "linux":
        return 0
    return max(0, system_calls.call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION))


def restrict(offered: int) -> None:
    """Take from this thread, and from all that it starts, every access that this version can take.

    offered: what `version` returned, at least 1. Descriptors that are open stay usable. Needs a free descriptor, and
    no_new_privs. Raises OSError.
    """
    bits = _FILE_ACCESS_BITS[max(known for known in _FILE_ACCESS_BITS if known <= offered)]
    attributes = ctypes.create_string_buffer(
        _RULESET.pack((1 << bits) - 1, _NETWORK_ACCESS if offered >= 4 else 0, _SCOPES if offered >= 6 else 0),
        _RULESET.size,
    )
    # A ruleset without rules allows nothing of what it handles.
    ruleset = system_calls.must(_CREATE_RULESET, attributes, _RULESET.size, 0)
    try:
        system_calls.must(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
