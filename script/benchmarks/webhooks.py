"""Webhooks to many receivers, with and without a dead one: how long each waits until its receiver has it.

Usage: script/benchmark webhooks [postgresql://USER@HOST:PORT/ANY] [--per-minute 1000] [--receivers 50] [--seconds 60]
       [--rounds 2]

Each receiver belongs to an organization of its own and answers after 20 ms. In every second
run, one of them takes connections and never answers; its own webhooks are not in the figures. The deliverer is the real
process. Deliveries are written down as jobs write them, evenly over time and over receivers.

The wait is from the row to the receiver's look at the request. Most of it is the pause between two looks of the
deliverer at the database (0.5 s). All processes share the cores of one machine.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import psycopg
from aiohttp import web

ANSWER_SECONDS = 0.02
# After the last delivery is written down.
GRACE_SECONDS = 5


class Receivers:
    """Many servers in one thread. arrived: when each message came first, by its id."""

    def __init__(self, count: int) -> None:
        self.ports: list[int] = []
        self.arrived: dict[str, float] = {}
        self.dead_port = 0
        self._count = count
        self._ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True).start()
        assert self._ready.wait(30)

    async def _serve(self) -> None:
        for _ in range(self._count):
            app = web.Application()
            app.router.add_post("/", self._handle)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            assert site._server is not None
            self.ports.append(site._server.sockets[0].getsockname()[1])  # type: ignore[attr-defined]
        self._ready.set()
        await asyncio.Event().wait()

    async def _handle(self, request: web.Request) -> web.Response:
        now = time.time()
        if request.url.port == self.dead_port:
            await asyncio.sleep(3600)
        await request.read()
        self.arrived.setdefault(request.headers["webhook-id"], now)
        await asyncio.sleep(ANSWER_SECONDS)
        return web.Response(status=204)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("server", nargs="?", default="")
    parser.add_argument("--per-minute", type=int, default=1000)
    parser.add_argument("--receivers", type=int, default=50)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=2)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ |= {
            "VOXSITE_ENV": "development",
            "VOXSITE_DATA_DIR": folder,
            "VOXSITE_ALLOW_PRIVATE_ADDRESSES": "on",
            "REDIS_URL": "redis://127.0.0.1:1/0",  # nobody asks it
            "DJANGO_SETTINGS_MODULE": "voxsite.settings",
        }
        if chosen.server:
            name = f"voxsite_benchmark_{os.getpid()}"
            server = stack.enter_context(psycopg.connect(chosen.server, autocommit=True))
            server.execute(f"CREATE DATABASE {name}")
            stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
            os.environ["DATABASE_URL"] = urlsplit(chosen.server)._replace(path=f"/{name}").geturl()
        measure(chosen)


def measure(chosen: argparse.Namespace) -> None:
    import django

    django.setup()
    from django.core.management import call_command
    from django.db import connection

    from accounts.models import Organization
    from transcription.webhooks import endpoints

    call_command("migrate_quickly", verbosity=0)
    receivers = Receivers(chosen.receivers)
    organizations = []
    for port in receivers.ports:
        organization = Organization.objects.create(name=f"Benchmark {port}")
        endpoints.register(organization, url=f"http://127.0.0.1:{port}/", events=["job.completed"])
        organizations.append(organization)
    print(f"{connection.vendor}: {chosen.per_minute} a minute to {chosen.receivers} receivers for {chosen.seconds} s")
    print(f"{'dead':>5}{'delivered':>14}{'mean ms':>10}{'median ms':>11}{'p95 ms':>9}{'max ms':>9}", flush=True)
    command = [sys.executable, "manage.py", "deliver_webhooks"]
    for dead in (0, 1) * chosen.rounds:
        receivers.dead_port = receivers.ports[0] if dead else 0
        receivers.arrived.clear()
        with subprocess.Popen(command) as deliverer:
            try:
                sent = _feed(organizations, chosen)
                time.sleep(GRACE_SECONDS)
            finally:
                deliverer.terminate()
        _clear()
        # The first organization's are left out of both, so that the same receivers are compared.
        wanted = {key: at for key, (position, at) in sent.items() if position}
        waits = [1000 * (receivers.arrived[key] - at) for key, at in wanted.items() if key in receivers.arrived]
        p95 = statistics.quantiles(waits, n=20)[-1]
        figures = (statistics.mean(waits), statistics.median(waits), p95, max(waits))
        shown = "".join(f"{figure:{width}.0f}" for figure, width in zip(figures, (10, 11, 9, 9), strict=True))
        print(f"{dead:5}{f'{len(waits)} of {len(wanted)}':>14}{shown}", flush=True)
    connection.close()


def _feed(organizations: list[Any], chosen: argparse.Namespace) -> dict[str, tuple[int, float]]:
    """Write deliveries down evenly. Returns (position of the organization, when) by the id of the message."""
    from django.db import transaction
    from django.utils import timezone

    from transcription.models import Delivery, EventType
    from transcription.webhooks import outbox

    sent = {}
    # The deliverer needs some seconds to start.
    began = time.monotonic() + 5
    for number in range(chosen.per_minute * chosen.seconds // 60):
        time.sleep(max(0.0, began + number * 60 / chosen.per_minute - time.monotonic()))
        position = number % len(organizations)
        with transaction.atomic():
            outbox.announce(
                organizations[position].pk,
                event=EventType.JOB_COMPLETED,
                at=timezone.now(),
                data={"id": str(number), "padding": "x" * 500},
            )
        sent[Delivery.objects.of(organizations[position]).newest_first()[0].pk] = (position, time.time())
    return sent


def _clear() -> None:
    from transcription.models import Delivery

    Delivery.objects.all().delete()


if __name__ == "__main__":
    main()
