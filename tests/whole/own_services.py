"""A PostgreSQL and a Redis of a test's own, which it may stop, freeze and fill."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import psycopg
from redis import Redis
from redis.exceptions import RedisError

from tests.product import free_port
from voxsite.serve import embedded_redis

START_SECONDS = 60


class Service:
    """A server process and all that it has forked."""

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            for one in self._processes():
                one.kill()
            self.process.wait(30)

    def freeze(self) -> None:
        for one in self._processes():
            one.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for one in reversed(self._processes()):
            one.send_signal(signal.SIGCONT)

    def _processes(self) -> list[psutil.Process]:
        assert self.process is not None
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]


class OwnRedis(Service):
    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [embedded_redis.executable(), "--port", str(self.port), "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with Redis.from_url(self.url) as client:
            _wait(client.ping, RedisError)

    def fill(self) -> None:
        """Let it refuse every write, as one that has reached its memory."""
        self._set_memory(1)

    def empty(self) -> None:
        self._set_memory(0)

    def _set_memory(self, size: int) -> None:
        with Redis.from_url(self.url) as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", size)


class OwnPostgres(Service):
    """PostgreSQL as the user postgres if the test runs as root, whom it refuses.

    settings: of the server, as postgresql.conf has them.
    """

    def __init__(self, binaries: Path, **settings: str) -> None:
        self.binaries, self.port, self.settings = binaries, free_port(), settings
        # Not below pytest's folder, which other users cannot enter.
        self.folder = Path("/tmp") / f"voxsite-postgresql-{os.getpid()}"
        self.folder.mkdir(mode=0o700)
        self.prefix: list[str] = []
        if os.geteuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
            self.prefix = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
        initdb = [
            *self.prefix,
            str(binaries / "initdb"),
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
        ]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/")
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        command = [*self.prefix, str(self.binaries / "postgres"), "-D", str(self.folder / "data")]
        options = ["-p", str(self.port), "-k", "", "-c", "listen_addresses=127.0.0.1"]
        options += [part for name, value in self.settings.items() for part in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(
            [*command, *options], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        _wait(lambda: psycopg.connect(self.url, connect_timeout=2).close(), psycopg.Error)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


class OwnPgBouncer(Service):
    """PgBouncer before a PostgreSQL, with a new connection of the server for each transaction: none outlasts it.

    As the user postgres if the test runs as root, whom it refuses.
    """

    def __init__(self, binary: str, *, postgres: OwnPostgres) -> None:
        self.binary, self.postgres, self.port = binary, postgres, free_port()
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        settings = f"""
[databases]
* = host=127.0.0.1 port={self.postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
server_lifetime = 0
max_client_conn = 500
"""
        path = self.postgres.folder / "pgbouncer.ini"
        path.write_text(settings)
        path.chmod(0o644)
        command = [*self.postgres.prefix, self.binary, "-q", str(path)]
        self.process = subprocess.Popen(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait(lambda: psycopg.connect(self.url, connect_timeout=2).close(), psycopg.Error)


def pgbouncer_binary() -> str | None:
    """Return the path of PgBouncer, None on a machine without it."""
    return shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


def postgres_binaries() -> Path | None:
    """Return the folder with PostgreSQL's server programs, None on a machine without them."""
    found = shutil.which("initdb")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return Path(found).parent if found else folders[-1].parent if folders else None


def _wait(ask: object, failure: type[Exception]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            ask()  # type: ignore[operator]  # any function
        except failure:
            assert time.monotonic() < deadline, "the service does not start"
            time.sleep(0.02)
        else:
            return
