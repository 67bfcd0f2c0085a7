"""Opens streams of events of one key, and measures what they cost the web process and its other requests.

Usage: script/benchmark watchers [--postgres URL --redis URL] [--streams 500] [--jobs 20] [--seconds 20] [--at-once 20]

Two web processes are measured one after the other: with the limit of open streams raised to the number of streams, and
with its default. Each is asked for /v1/balance without streams, with the streams while their jobs wait, and with the
streams while the jobs have 20 events of progress a second together; then once more without streams. Each stream takes
one descriptor of the web process, for the socket of its client; the others are "beside the clients'".

No worker runs, so that the jobs stay open and nothing else uses this Redis. The client and the server share the cores
of one machine. Without --postgres and --redis the site uses the embedded SQLite and Redis, unlike production.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import requests
import uvloop
from redis import Redis

from tests.apex import site

SENTENCE = Path(__file__).resolve().parents[2] / "tests/fixtures/audio/sentence-slt.wav"
UNLIMITED = {f"VOXSITE_RATE_{name}": "100000000/minute" for name in ("REQUESTS", "UPLOADS")}
EVENTS_PER_SECOND = 20


class Streams:
    """The open streams of one key, read as fast as they come."""

    def __init__(self, address: str, key: str) -> None:
        self._parts = urlsplit(address)
        self._head = f"Host: {self._parts.netloc}\r\nX-API-Key: {key}\r\n\r\n"
        self._tasks: list[asyncio.Task[None]] = []
        self.open_count = 0
        self.refused_count = 0
        self.bytes_count = 0

    async def open(self, job_id: str) -> None:
        reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        writer.write(f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\n{self._head}".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        if b" 200 " not in head[:20]:
            assert b" 429 " in head[:20], head
            self.refused_count += 1
            writer.close()
            return
        self.open_count += 1
        self._tasks.append(asyncio.create_task(self._read(reader, writer)))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                self.bytes_count += len(data)
        finally:
            writer.close()


class Web:
    """The web process that is measured."""

    def __init__(self, here: site.Site, key: str) -> None:
        self.address, self.key, self._site = here.address, key, here
        self.process = psutil.Process(here.process.pid)
        self.redis = Redis.from_url(here.environment["REDIS_URL"])

    def holds(self) -> tuple[int, int, int]:
        """Return its threads, descriptors and connections to Redis."""
        # One connection is ours.
        return self.process.num_threads(), self.process.num_fds(), len(self.redis.client_list()) - 1

    async def balance(self, seconds: float) -> tuple[list[float], float]:
        """Return the milliseconds of requests one after another, 50 a second at most, and the CPU's share meanwhile."""
        parts = urlsplit(self.address)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        raw = f"GET /v1/balance HTTP/1.1\r\nHost: {parts.netloc}\r\nX-API-Key: {self.key}\r\n\r\n".encode()
        taken: list[float] = []
        cpu, begun = self._cpu_seconds(), time.perf_counter()
        while time.perf_counter() - begun < seconds:
            started = time.perf_counter()
            writer.write(raw)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:20], head
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
            await reader.readexactly(length)
            taken.append((time.perf_counter() - started) * 1000)
            await asyncio.sleep(max(0.0, 0.02 - taken[-1] / 1000))
        writer.close()
        return taken, (self._cpu_seconds() - cpu) / (time.perf_counter() - begun)

    def _cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def items(self) -> dict[UUID, str]:
        """Return the only item of each job, by the job's id."""
        found = self._site.rows("SELECT job_id, id FROM transcription_jobitem")
        return {UUID(job_id): str(UUID(item_id)) for job_id, item_id in found}

    def submit(self) -> str:
        with SENTENCE.open("rb") as file:
            response = requests.post(
                f"{self.address}/v1/transcribe", headers={"X-API-Key": self.key}, files={"file": file}, timeout=60
            )
        response.raise_for_status()
        return str(response.json()["job_id"])


