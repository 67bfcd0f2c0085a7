"""`python -m voxsite.serve.web`: the web process, or several of them, under the supervisor and in containers."""

import asyncio
import importlib
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.config import LOGGING_CONFIG

from voxsite import env
from voxsite.serve import config, heap, preloading, web_processes
from voxsite.serve.config import ServerConfig
from voxsite.serve.http_protocol import HttpProtocol
from voxsite.serve.web_processes import ProcessContext

# When the process is told to end, it serves on for so long, and has load balancers send new requests elsewhere.
DRAIN_SECONDS = env.integer("VOXSITE_WEB_DRAIN_SECONDS", default=0)
# After that, it waits this long for open responses.
GRACE_SECONDS = env.integer("VOXSITE_WEB_GRACE_SECONDS", default=3)
# What is still open so long before the end of the grace is interrupted, so that it can tell its client.
INTERRUPT_SECONDS = 2.0
CLOSE = (b"connection", b"close")


class Server(uvicorn.Server):
    """uvicorn's server, which ends so that no client notices.

    uvicorn stops to listen at once. Until a load balancer has noticed, its connections would be refused. So the process
    serves on first (`DRAIN_SECONDS`): `/health/serving` answers 503, and each response closes its connection.

    One of several processes that is told to end alone accepts no more at once: the others do, on the same socket.

    stopping: the module `accounts.stopping`, which no module of this package imports. is_alone: whether no other
    process accepts what this one does not.
    """

    def __init__(self, server_config: uvicorn.Config, *, stopping: Any, is_alone: Callable[[], bool]) -> None:
        super().__init__(server_config)
        self._stopping = stopping
        self._is_alone = is_alone
        self._drained_at: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.begin()
        if self._drained_at is None and sig == signal.SIGTERM and DRAIN_SECONDS:
            self._drained_at = time.monotonic() + DRAIN_SECONDS
            self.config.encoded_headers.append(CLOSE)
            self.server_state.default_headers = [*self.server_state.default_headers, CLOSE]
        else:
            # Also at a second signal: whoever sends it does not want to wait.
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        if self._drained_at is not None:
            if not self._is_alone():
                for server in self.servers:
                    server.close()
            if time.monotonic() >= self._drained_at:
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        seconds = max(0.0, GRACE_SECONDS - INTERRUPT_SECONDS)
        asyncio.get_running_loop().call_later(seconds, self._stopping.interrupt)
        await super().shutdown(sockets)


def main() -> None:
    """Serve until a signal ends the process."""
    server_config = config.read()
    if server_config.web_process_count == 1:
        _serve(server_config)
        return
    try:
        sockets = web_processes.listen(server_config.host, server_config.port)
    except OSError as error:
        sys.exit(f"voxsite.serve.web: {server_config.host}:{server_config.port}: {error.strerror}")
    with tempfile.TemporaryDirectory(prefix="voxsite-metrics-") as metrics_dir:
        preloading.load_web()

        def serve(context: ProcessContext) -> None:
            importlib.import_module("voxsite.shared_metrics").join(Path(metrics_dir), number=context.number)
            _serve(server_config, context=context)

        web_processes.run(serve, count=server_config.web_process_count, sockets=sockets)


def _serve(server_config: ServerConfig, *, context: ProcessContext | None = None) -> None:
    """Be the web process, or one of them."""
    # A tenth of the default: after each system call, the event loop waits for the threads that answer requests.
    sys.setswitchinterval(0.0005)
    heap.give_back_now_and_then()
    # Only now: the import sets Django up.
    asgi = importlib.import_module("voxsite.asgi")
    asgi.share_connections()
    asgi.request_log.start()
    heap.collect_less_often()
    server = Server(
        uvicorn.Config(
            asgi.application,
            host=server_config.host,
            port=server_config.port,
            http=HttpProtocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            server_header=False,
            # The site reads these headers itself, by the number of proxies (PROXY_COUNT in the settings).
            proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            # Off in production: the query of a signed upload address is a credential. A proxy can log requests.
            access_log=server_config.is_development,
            # uvicorn's own format, with colors, is for people. Without it, the settings say how to log.
            log_config=None if env.text("VOXSITE_LOG_FORMAT") == "json" else LOGGING_CONFIG,
        ),
        stopping=importlib.import_module("accounts.stopping"),
        is_alone=lambda: context is None or bool(context.host_stops),
    )
    server.run(sockets=None if context is None else context.sockets)
    if not server.started:
        sys.exit(1)


if __name__ == "__main__":
    main()
