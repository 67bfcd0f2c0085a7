"""The products of several checkouts, each with the `.venv` of its own, started as `script/server` starts them."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import requests

from tests.product import environment_of, free_port

START_SECONDS = 300


@dataclass(frozen=True)
class Build:
    """A running product. ready_seconds: from its start until it was ready."""

    address: str
    code: Path
    environment: dict[str, str]
    process: psutil.Process
    ready_seconds: float

    def manage(self, *words: str) -> str:
        """Run `manage.py` of the build on its data and return what it prints."""
        command = [self.code / ".venv/bin/python", "manage.py", *words]
        done = subprocess.run(command, cwd=self.code, env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout


@contextmanager
def running(code: Path, folder: Path) -> Iterator[Build]:
    """Start the product of a checkout on a fresh data folder, with PocketSphinx and otherwise its defaults."""
    port = free_port()
    environment = environment_of(
        PORT=str(port), VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(folder), VOXSITE_ENGINE="pocketsphinx"
    )
    environment.pop("PYTHONPATH", None)
    command = [code / ".venv/bin/python", "-m", "voxsite.serve"]
    with (folder / "server.log").open("w") as log:
        begun = time.monotonic()
        server = subprocess.Popen(command, cwd=code, env=environment, stdout=log, stderr=log)
        try:
            address = f"http://localhost:{port}"
            while not _is_ready(address):
                is_starting = server.poll() is None and time.monotonic() < begun + START_SECONDS
                assert is_starting, (folder / "server.log").read_text()[-2000:]
                time.sleep(0.2)
            seconds = time.monotonic() - begun
            yield Build(address, code, environment, psutil.Process(server.pid), seconds)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(60)


def _is_ready(address: str) -> bool:
    try:
        return requests.get(f"{address}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False
