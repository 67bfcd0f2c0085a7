"""Memory that was freed goes back to the operating system."""

import subprocess
import sys

import pytest

from voxsite.serve import heap

FREED_BYTES = 60_000_000
# Frees memory below memory that is still in use, which glibc keeps otherwise. Ends when most of it has gone back.
PROGRAM = f"""
import threading
from voxsite.serve import heap

assert heap.give_back_now_and_then(look_seconds=0.01)
pause, freed, kept = threading.Event(), [], []
for _ in range({FREED_BYTES} // 50_000):
    freed.append(bytearray(50_000))
    kept.append(bytearray(700))
pause.wait(0.1)  # It has looked while all of it was in use.
before = heap.resident_bytes()
del freed
while heap.resident_bytes() > before - 0.8 * {FREED_BYTES}:
    pause.wait(0.01)
"""


@pytest.mark.skipif(not heap.is_possible(), reason="this C library cannot give memory back")
def test_freed_memory_goes_back():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=60)


# Drops cycles that are old, among which Python itself would not look: what is made then can be in no cycle.
OLD_CYCLES = """
import gc, threading, weakref
from voxsite.serve import heap

class Request:
    def __init__(self):
        self.itself = self

assert heap.give_back_now_and_then(look_seconds=0.01)
requests = [Request() for _ in range(heap.CHANGED_BLOCKS)]
gc.collect()
pause, last = threading.Event(), weakref.ref(requests[-1])
pause.wait(0.1)  # It has looked while all of them were in use.
del requests
texts = [str(number) for number in range(1000, 2 * heap.CHANGED_BLOCKS)]
while last() is not None:
    pause.wait(0.01)
"""


@pytest.mark.skipif(not heap.is_possible(), reason="this C library cannot give memory back")
def test_old_garbage_is_collected_when_much_has_changed():
    subprocess.run([sys.executable, "-c", OLD_CYCLES], check=True, timeout=60)


COLLECTING = """
import gc
from voxsite.serve import heap

before = gc.get_threshold()
heap.collect_less_often()
assert gc.isenabled()
assert gc.get_threshold() == (heap.OBJECTS_BEFORE_COLLECTION, *before[1:])
assert gc.get_freeze_count() > 1_000
"""


def test_garbage_is_still_collected_only_less_often():
    subprocess.run([sys.executable, "-c", COLLECTING], check=True, timeout=60)
