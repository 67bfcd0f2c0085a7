"""Measures what the chat endpoint adds to a direct call of its upstream, and compares it with LiteLLM's proxy.

Usage: script/benchmark apex [--postgres URL --redis URL] [--litellm PATH] [PART ...]

latency     one request at a time: the median of what each way adds to the direct call
throughput  32 concurrent requests, with one key and with 8 keys of 8 organizations
streams     500 open streams: the memory of each, and the connections to the database
first       the time from the moment a chunk leaves the upstream to its arrival at the client

The upstream (measuring/apex_upstream.py) answers at once and uses almost no CPU. Our endpoint does everything that it
does in production: keys, limits, money. It runs as one uvicorn worker with the whole ASGI stack. Without --postgres and
--redis it uses the embedded SQLite and Redis, unlike production. LiteLLM's proxy runs with a master key and without a
database. --litellm names its executable, in an environment of its own; without it, the proxy is left out. All programs
share the cores of one machine.
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import requests
import uvloop

from tests.apex import site
from tests.product import free_port

HERE = Path(__file__).resolve().parent
LITELLM_KEY = "sk-Benchmark-4f9c2e7a1b"
# The settings of production, but without https, because no proxy stands in front.
PRODUCTION = {
    "VOXSITE_ENV": "production",
    "SECRET_KEY": secrets.token_urlsafe(48),
    "VOXSITE_HOSTS": "127.0.0.1",
    "VOXSITE_SSL_REDIRECT": "off",
    "SMTP_HOST": "localhost",
}
UNLIMITED = {f"VOXSITE_RATE_{name}": "100000000/minute" for name in ("REQUESTS", "COMPLETIONS")}
UNLIMITED["APEX_MAX_OPEN"] = "1000000"


@dataclass(frozen=True)
class Way:
    """One way to the same upstream: directly, through our endpoint or through LiteLLM's proxy."""

    name: str
    url: str
    keys: tuple[str, ...]
    model: str
    pid: int

    def request(self, content: str, *, key: str, stream: bool = False) -> bytes:
        parts = urlsplit(self.url)
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": content}],
                "max_tokens": 100,
                "stream": stream,
            }
        ).encode()
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def connect(way: Way) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(way.url)
    return await asyncio.open_connection(parts.hostname, parts.port, limit=2**20)


async def exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, raw: bytes) -> bytes:
    """Send one request and return its body."""
    writer.write(raw)
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head[:20], head + await reader.read(500)
    mark = head.lower().find(b"content-length:")
    assert mark >= 0, head
    return await reader.readexactly(int(head[mark + 15 :].split(b"\r\n", 1)[0]))


async def one_after_another(way: Way, *, count: int) -> list[float]:
    reader, writer = await connect(way)
    raw, taken = way.request("Hello", key=way.keys[0]), []
    for _ in range(count):
        started = time.perf_counter()
        await exchange(reader, writer, raw)
        taken.append((time.perf_counter() - started) * 1000)
    writer.close()
    return taken


async def many_at_once(way: Way, *, at_once: int, seconds: float, keys: int) -> tuple[float, list[float]]:
    """Return (requests per second, milliseconds of each)."""
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds

    async def caller(number: int) -> None:
        reader, writer = await connect(way)
        raw = way.request("Hello", key=way.keys[number % keys])
        while (started := time.perf_counter()) < ends_at:
            await exchange(reader, writer, raw)
            taken.append((time.perf_counter() - started) * 1000)
        writer.close()

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(at_once)))
    return len(taken) / (time.perf_counter() - started), taken


async def read_stream(way: Way, *, count: int, pause: float, key: str) -> list[float]:
    """Return for each chunk of a stream the milliseconds from the upstream to the client."""
    reader, writer = await connect(way)
    writer.write(way.request(f"stream {count} {pause}", key=key, stream=True))
    head = await reader.readuntil(b"\r\n\r\n")
    assert b" 200 " in head[:20], head + await reader.read(500)
    delays = []
    while line := await reader.readline():
        arrived = time.monotonic_ns()
        if line.startswith(b"data: {") and b'"content"' in line:
            choices = json.loads(line[6:])["choices"]
            content = (choices[0]["delta"].get("content") or "") if choices else ""
            if content.strip().isdigit():
                delays.append((arrived - int(content)) / 1e6)
        if line.startswith(b"data: [DONE]"):
            break
    writer.close()
    return delays