async def publish(web: Web, job_ids: list[str]) -> None:
    """Publish segments as a worker does, until cancelled. Each costs a second more than the one before it.

    The site writes what each costs before it shows it (docs/decisions/0028), so this is measured too.
    """
    items = web.items()
    segment = {"start": 1.0, "end": 2.5, "text": "The stale smell of old beer lingers."}
    number = 0
    while True:
        job_id, seconds = job_ids[number % len(job_ids)], 1 + number // len(job_ids)
        key = f"voxsite:events:{job_id}"
        figures = {"item_id": items[UUID(job_id)], "length_ms": seconds * 1000, "price_micros": seconds * 83}
        data = json.dumps({**segment, "shown": figures})
        with web.redis.pipeline(transaction=False) as pipeline:
            pipeline.xadd(key, {"name": "segment", "data": data}, maxlen=20_000, approximate=True)
            pipeline.expire(key, 3600)
            pipeline.publish(key, "")
            pipeline.execute()
        number += 1
        await asyncio.sleep(1 / EVENTS_PER_SECOND)


def shown(title: str, taken: list[float], share: float) -> str:
    p50, p99 = statistics.median(taken), statistics.quantiles(taken, n=100)[98]
    return (
        f"  {title:34} /v1/balance p50 {p50:6.1f} ms, p99 {p99:6.1f} ms, maximum {max(taken):6.1f} ms; "
        f"{len(taken)} requests; web used {share:.2f} cores"
    )


async def measure(web: Web, *, streams: int, jobs: int, seconds: float, at_once: int) -> None:
    job_ids = [web.submit() for _ in range(jobs)]
    await web.balance(3)
    print(shown("no streams", *await web.balance(seconds)), flush=True)
    before = web.holds()
    watching = Streams(web.address, web.key)
    begun = time.perf_counter()
    for first in range(0, streams, at_once):
        numbers = range(first, min(first + at_once, streams))
        await asyncio.gather(*(watching.open(job_ids[number % jobs]) for number in numbers))
    print(f"  {watching.open_count} open, {watching.refused_count} refused, in {time.perf_counter() - begun:.1f} s")
    print(shown(f"{watching.open_count} streams, jobs wait", *await web.balance(seconds)), flush=True)
    after = web.holds()
    publishing = asyncio.create_task(publish(web, job_ids))
    so_far = watching.bytes_count
    print(
        shown(f"{watching.open_count} streams, {EVENTS_PER_SECOND} events/s", *await web.balance(seconds)), flush=True
    )
    print(f"  {(watching.bytes_count - so_far) / seconds / 1000:.0f} kB/s were read meanwhile")
    publishing.cancel()
    for name, first, last in zip(("threads", "descriptors", "connections to Redis"), before, after, strict=True):
        beside = f", {last - first - watching.open_count} beside the clients'" if name == "descriptors" else ""
        print(f"  {name}: {first} before, {last} with the streams ({last - first:+d}{beside})")
    await watching.close()
    await asyncio.sleep(8)
    print(f"  8 s after they left: {', '.join(str(count) for count in web.holds())}")
    print(shown("no streams again", *await web.balance(seconds)), flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postgres", default="", help="an empty database, as a URL")
    arguments.add_argument("--redis", default="", help="a Redis database that nobody else uses, as a URL")
    arguments.add_argument("--streams", type=int, default=500)
    arguments.add_argument("--jobs", type=int, default=20)
    arguments.add_argument("--seconds", type=float, default=20)
    arguments.add_argument("--at-once", type=int, default=20, help="how many streams are opened at the same moment")
    given = arguments.parse_args()
    switches = dict(UNLIMITED)
    switches |= {"DATABASE_URL": given.postgres} if given.postgres else {}
    switches |= {"REDIS_URL": given.redis} if given.redis else {}
    limits = {"limit raised": {"VOXSITE_MAX_EVENT_STREAMS": str(given.streams)}, "default limit": {}}
    database = "PostgreSQL" if given.postgres else "embedded SQLite"
    print(f"{psutil.cpu_count()} cores, load {psutil.getloadavg()[0]:.1f}; {database}", flush=True)
    for number, (title, limit) in enumerate(limits.items()):
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="voxsite-benchmark-"))
            here = stack.enter_context(site.running(Path(folder), **switches, **limit))
            print(title)
            web = Web(here, here.new_key(owner=f"bench{number}@example.com", dollars="900"))
            uvloop.run(
                measure(web, streams=given.streams, jobs=given.jobs, seconds=given.seconds, at_once=given.at_once)
            )


if __name__ == "__main__":
    main()
