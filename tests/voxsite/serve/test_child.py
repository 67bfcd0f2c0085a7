"""How a supervised process begins."""

import os
import subprocess
import sys

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
