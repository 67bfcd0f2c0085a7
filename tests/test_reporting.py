"""What a run says of failed and skipped tests, asked of a small run in processes of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.database import PROJECT_DIR

TESTS = """
import os, signal
import pytest

@pytest.fixture
def broken():
    raise RuntimeError

def test_good(): pass
def test_bad(): assert False
def test_without_its_fixture(broken): pass
@pytest.mark.parametrize("number", range(3))
def test_skipped(number): pytest.skip("needs the moon")
"""
KILLED = (
    "def test_that_ends_the_run(): os.kill(os.getppid() if 'PYTEST_XDIST_WORKER' in os.environ else os.getpid(), 9)"
)


def run(folder: Path, *arguments: str) -> tuple[str, list[str]]:
    """Return (what pytest printed, the lines about failed tests) of a run of the tests in a folder."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"VOXSITE_FAILED_TESTS": str(folder / "failed"), "PYTHONPATH": str(PROJECT_DIR)}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.reporting",
        "-p",
        "no:django",
        "-p",
        "no:randomly",
        *arguments,
    ]
    printed = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True).stdout
    return printed, sorted((folder / "failed").read_text().splitlines())


@pytest.mark.long
@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "two"])
def test_failed_tests_are_listed_once_and_skipped_ones_by_reason(tmp_path, arguments):
    (tmp_path / "test_one.py").write_text(TESTS)
    printed, failed = run(tmp_path, *arguments)
    assert failed == ["test_one.py::test_bad", "test_one.py::test_without_its_fixture (setup)"]
    assert printed.count("needs the moon") == 1
    assert "skipped 3: needs the moon" in printed


@pytest.mark.long
def test_file_that_cannot_be_read_is_listed(tmp_path):
    (tmp_path / "test_one.py").write_text("import no_such_module")
    assert run(tmp_path)[1] == ["test_one.py (collection)"]


@pytest.mark.long
def test_failed_tests_of_a_run_that_was_killed_are_listed(tmp_path):
    (tmp_path / "test_one.py").write_text(f"{TESTS}{KILLED}\n")
    assert "test_one.py::test_bad" in run(tmp_path)[1]
