"""The whole product as script/server starts it, on embedded defaults and a fresh data folder, for tests that use it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

PROJECT_DIR = Path(__file__).resolve().parent.parent
# What the tests' own world sets must not reach the product: it runs on embedded defaults, as on a fresh machine.
SWITCHES = ("DATABASE_URL", "REDIS_URL", "VOXSITE_ENGINE_SOCKET", "HOST", "DJANGO_SETTINGS_MODULE", "SECRET_KEY")
START_SECONDS = 120
STOP_SECONDS = 20


@dataclass(frozen=True)
class Product:
    """A running product."""

    address: str
    folder: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes]

    def manage(self, *words: str) -> str:
        """Run `manage.py` on the product's data and return what it prints."""
        command = [sys.executable, "manage.py", *words]
        done = subprocess.run(
            command, cwd=PROJECT_DIR, env=self.environment, capture_output=True, text=True, timeout=60, check=True
        )
        return done.stdout

    def new_key(self, *, owner: str = "ann@example.com", dollars: str = "20") -> str:
        """Return the API key of a new organization that has money."""
        printed = self.manage("create_organization", owner, "--owner", owner, "--credit-dollars", dollars)
        return printed.splitlines()[-1]


@contextmanager
def running(folder: Path, **switches: str) -> Iterator[Product]:
    """Start the product and end it. switches: environment variables beside the defaults of the tests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name not in SWITCHES} | {
        "PORT": str(port),
        "VOXSITE_ENV": "development",
        "VOXSITE_DATA_DIR": str(folder),
        "VOXSITE_ENGINE": "pocketsphinx",
        **switches,
    }
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "voxsite.serve"], cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log
        )
        address = f"http://localhost:{port}"
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(f"{address}/health/ready"):
                alive = server.poll() is None and time.monotonic() < deadline
                assert alive, (folder / "server.log").read_text()[-4000:]
                time.sleep(0.3)
            yield Product(address=address, folder=folder, environment=environment, process=server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=STOP_SECONDS)


def _is_ready(address: str) -> bool:
    try:
        return requests.get(address, timeout=3).status_code == 200
    except requests.RequestException:
        return False
