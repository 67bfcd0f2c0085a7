"""Hosts of one site on this machine: each with workers and simulated engines, a data folder, and links to the others.

A host reaches PostgreSQL and Redis, and is reached by other hosts, over links, which can be cut. Files lie in a folder
that all hosts share, in place of a bucket. Web and the clock are the site's that is given.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import Redis

from tests.database import PROJECT_DIR
from tests.product import Product, free_port
from transcription.speech.engines import curve
from transcription.speech.engines.leases import Registry

START_SECONDS = 120


class Keys:
    """The keys of a fleet, as its hosts have them in their environments."""

    def __init__(self) -> None:
        engine, client = curve.make(), curve.make()
        self.of_engines = {"VOXSITE_ENGINE_SECRET_KEY": engine.secret, "VOXSITE_ENGINE_CLIENTS": client.public}
        self.of_clients = {
            "VOXSITE_ENGINES": "0",
            "VOXSITE_ENGINE_PUBLIC_KEYS": engine.public,
            "VOXSITE_ENGINE_CLIENT_SECRET_KEY": client.secret,
        }


class Link:
    """A port that leads to another one. While it is cut nothing passes, and no side is told, as in a real outage."""

    def __init__(self, port: int) -> None:
        self._leads_to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._passes = threading.Event()
        self._passes.set()
        self._is_over = False
        self._ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._passes.clear()

    def mend(self) -> None:
        self._passes.set()

    def close(self) -> None:
        self._is_over = True
        self._passes.set()
        for one in (self._listener, *self._ends):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while not self._is_over:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(near,), daemon=True).start()

    def _pass(self, near: socket.socket) -> None:
        self._passes.wait()
        try:
            far = socket.create_connection(("127.0.0.1", self._leads_to))
        except OSError:
            near.close()
            return
        self._ends += [near, far]
        other = {near: far, far: near}
        try:
            while True:
                for one in select.select([near, far], [], [])[0]:
                    sent = one.recv(1 << 16)
                    self._passes.wait()
                    if not sent:
                        return
                    other[one].sendall(sent)
        except (OSError, ValueError):
            return
        finally:
            near.close()
            far.close()


class Host:
    """Workers and engines that are killed and cut off together."""

    def __init__(
        self,
        folder: Path,
        site: Product,
        keys: Keys,
        *,
        workers: int,
        engines: int,
        batch_seconds: float,
    ) -> None:
        folder.mkdir(parents=True)
        (folder / "media").symlink_to(site.folder / "media")
        self._links: list[Link] = []
        environment = {**site.environment, "VOXSITE_DATA_DIR": str(folder), **keys.of_clients}
        environment.pop("VOXSITE_ENGINE_SOCKET", None)
        for name in ("DATABASE_URL", "REDIS_URL"):
            url = urlsplit(site.environment[name])
            assert url.port is not None, "the tests are given services with ports"
            user = f"{url.username}@" if url.username else ""
            environment[name] = url._replace(netloc=f"{user}127.0.0.1:{self._link(url.port).port}").geturl()
        self._engine_count = engines
        self.engine_sockets = tuple(f"ipc://{folder}/engine-{number}.sock" for number in range(engines))
        self._processes: list[subprocess.Popen[bytes]] = []
        with (folder / "log").open("w") as log:
            for socket_address in self.engine_sockets:
                port = free_port()
                self._start(
                    "tests.simulated_engine",
                    socket_address,
                    f"--listen=tcp://127.0.0.1:{port}",
                    f"--public-port={self._link(port).port}",
                    f"--batch-seconds={batch_seconds}",
                    environment={**environment, **keys.of_engines},
                    log=log.fileno(),
                )
            for _ in range(workers):
                self._start("voxsite.serve.child", "worker", environment=environment, log=log.fileno())

    def _link(self, port: int) -> Link:
        link = Link(port)
        self._links.append(link)
        return link

    def _start(self, module: str, *words: str, environment: dict[str, str], log: int) -> None:
        command = [sys.executable, "-m", module, *words]
        self._processes.append(
            subprocess.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=log, stderr=log, start_new_session=True)
        )

    def signal_engines(self, number: int) -> None:
        """Send a signal to its engines: SIGKILL ends them, SIGSTOP lets them say nothing until SIGCONT."""
        for process in self._processes[: self._engine_count]:
            process.send_signal(number)

    @property
    def engine_pids(self) -> list[int]:
        return [process.pid for process in self._processes[: self._engine_count]]

    @property
    def worker_pids(self) -> list[int]:
        return [process.pid for process in self._processes[self._engine_count :]]

    def cut_off(self) -> None:
        for link in self._links:
            link.cut()

    def reach_again(self) -> None:
        for link in self._links:
            link.mend()

    def kill(self) -> None:
        """End all of it at once, with the children of its workers, as a power failure does."""
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        for process in self._processes:
            process.wait(30)

    def close(self) -> None:
        self.kill()
        for link in self._links:
            link.close()


@contextmanager
def hosts(
    folder: Path,
    site: Product,
    keys: Keys,
    *,
    engines: Sequence[int],
    workers: int,
    batch_seconds: float,
) -> Iterator[list[Host]]:
    """Start hosts with so many engines each, and wait until all of these are known and all workers wait for work."""
    with ExitStack() as stack, Redis.from_url(site.environment["REDIS_URL"]) as redis:
        before = workers_of(redis)
        started = []
        for number, count in enumerate(engines):
            host = Host(
                folder / f"host-{number}", site, keys, workers=workers, engines=count, batch_seconds=batch_seconds
            )
            stack.callback(host.close)
            started.append(host)
        wanted = (sum(engines), workers * len(engines))
        deadline = time.monotonic() + START_SECONDS
        while (found := (len(Registry(redis).all()), len(workers_of(redis) - before))) != wanted:
            assert time.monotonic() < deadline, f"{found} engines and workers, not {wanted}"
            time.sleep(0.2)
        yield started


def workers_of(redis: Redis) -> set[bytes]:
    """Return the names of the workers that RQ knows; it forgets killed ones after a while."""
    names: Any = redis.smembers("rq:workers")
    return set(names)
