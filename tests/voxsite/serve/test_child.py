"""How a supervised process begins."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.product import PROJECT_DIR, environment_of
from tests.voxsite.serve.web_pages import answering

pytestmark = pytest.mark.enable_socket


def become(name, **switches):
    return subprocess.run(
        [sys.executable, "-m", "voxsite.serve.child", name],
        cwd=PROJECT_DIR,
        env=environment_of(REDIS_URL="redis://elsewhere", **switches),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.slow
def test_program_runs_under_its_supervisor(tmp_path):
    with answering(200) as port:
        done = become(
            "announce", PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path), VOXSITE_SUPERVISOR_PID=str(os.getpid())
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Voxsite is at http://localhost:{port}/")


def test_unknown_program_is_told_which_there_are(tmp_path):
    done = become("nothing", VOXSITE_DATA_DIR=str(tmp_path))
    assert done.returncode == 1
    assert "no program 'nothing'; there are web, worker, importer, engine, clock, deliverer, announce" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
def test_process_whose_supervisor_has_ended_does_not_begin(tmp_path):
    """It would run without an end: no signal comes any more."""
    with answering(200) as port:
        done = become("announce", PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path), VOXSITE_SUPERVISOR_PID="1")
    assert (done.returncode, done.stdout) == (0, "")


FORKED = """
import os, signal, sys
import setproctitle
setproctitle.getproctitle()
signal.signal(signal.SIGTERM, lambda *_: None)
from voxsite.serve import child
pid = os.fork()
if pid == 0:
    child.run_in_fork(sys.argv[1], environment=dict(os.environ) | {"VOXSITE_SUPERVISOR_PID": str(os.getppid())})
print("forked", pid, flush=True)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


def forked(name, **switches):
    return subprocess.Popen(
        [sys.executable, "-c", FORKED, name],
        cwd=PROJECT_DIR,
        env=environment_of(REDIS_URL="redis://elsewhere", **switches),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_fork_ends_as_its_program_does(tmp_path):
    with answering(200) as port, forked("announce", PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path)) as good:
        said, _ = good.communicate(timeout=60)
    assert (good.returncode, f"Voxsite is at http://localhost:{port}/" in said) == (0, True)
    with forked("nothing", VOXSITE_DATA_DIR=str(tmp_path)) as bad:
        _, complaint = bad.communicate(timeout=60)
    assert (bad.returncode, "there is no program 'nothing'" in complaint) == (1, True)


def test_fork_is_named_after_its_program_and_takes_its_own_signals(tmp_path):
    """The supervisor's handlers would only note them."""
    with answering(503) as port, forked("announce", PORT=str(port), VOXSITE_DATA_DIR=str(tmp_path)) as waiting:
        process = psutil.Process(int(waiting.stdout.readline().split()[1]))
        deadline = time.monotonic() + 30
        while " ".join(process.cmdline()).split()[-2:] != ["voxsite.serve.child", "announce"]:
            assert time.monotonic() < deadline, process.cmdline()
            time.sleep(0.01)
        process.terminate()
        waiting.communicate(timeout=30)
    assert waiting.returncode == -signal.SIGTERM % 256
