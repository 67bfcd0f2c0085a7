"""The whole product as script/server starts it, on a fresh data folder, for tests that use it.

It runs on embedded defaults; who wants it on the PostgreSQL and Redis that the tests are given passes `given_services`.
"""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import psycopg
import requests
from redis import Redis

from tests import database
from tests.database import PROJECT_DIR

# What the tests' own world sets must not reach the product: it runs on embedded defaults, as on a fresh machine.
SWITCHES = (
    "DATABASE_URL",
    "REDIS_URL",
    "VOXSITE_ENV",
    "VOXSITE_ENGINE_SOCKET",
    "HOST",
    "DJANGO_SETTINGS_MODULE",
    "DJANGO_ALLOW_ASYNC_UNSAFE",
    "SECRET_KEY",
)
START_SECONDS = 300
NEW_KEYS = """
import io, json
from django.core.management import call_command

keys = {{}}
for owner, dollars in {dollars!r}.items():
    printed = io.StringIO()
    call_command("create_organization", owner, "--owner", owner, "--credit-dollars", dollars, stdout=printed)
    keys[owner] = printed.getvalue().splitlines()[-1]
print(json.dumps(keys))
"""
STOP_SECONDS = 120


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
            command, cwd=PROJECT_DIR, env=self.environment, capture_output=True, text=True, timeout=180, check=True
        )
        return done.stdout

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return what the database says; ids as 32 hexadecimal digits on both."""
        if url := self.environment.get("DATABASE_URL"):
            with psycopg.connect(url) as database:
                found = database.execute(query.replace("?", "%s"), values or None).fetchall()
        else:
            with sqlite3.connect(f"file:{self.folder}/voxsite.sqlite3?mode=ro", uri=True, timeout=30) as database:
                found = database.execute(query, values).fetchall()
        return [tuple(value.hex if isinstance(value, UUID) else value for value in row) for row in found]

    def new_key(self, *, owner: str = "ann@example.com", dollars: str = "20") -> str:
        """Return the API key of a new organization that has money."""
        printed = self.manage("create_organization", owner, "--owner", owner, "--credit-dollars", dollars)
        return printed.splitlines()[-1]

    def new_keys(self, dollars: dict[str, str]) -> dict[str, str]:
        """Return the API keys of new organizations by their owners. One process makes all, since a start takes 2 s.

        dollars: of each organization, by the address of its owner.
        """
        return dict(json.loads(self.manage("shell", "--no-imports", "-c", NEW_KEYS.format(dollars=dollars))))


def environment_of(**switches: str) -> dict[str, str]:
    """Return the environment for a product: that of the tests without their own switches, with these switches."""
    return {name: value for name, value in os.environ.items() if name not in SWITCHES} | switches


def migrate(folder: Path, environment: dict[str, str]) -> None:
    """Make the database that a product with this data folder and environment uses."""
    if not environment.get("DATABASE_URL") and os.environ.get("VOXSITE_TEST_DIR"):
        database.copy_file(folder / "voxsite.sqlite3")
        return
    command = [sys.executable, "manage.py", "migrate_quickly", "--verbosity", "0"]
    subprocess.run(command, cwd=PROJECT_DIR, env=environment, check=True, timeout=300)


@contextmanager
def running(folder: Path, *, ready_path: str = "/health/ready", **switches: str) -> Iterator[Product]:
    """Start the product, on a database that is migrated already, and end it.

    ready_path: the address that must answer 200 first. switches: environment variables beside the defaults of tests.
    """
    if not switches.get("DATABASE_URL") and os.environ.get("VOXSITE_TEST_DIR"):
        migrate(folder, {})  # outside of a test run, in a benchmark, the product makes its database
    with running_first(folder, ready_path=ready_path, **switches) as product:
        yield product


@contextmanager
def running_first(folder: Path, *, ready_path: str = "/health/ready", **switches: str) -> Iterator[Product]:
    """Do the same on a fresh machine: the product makes its database."""
    port = free_port()
    environment = environment_of(
        **{
            "PORT": str(port),
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": str(folder),
            "VOXSITE_ENGINE": "pocketsphinx",
            **switches,
        }
    )
    with (folder / "server.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "voxsite.serve"], cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log
        )
        address = f"http://localhost:{port}"
        try:
            deadline = time.monotonic() + START_SECONDS
            while not _is_ready(f"{address}{ready_path}"):
                alive = server.poll() is None and time.monotonic() < deadline
                assert alive, (folder / "server.log").read_text()[-4000:]
                time.sleep(0.3)
            yield Product(address=address, folder=folder, environment=environment, process=server)
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(timeout=STOP_SECONDS)


@contextmanager
def given_services() -> Iterator[dict[str, str]]:
    """Give the switches for a new PostgreSQL database and the Redis that the tests are given; none without them."""
    given = os.environ.get("DATABASE_URL")
    if not given:
        yield {}
        return
    url = urlsplit(given)._replace(path=f"/voxsite_product_{uuid4().hex[:12]}").geturl()
    database.create(url)
    try:
        # The product's queues and counts begin empty; the tests of this folder leave the Redis to it.
        with Redis.from_url(os.environ["REDIS_URL"]) as client:
            client.flushdb()
        yield {"DATABASE_URL": url, "REDIS_URL": os.environ["REDIS_URL"]}
    finally:
        database.drop(url)


def free_port() -> int:
    """Return a port that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _is_ready(address: str) -> bool:
    try:
        return requests.get(address, timeout=3).status_code == 200
    except requests.RequestException:
        return False
