"""The product's processes as containers run them, each by itself, and a load balancer before two web processes.

There is no supervisor. What restarts a process sends SIGTERM, waits, kills what is left, and starts it again, as
`docker compose up` and Kubernetes do.
"""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from tests import product
from tests.database import PROJECT_DIR

START_SECONDS = 180
SERVING_PATH = "/health/serving"
# How often the balancer asks each web process whether it serves. Load balancers ask every few seconds.
ASK_SECONDS = 0.5
# As compose.yaml and deploy/kubernetes set them, in seconds that fit into a test.
WEB_DRAIN_SECONDS, WEB_GRACE_SECONDS = 2, 15
ROLLING: dict[str, Any] = {
    "stop_seconds": {"web": WEB_DRAIN_SECONDS + WEB_GRACE_SECONDS + 5, "worker": 60, "importer": 60, "engine": 10},
    "VOXSITE_WEB_DRAIN_SECONDS": str(WEB_DRAIN_SECONDS),
    "VOXSITE_WEB_GRACE_SECONDS": str(WEB_GRACE_SECONDS),
    # The programs of a test are faster than any customer.
    "VOXSITE_RATE_REQUESTS": "100000/minute",
    "VOXSITE_RATE_UPLOADS": "100000/minute",
    "VOXSITE_RATE_COMPLETIONS": "100000/minute",
}


@dataclass
class Container:
    """One process, with what Docker and Kubernetes know of it. stop_seconds: until it is killed."""

    name: str
    program: str
    environment: dict[str, str]
    log: Path
    stop_seconds: float
    process: "subprocess.Popen[bytes] | None" = None
    was_killed: bool = field(default=False, init=False)

    def start(self) -> None:
        command = [sys.executable, "-m", "voxsite.serve.child", self.program]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=PROJECT_DIR, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self) -> float:
        """Tell the process to end, kill it when it does not, and return the seconds that it took."""
        assert self.process is not None, "it was started"
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(self.stop_seconds)
        except subprocess.TimeoutExpired:
            self.was_killed = True
            self.process.kill()
            self.process.wait()
        # A container ends with all that is in it.
        with suppress(subprocess.SubprocessError):
            subprocess.run(["pkill", "--signal", "KILL", "--session", str(self.process.pid)], check=False)
        return time.monotonic() - started


class Balancer:
    """A balancer of connections, as a Service of Kubernetes is: it asks the web processes whether they serve.

    A new connection goes to one that serves. An open one stays where it is, whatever its process says.
    """

    def __init__(self, ports: list[int]) -> None:
        self.ports = ports
        self.serving: set[int] = set()
        self.port = product.free_port()
        self._turn = 0
        self._open: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Stop to ask and to listen, and break what is still open."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._pass_on, "127.0.0.1", self.port, backlog=512)
        asking = [asyncio.create_task(self._ask(port)) for port in self.ports]
        await self._stopped.wait()
        server.close()
        for task in asking:
            task.cancel()

    async def _ask(self, port: int) -> None:
        while True:
            if await asyncio.to_thread(_serves, port):
                self.serving.add(port)
            else:
                self.serving.discard(port)
            await asyncio.sleep(ASK_SECONDS)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server runs each connection in a task"
        # The event loop keeps only weak references to its tasks.
        self._open.add(task)
        task.add_done_callback(self._open.discard)
        self._turn += 1
        serving = sorted(self.serving)
        open_writers = [writer]
        # Without a second try: a proxy may have one, a Service has none.
        with suppress(OSError, ZeroDivisionError, asyncio.CancelledError):
            try:
                port = serving[self._turn % len(serving)]
                web_reader, web_writer = await asyncio.open_connection("127.0.0.1", port)
                open_writers.append(web_writer)
                await asyncio.gather(_copy(reader, web_writer), _copy(web_reader, writer))
            finally:
                for each in open_writers:
                    each.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on in one direction, and its end."""
    try:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.close()


def _serves(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}{SERVING_PATH}", timeout=3).status_code == 200
    except requests.RequestException:
        return False


@dataclass
class Fleet:
    """A running site. site: what `tests.product` offers, without a supervisor's process."""

    site: product.Product
    balancer: Balancer
    containers: list[Container]

    def restart(self, container: Container) -> float:
        """Restart one process, and wait until it works. Returns the seconds that it took to stop."""
        took = container.stop()
        container.start()
        self.wait_until_working(container)
        return took

    def wait_until_working(self, container: Container) -> None:
        """Wait until a web process serves, or a moment after the start of another one."""
        if container.program != "web":
            time.sleep(4)
            return
        deadline = time.monotonic() + START_SECONDS
        while int(container.environment["PORT"]) not in self.balancer.serving:
            assert time.monotonic() < deadline, container.log.read_text()[-4000:]
            time.sleep(0.1)


@contextmanager
def running(
    folder: Path, *, stop_seconds: dict[str, float], workers: int = 2, web: int = 2, **switches: str
) -> Iterator[Fleet]:
    """Start all processes on a migrated database, and end them.

    stop_seconds: how long each program has from SIGTERM on. switches: DATABASE_URL and REDIS_URL, and what differs from
    the defaults of production.
    """
    environment = product.environment_of(
        **{
            "VOXSITE_ENV": "production",
            "SECRET_KEY": "only for this site, which ends with its test",
            "VOXSITE_HOSTS": "127.0.0.1,localhost",
            "VOXSITE_SSL_REDIRECT": "off",
            "SMTP_HOST": "localhost",
            "VOXSITE_DATA_DIR": str(folder),
            "VOXSITE_ENGINE": "pocketsphinx",
            "VOXSITE_STATIC_ROOT": str(folder / "static"),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "voxsite.settings",
            "HOST": "127.0.0.1",
            **switches,
        }
    )
    ports = [product.free_port() for _ in range(web)]
    containers = [
        Container(
            name, program, {**environment, **own}, folder / f"{name}.log", stop_seconds=stop_seconds.get(program, 10)
        )
        for name, program, own in (
            *((f"web-{number}", "web", {"PORT": str(port)}) for number, port in enumerate(ports, start=1)),
            *((f"worker-{number}", "worker", {}) for number in range(1, workers + 1)),
            *((name, name, {}) for name in ("importer", "engine", "clock", "deliverer")),
        )
    ]
    balancer = Balancer(ports)
    site = product.Product(
        address=f"http://127.0.0.1:{balancer.port}",
        folder=folder,
        environment=environment,
        process=None,  # type: ignore[arg-type]  # nothing supervises these processes
    )
    fleet = Fleet(site, balancer, containers)
    site.manage("collectstatic", "--noinput", "--verbosity", "0")
    try:
        for container in containers:
            container.start()
        balancer.start()
        deadline = time.monotonic() + START_SECONDS
        while not _is_ready(ports[0]) or len(balancer.serving) < web:
            assert time.monotonic() < deadline, "".join(one.log.read_text()[-2000:] for one in containers)
            time.sleep(0.3)
        yield fleet
    finally:
        for container in containers:
            if container.process is not None:
                container.stop()
        balancer.stop()


def _is_ready(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/health/ready", timeout=5).status_code == 200
    except requests.RequestException:
        return False
