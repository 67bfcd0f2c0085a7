import os
import platform
import subprocess
import sys
from pathlib import Path

import django_rq
import psutil
import pytest

from tests.fixtures import recordings
from transcription.speech import children, probing

PROJECT = Path(__file__).resolve().parents[2]


def report(path: str) -> None:
    """A task: read a recording, and write the process ids of zygote, owner of the zygote, and worker."""
    probing.probe_in_child(recordings.named("silence.wav").path, max_duration_ms=60_000)
    zygote = psutil.Process(children.ZYGOTES.started[-1].pid)
    with Path(path).open("a") as file:
        file.write(f"{zygote.pid} {zygote.ppid()} {os.getppid()}\n")


@pytest.mark.slow
@pytest.mark.enable_socket
def test_tasks_read_by_the_zygote_of_their_worker(tmp_path):
    said = tmp_path / "said"
    for _ in range(2):
        django_rq.get_queue("standard").enqueue_call("tests.transcription.test_worker.report", args=(str(said),))
    words = ["rqworker", "--burst", "--worker-class", "transcription.worker.Worker", "standard"]
    subprocess.run([sys.executable, "manage.py", *words], cwd=PROJECT, check=True, capture_output=True, timeout=60)
    (zygote, owner, worker), second = (line.split() for line in said.read_text().splitlines())
    assert owner == worker
    assert second == [zygote, owner, worker]
    assert not psutil.pid_exists(int(zygote)), "it ended with its worker"


@pytest.mark.slow
@pytest.mark.enable_socket
@pytest.mark.parametrize(("queue", "children"), [("bulk", 1), ("standard", 3)])
def test_child_does_several_short_tasks_of_a_batch(tmp_path, queue, children):
    said = tmp_path / "said"
    for _ in range(3):
        django_rq.get_queue(queue).enqueue_call("tests.transcription.noting.note", args=(str(said),))
    words = ["rqworker", "--burst", "--worker-class", "transcription.worker.Worker", queue]
    subprocess.run([sys.executable, "manage.py", *words], cwd=PROJECT, check=True, capture_output=True, timeout=60)
    assert len(said.read_text().split()) == 3
    assert len(set(said.read_text().split())) == children


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is a function of glibc")
def test_large_blocks_are_given_back():
    """Small blocks that are kept from each window must not prevent the return of the memory of windows."""
    program = """
import sys
from pathlib import Path
import django
django.setup()
from transcription import worker
def heap():
    lines = Path("/proc/self/maps").read_text().splitlines()
    first, after = next(line.split()[0] for line in lines if line.endswith("[heap]")).split("-")
    return int(after, 16) - int(first, 16)
if sys.argv[1:]:
    assert worker.map_large_blocks_apart()
freed = bytearray(24 << 20)
del freed  # from now on, glibc takes blocks of this size from the heap by default
before = heap()
kept = []
for _ in range(50):
    window = bytearray(b"x" * (2 << 20))
    kept.append(bytearray(b"x" * 100_000))
    windows = [bytearray(b"x" * (2 << 20)) for _ in range(10)]
    kept.append(bytearray(b"x" * 100_000))
    del window, windows
print(heap() - before > 20 << 20)
"""
    said = [
        subprocess.run([sys.executable, "-c", program, *words], cwd=PROJECT, check=True, capture_output=True, text=True)
        for words in ([], ["apart"])
    ]
    assert [one.stdout.strip() for one in said] == ["True", "False"]
