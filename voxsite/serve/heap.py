"""Gives memory that this process has freed back to the operating system, and collects garbage by how much there may be.

glibc keeps what was freed below memory that is in use. 250 uploads of 160 KB came at once and waited for their
transcripts: the web process had 34 MB in use then, and 192 MB of free memory, most of it from threads and from SQLite's
caches (measured, Debian 12). Rejected: fewer arenas (`MALLOC_ARENA_MAX`), which kept as much, and a
`MALLOC_MMAP_THRESHOLD_` of 64 KiB, which kept three quarters of it.
"""

import ctypes
import gc
import resource
import sys
import threading
from pathlib import Path

# How often the process looks at its memory, and how much more of it must be free than after the last time.
LOOK_SECONDS = 5.0
GROWTH_BYTES = 4 * 1024**2
# By how many blocks of Python's memory (sys.getallocatedblocks) more or fewer it looks for garbage: 2 MB. What requests
# leave in cycles would stay otherwise, since Python looks among all objects only when a quarter more of them are old:
# each burst of 300 calls that waited took 16 MB more than the one before (measured).
CHANGED_BLOCKS = 25_000
# Python looks for cycles each time that 700 objects more are alive than before, which is several times for each request
# that is open. With this many the chat endpoint answers a quarter more requests, each for 14 % less processor time
# (32 callers, medians of five turns in turn on a busy machine, docs/decisions/0053).
OBJECTS_BEFORE_COLLECTION = 10_000
_STATM = Path("/proc/self/statm")
_libc = ctypes.CDLL(None)


class _Mallinfo(ctypes.Structure):
    """`struct mallinfo2` of mallinfo(3). uordblks and hblkhd: bytes in use below and above `M_MMAP_THRESHOLD`."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def give_back_now_and_then(*, look_seconds: float = LOOK_SECONDS) -> bool:
    """Start a thread that gives free memory back. Returns False where the C library cannot do that."""
    if not is_possible():
        return False
    _libc.mallinfo2.restype = _Mallinfo
    threading.Thread(target=_give_back_for_ever, args=(look_seconds,), name="heap", daemon=True).start()
    return True


def collect_less_often() -> None:
    """Look for cycles more rarely, and never among what is loaded by now. Call it once the application is loaded."""
    _, *older = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BEFORE_COLLECTION, *older)


def is_possible() -> bool:
    """Tell whether this is glibc, 2.33 or newer."""
    return _STATM.exists() and hasattr(_libc, "malloc_trim") and hasattr(_libc, "mallinfo2")


def resident_bytes() -> int:
    """Return how much memory this process holds (proc(5), `statm`)."""
    return int(_STATM.read_text().split()[1]) * resource.getpagesize()


def _give_back_for_ever(look_seconds: float) -> None:
    pause = threading.Event()
    left_bytes, left_blocks = _unused_bytes(), sys.getallocatedblocks()
    while not pause.wait(look_seconds):
        if abs(sys.getallocatedblocks() - left_blocks) >= CHANGED_BLOCKS:
            # Without what is frozen: 20 ms for 200,000 objects.
            gc.collect()
            left_blocks = sys.getallocatedblocks()
        if _unused_bytes() >= left_bytes + GROWTH_BYTES:
            # Threads that need memory wait meanwhile: 3 ms where there is little to give, 70 ms for 200 MB (measured).
            _libc.malloc_trim(0)
            left_bytes = _unused_bytes()
        else:
            left_bytes = min(left_bytes, _unused_bytes())


def _unused_bytes() -> int:
    """Return how much memory the process holds beside what `malloc` has handed out: its code, stacks, free memory.

    What Python allocates in arenas of its own counts here too. It only makes the process look more often than needed.
    """
    info = _libc.mallinfo2()
    return resident_bytes() - int(info.uordblks) - int(info.hblkhd)
