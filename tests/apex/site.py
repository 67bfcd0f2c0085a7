"""Starts the web process as it runs in production, with a database and a Redis of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from tests.product import PROJECT_DIR, START_SECONDS, Product, environment_of, free_port, migrate
from voxsite.serve import embedded_redis


@dataclass(frozen=True)
class Site(Product):
    """A running web process."""

    def newest(self) -> dict[str, Any]:
        """Return the newest completion, once it has ended."""
        columns = (
            "id state prompt_tokens completion_tokens source cost_micros first_token_ms latency_ms finish upstream"
        )
        query = f"SELECT {columns.replace(' ', ', ')} FROM apex_completion ORDER BY created_at DESC LIMIT 1"
        deadline = time.monotonic() + 30
        while True:
            rows = self.rows(query)
            if rows and rows[0][1] != "running":
                return dict(zip(columns.split(), rows[0], strict=True))
            assert time.monotonic() < deadline, rows
            time.sleep(0.02)

    def charges_of(self, completion: dict[str, Any]) -> list[int]:
        """Return the amounts of a completion's ledger entries."""
        reference = f"chat:{'-'.join(_uuid_parts(completion['id']))}"
        return [
            -amount for (amount,) in self.rows("SELECT amount_micros FROM billing_entry WHERE reference = ?", reference)
        ]

    def held_micros(self) -> int:
        return int(self.rows("SELECT coalesce(sum(held_micros), 0) FROM billing_wallet")[0][0])


def _uuid_parts(text: str) -> list[str]:
    plain = text.replace("-", "")
    return [plain[:8], plain[8:12], plain[12:16], plain[16:20], plain[20:]]


@contextmanager
def running(folder: Path, **switches: str) -> Iterator[Site]:
    """Run the web process while the context is open. switches: environment variables."""
    port = free_port()
    redis, redis_url = embedded_redis.start(folder)
    environment = environment_of(
        **{
            "PORT": str(port),
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": str(folder),
            "VOXSITE_ENGINE": "pocketsphinx",
            "REDIS_URL": redis_url,
            **switches,
        }
    )
    migrate(folder, environment)
    address = f"http://127.0.0.1:{port}"
    with (folder / "web.log").open("a") as log:
        server = start_web(environment, log)
        try:
            wait_until_up(address, server, folder / "web.log")
            yield Site(address=address, folder=folder, environment=environment, process=server)
        finally:
            server.terminate()
            try:
                server.wait(timeout=60)
            finally:
                embedded_redis.stop(redis)


def start_web(environment: dict[str, str], log: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "voxsite.serve.web"]
    return subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log)


def wait_until_up(address: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            if requests.get(f"{address}/health", timeout=3).status_code == 200:
                return
        except requests.RequestException:
            pass
        assert server.poll() is None, log.read_text()[-4000:]
        assert time.monotonic() < deadline, log.read_text()[-4000:]
        time.sleep(0.1)