def part_latency(ways: list[Way], **_: object) -> Iterator[str]:
    taken: dict[str, list[float]] = {way.name: [] for way in ways}
    for way in ways:
        uvloop.run(one_after_another(way, count=100))
    # In turns, so that a slow moment of the machine affects all ways.
    for _round in range(8):
        for way in ways:
            taken[way.name] += uvloop.run(one_after_another(way, count=50))
    direct = statistics.median(taken["direct"])
    for way in ways:
        median, p95 = statistics.median(taken[way.name]), statistics.quantiles(taken[way.name], n=20)[-1]
        added = median - direct
        yield f"one at a time: {way.name:8} p50 {median:.2f} ms, p95 {p95:.2f} ms, adds {added:.2f} ms"
    added = statistics.median(taken["apex"]) - direct
    yield f"  aim: adds at most 4 ms at p50 - {'held' if added <= 4 else 'MISSED'}"


def part_throughput(ways: list[Way], **_: object) -> Iterator[str]:
    rates: dict[str, float] = {}
    for way in ways:
        uvloop.run(many_at_once(way, at_once=32, seconds=2, keys=1))
        before = cpu_seconds(way)
        rate, taken = uvloop.run(many_at_once(way, at_once=32, seconds=8, keys=1))
        rates[way.name] = rate
        cpu = (cpu_seconds(way) - before) / len(taken) * 1000
        yield (
            f"32 at once, one key: {way.name:8} {rate:7.0f} requests/s, p50 {statistics.median(taken):.0f} ms, "
            f"{cpu:.2f} ms of CPU each"
        )
        if len(way.keys) > 1:
            rate, taken = uvloop.run(many_at_once(way, at_once=32, seconds=8, keys=len(way.keys)))
            median = statistics.median(taken)
            yield f"32 at once, {len(way.keys)} keys: {way.name:8} {rate:7.0f} requests/s, p50 {median:.0f} ms"
    if "litellm" in rates:
        times = rates["apex"] / rates["litellm"]
        yield f"  {times:.2f} times LiteLLM; aim: at least 3 - {'held' if times >= 3 else 'MISSED'}"


def cpu_seconds(way: Way) -> float:
    if not way.pid:
        return 0.0
    times = psutil.Process(way.pid).cpu_times()
    return times.user + times.system


def part_streams(ways: list[Way], *, postgres: str, **_: object) -> Iterator[str]:
    way = next(way for way in ways if way.name == "apex")
    process = psutil.Process(way.pid)

    async def open_all() -> tuple[float, int]:
        # A first round, so that memory which the process allocates only once is not counted.
        await asyncio.gather(*(read_stream(way, count=3, pause=0.2, key=way.keys[0]) for _ in range(50)))
        before = process.memory_full_info().uss
        streams = [asyncio.ensure_future(read_stream(way, count=20, pause=1, key=way.keys[0])) for _ in range(500)]
        await asyncio.sleep(12)
        more = process.memory_full_info().uss - before
        connections = connections_of(postgres)
        assert not any(stream.done() for stream in streams)
        await asyncio.gather(*streams)
        return more / 500 / 1024, connections

    kibibytes, connections = uvloop.run(open_all())
    yield f"500 open streams: {kibibytes:.0f} KiB each - aim below 150: {'held' if kibibytes < 150 else 'MISSED'}"
    if postgres:
        held = "held" if connections <= 16 else "MISSED"
        yield f"  connections to the database meanwhile: {connections} - aim at most 16: {held}"


def part_first(ways: list[Way], **_: object) -> Iterator[str]:
    for way in ways:
        uvloop.run(read_stream(way, count=20, pause=0, key=way.keys[0]))
        first = [uvloop.run(read_stream(way, count=1, pause=0, key=way.keys[0]))[0] for _ in range(100)]
        later = uvloop.run(read_stream(way, count=300, pause=0.005, key=way.keys[0]))
        yield (
            f"chunk from upstream to client: {way.name:8} the first p50 {statistics.median(first):.2f} ms, "
            f"p95 {statistics.quantiles(first, n=20)[-1]:.2f} ms; later ones p50 {statistics.median(later):.2f} ms"
        )
        if way.name == "apex":
            held = statistics.median(first) <= 5
            yield f"  aim: the first within 5 ms at p50 - {'held' if held else 'MISSED'}"


