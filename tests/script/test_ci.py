"""The parts of .ci/run, and that the workflow on GitHub runs all of them."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def parts() -> set[str]:
    """The names that .ci/run says it knows."""
    answer = subprocess.run([".ci/run", "no-such-part"], cwd=PROJECT, capture_output=True, text=True, timeout=30)
    assert answer.returncode == 2
    return set(re.search(r"parts: (.+)", answer.stderr)[1].split())


@pytest.fixture(scope="module")
def jobs() -> dict[str, Any]:
    return yaml.safe_load((PROJECT / ".github/workflows/ci.yml").read_text())["jobs"]


def chosen_by(job: dict[str, Any]) -> set[str]:
    """Return the parts that a job of the workflow gives to .ci/run, in each cell of its matrix."""
    (command,) = (step["run"] for step in job["steps"] if ".ci/run" in step.get("run", ""))
    words = set(command.split()[1:])
    if "${{" not in command:
        return words
    assert command == ".ci/run ${{ matrix.part }}"
    return set(job["strategy"]["matrix"]["part"])


def test_unknown_part_runs_nothing(parts: set[str]) -> None:
    assert {"check", "sqlite", "postgresql"} <= parts


def test_workflow_runs_every_part_and_no_other(parts: set[str], jobs: dict[str, Any]) -> None:
    assert set().union(*(chosen_by(job) for job in jobs.values())) == parts


@pytest.mark.parametrize("part", ["sqlite", "postgresql"])
def test_workflow_tries_every_python_on_both_databases(part: str, jobs: dict[str, Any]) -> None:
    (job,) = (job for job in jobs.values() if part in chosen_by(job))
    versions = job["strategy"]["matrix"]["python"]
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={versions[0]}"
    assert versions == ["3.11", "3.12", "3.13", "3.14"]
    assert job["env"]["VOXSITE_PYTHON"] == "python${{ matrix.python }}"
