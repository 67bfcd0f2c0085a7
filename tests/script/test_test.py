"""How many processes script/test runs the tests in, asked with a Python that only says its arguments."""

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent.parent / "script" / "test"


def program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with script/test, a set-up that does nothing and a Python that says what it is asked to run."""
    program(tmp_path / "script" / "setup", "true")
    shutil.copy(SCRIPT, tmp_path / "script" / "test")
    program(tmp_path / ".venv" / "bin" / "python", 'echo "$@"')
    return tmp_path


def given_to_pytest(project: Path, *arguments: str) -> str:
    """Return what pytest gets before the arguments of the caller."""
    said = subprocess.run([project / "script" / "test", *arguments], capture_output=True, text=True, check=True).stdout
    said = said.removeprefix("-m pytest").removesuffix("\n")
    return said.removesuffix(" " + " ".join(arguments)).strip()


WITHOUT_LONG_ONES = "-m not browser and not slow and not gpu and not long"


@pytest.mark.parametrize("arguments", [(), ("-q",), ("-x", "-p", "no:randomly")])
def test_all_tests_but_the_long_ones_use_every_core(project: Path, arguments: tuple[str, ...]) -> None:
    assert given_to_pytest(project, *arguments) == f"-n auto --dist worksteal {WITHOUT_LONG_ONES}"


@pytest.mark.parametrize("arguments", [("tests",), ("tests/billing",), ("-q", "tests/billing")])
def test_folder_that_is_named_runs_whole_on_every_core(project: Path, arguments: tuple[str, ...]) -> None:
    assert given_to_pytest(project, *arguments) == "-n auto --dist worksteal"


@pytest.mark.parametrize(
    "arguments",
    [
        ("tests/billing/test_topups.py",),
        ("tests/billing/test_topups.py::test_one", "-q"),
        ("tests", "-k", "refund"),
        ("-m", "browser", "tests/browser"),
        ("--lf",),
        ("--pdb",),
        ("-s", "tests/billing"),
        ("-p", "no:xdist"),
    ],
)
def test_few_tests_and_those_at_a_terminal_run_in_one_process(project: Path, arguments: tuple[str, ...]) -> None:
    assert given_to_pytest(project, *arguments) == ""


@pytest.mark.parametrize("arguments", [("tests", "-n", "3"), ("-m", "slow", "-n", "3", "--dist", "loadfile")])
def test_number_of_processes_is_the_callers_to_choose(project: Path, arguments: tuple[str, ...]) -> None:
    assert given_to_pytest(project, *arguments) == "--dist worksteal"


def test_number_of_processes_changes_nothing_of_what_runs(project: Path) -> None:
    assert given_to_pytest(project, "-n0") == f"--dist worksteal {WITHOUT_LONG_ONES}"
