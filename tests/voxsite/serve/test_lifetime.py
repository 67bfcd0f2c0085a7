"""No process outlives the server, however the server ends."""

import subprocess
import sys

import psutil
import pytest

from tests.product import PROJECT_DIR
from tests.voxsite.serve.servers import START_SECONDS

pytestmark = [pytest.mark.enable_socket, pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")]

PATIENCE_SECONDS = 60
# Each program prints the ids of the processes that it starts, in one line, and then waits for a line.
ORPHANS = """
import subprocess, sys
from voxsite.serve import lifetime
lifetime.adopt_orphans()
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
start = f"import subprocess, time; print(subprocess.Popen({sleep}).pid, flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", start], stdout=subprocess.PIPE, start_new_session=True)
print(child.pid, child.stdout.readline().decode().strip(), flush=True)
sys.stdin.readline()
print(lifetime.end_descendants())
"""
CHILD = """
import os, subprocess, sys
from voxsite.serve import lifetime
pid = os.getpid()
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(sleep, preexec_fn=lambda: lifetime.die_with_parent(parent_pid=pid)).pid, flush=True)
sys.stdin.readline()
"""
# As RQ's work horse: a fork with a process group of its own, and no exec.
FORK = """
import os, sys, time
from voxsite.serve import lifetime
lifetime.let_no_fork_outlive_this_process()
fork = os.fork()
if not fork:
    os.setsid()
    time.sleep(600)
print(fork, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def start():
    """Return a starter of a program, which returns (its process, the processes that it started)."""
    started = []

    def start_program(code):
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=PROJECT_DIR, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        below = [psutil.Process(int(pid)) for pid in process.stdout.readline().split()]
        started.extend([process, *below])
        return process, below

    yield start_program
    for process in started:
        if isinstance(process, subprocess.Popen):
            process.kill()
            process.communicate()
        elif process.is_running():
            process.kill()


def alive(processes):
    return psutil.wait_procs(processes, timeout=PATIENCE_SECONDS)[1]


def test_descendants_end_though_their_parent_died_before(start):
    """A worker that was killed leaves its own children to the server, which finds them all the same."""
    server, (child, grandchild) = start(ORPHANS)
    child.kill()
    assert grandchild.is_running()
    server.communicate("go on\n", timeout=PATIENCE_SECONDS)
    assert server.returncode == 0
    assert alive([child, grandchild]) == []


@pytest.mark.long
@pytest.mark.parametrize("code", [CHILD, FORK], ids=["child", "fork"])
def test_process_ends_with_its_parent(start, code):
    parent, below = start(code)
    assert [process.is_running() for process in below] == [True]
    parent.kill()
    parent.wait(timeout=PATIENCE_SECONDS)
    assert alive(below) == []


@pytest.mark.whole
@pytest.mark.slow
def test_killed_server_leaves_nothing(server):
    server.wait(server.answers, seconds=START_SECONDS)
    server.wait(lambda: server.named("worker"), seconds=START_SECONDS)
    server.descendants()
    server.process.kill()
    server.process.wait(timeout=PATIENCE_SECONDS)
    assert server.left() == []