def connections_of(postgres: str) -> int:
    if not postgres:
        return 0
    with psycopg.connect(postgres) as database:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        row = database.execute(query).fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def program(command: list[str], *, url: str, log: Path, environment: dict[str, str] | None = None) -> Iterator[int]:
    """Run a server while the context is open. Yields its process id once it answers."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **(environment or {})})
        try:
            deadline = time.monotonic() + 120
            while True:
                try:
                    requests.get(url, timeout=2)
                    break
                except requests.RequestException:
                    assert process.poll() is None, log.read_text()[-3000:]
                    assert time.monotonic() < deadline, log.read_text()[-3000:]
                    time.sleep(0.2)
            yield process.pid
        finally:
            process.terminate()
            process.wait(timeout=30)


def litellm_config(upstream: str) -> str:
    model = {
        "model_name": "apex-latest",
        "litellm_params": {"model": "openai/bench", "api_base": upstream, "api_key": "x"},
    }
    return json.dumps({"model_list": [model], "general_settings": {"master_key": LITELLM_KEY}})


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postgres", default="", help="an empty database, as a URL")
    arguments.add_argument("--redis", default="", help="a Redis database, as a URL")
    arguments.add_argument("--litellm", default="", help="the executable of LiteLLM's proxy")
    arguments.add_argument("parts", nargs="*", metavar="PART")
    given = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxsite-benchmark-")))
        port = free_port()
        upstream = f"http://127.0.0.1:{port}"
        stack.enter_context(upstream_running(port, folder))
        switches = {"APEX_UPSTREAM_BASE_URL": upstream, "APEX_UPSTREAM_API_KEY": "x", **UNLIMITED}
        switches |= {"DATABASE_URL": given.postgres} if given.postgres else {}
        switches |= {"REDIS_URL": given.redis} if given.redis else {}
        if given.postgres and given.redis:
            switches |= PRODUCTION
        (folder / "data").mkdir()
        here = stack.enter_context(site.running(folder / "data", **switches))
        keys = tuple(here.new_key(owner=f"bench{number}@example.com", dollars="900") for number in range(8))
        ways = [
            Way("direct", f"{upstream}/chat/completions", ("x",), "bench", 0),
            Way("apex", f"{here.address}/v1/apex/chat/completions", keys, "apex-latest", here.process.pid),
        ]
        if given.litellm:
            config = folder / "litellm.json"
            config.write_text(litellm_config(upstream))
            proxy_port = free_port()
            address = f"http://127.0.0.1:{proxy_port}"
            command = [given.litellm, "--config", str(config), "--host", "127.0.0.1", "--port", str(proxy_port)]
            quiet = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_TELEMETRY": "False"}
            pid = stack.enter_context(
                program(command, url=f"{address}/health/liveliness", log=folder / "litellm.log", environment=quiet)
            )
            ways.append(Way("litellm", f"{address}/chat/completions", (LITELLM_KEY,), "apex-latest", pid))
        gibibytes = psutil.virtual_memory().total / 1024**3
        database = "PostgreSQL" if given.postgres else "embedded SQLite"
        database += ", production settings" if given.postgres and given.redis else ", development settings"
        print(f"{psutil.cpu_count()} cores, {gibibytes:.0f} GiB; {database}; ", end="")
        print(f"LiteLLM: {'one process, a master key, no database' if given.litellm else 'left out'}", flush=True)
        for part in given.parts or PARTS:
            for line in PARTS[part](ways, postgres=given.postgres):
                print(line, flush=True)


@contextmanager
def upstream_running(port: int, folder: Path) -> Iterator[None]:
    command = [sys.executable, str(HERE / "measuring" / "apex_upstream.py"), str(port)]
    with (folder / "upstream.log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        time.sleep(1)
        assert process.poll() is None, (folder / "upstream.log").read_text()
        try:
            yield
        finally:
            process.terminate()


if __name__ == "__main__":
    main()
