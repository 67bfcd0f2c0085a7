"""What script/setup promises on machines that lack something, tried on a copy beside an empty lock."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SETUP = Path(__file__).resolve().parent.parent.parent / "script" / "setup"
TOOLS = ("cat", "cmp", "cp", "dirname", "grep", "rm", "sh", "tail")


@pytest.fixture
def project(tmp_path) -> Path:
    """A folder with script/setup, locks that name nothing, and a PATH of its own without any Python."""
    (tmp_path / "script").mkdir()
    shutil.copy(SETUP, tmp_path / "script" / "setup")
    (tmp_path / "requirements.txt").touch()
    (tmp_path / "requirements-dev.txt").touch()
    (tmp_path / "requirements-gpu.txt").touch()
    (tmp_path / "path").mkdir()
    for tool in TOOLS:
        (tmp_path / "path" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def add_program(project: Path, name: str, text: str) -> None:
    program = project / "path" / name
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)


def add_python(project: Path) -> None:
    add_program(project, "python3", f'exec {sys.executable} "$@"')


def start(project: Path, *arguments: str, **switches: str) -> subprocess.Popen:
    command = [project / "script" / "setup", *arguments]
    environ = {"PATH": str(project / "path"), "HOME": str(project), "PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}
    environ |= switches
    return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def set_up(project: Path, *arguments: str, **switches: str) -> tuple[int, str]:
    """Return (exit status, what it said). switches: environment variables."""
    process = start(project, *arguments, **switches)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def test_no_python_is_one_sentence(project):
    add_program(project, "python3.12", "echo a shim without a version >&2; exit 127")
    status, said = set_up(project)
    assert status == 1
    assert said == "script/setup: no Python 3.11 or newer found on PATH; install one and run this again.\n"


def test_missing_venv_module_is_one_sentence(project):
    add_program(project, "python3.11", 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    status, said = set_up(project)
    assert status == 1
    assert said.startswith("script/setup: python3.11 has no venv module; install it")
    assert said.count("\n") == 1


@pytest.mark.slow
def test_named_python_is_used_instead_of_the_first_one_found(project):
    add_program(project, "python3.11", "echo used the wrong one >&2; exit 3")
    named = project / "a folder" / "python"
    named.parent.mkdir()
    named.symlink_to(sys.executable)
    assert set_up(project, VOXSITE_PYTHON=str(named))[0] == 0
    assert (project / ".venv" / "bin" / "python").exists()


def test_named_python_that_is_none_is_one_sentence(project):
    add_python(project)
    status, said = set_up(project, VOXSITE_PYTHON="python3.13")
    assert (status, said) == (1, "script/setup: VOXSITE_PYTHON=python3.13 is no Python 3.11 or newer.\n")
    assert not (project / ".venv").exists()


@pytest.mark.slow
def test_packages_out_of_reach_are_said_and_tried_again(project):
    add_python(project)
    lock = project / "requirements.txt"
    lock.write_text(f"no-such-package==1.0 --hash=sha256:{'0' * 64}\n")
    for _ in range(2):
        status, said = set_up(project)
        assert status == 1
        assert said.splitlines()[-1].startswith("script/setup: the packages could not be fetched")
    lock.write_text("")
    assert set_up(project)[0] == 0


@pytest.mark.slow
def test_set_up_is_done_once_however_many_ask(project):
    add_python(project)
    processes = [start(project) for _ in range(3)]
    said = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    assert sum("installing" in text for text in said) == 1

    # What is set up costs two comparisons and no Python.
    add_program(project, "python3", "echo a Python was asked >&2; exit 1")
    assert set_up(project) == (0, "")

    add_python(project)
    assert "requirements-dev.txt" in set_up(project, "--dev")[1]
    assert set_up(project) == (0, "")


@pytest.mark.slow
def test_host_with_a_gpu_has_an_environment_of_its_own(project):
    add_python(project)
    assert set_up(project, "--gpu")[0] == 0
    assert not (project / ".venv").exists()
    stamps = {path.name for path in (project / ".venv-gpu").glob("installed-*")}
    assert stamps == {"installed-requirements-gpu.txt"}
    assert set_up(project, "--gpu", "--dev")[0] == 0
    assert (project / ".venv-gpu" / "installed-requirements-dev.txt").exists()
    assert set_up(project, "--gpu", "--dev") == (0, "")


def test_unknown_option_is_refused(project):
    status, said = set_up(project, "--cpu")
    assert (status, said) == (2, "usage: script/setup [--gpu] [--dev]\n")
