"""Measures what the chat endpoint adds to a direct call of its upstream, and compares it with other gateways.

Usage: script/benchmark apex [--postgres URL --redis URL] [--before PATH] [--portkey PATH] [--litellm PATH]
                             [--turns 3] [--seconds 4] [PART ...]

latency     one request at a time: the median of what each way adds to the direct call
long        the same for a prompt of about 50,000 tokens
throughput  32 concurrent requests, with one key and with 8 keys of 8 organizations
streams     500 open streams: the memory of each, and the connections to the database
first       the time from the moment a chunk leaves the upstream to its arrival at the client

The upstream (measuring/apex_upstream.py) answers at once and uses almost no CPU. Our endpoint does everything that it
does in production: keys, limits, money. It runs as one uvicorn worker with the whole ASGI stack. Without --postgres and
--redis it uses the embedded SQLite and Redis, unlike production. LiteLLM's proxy runs with a master key and without a
database. --litellm names its executable, in an environment of its own; without it, the proxy is left out. All programs
share the cores of one machine.

--before names a checkout of an earlier version, with a .venv. Its web process is started by its own code, on a database
of its own, and measured in turn with this one: `git worktree add --detach PATH COMMIT`. --portkey names a folder in
which `npm install @portkey-ai/gateway` was done; that gateway knows neither keys nor money. Each kind takes --turns
short turns, so that all meet the same machine; the figures are medians of the turns.
"""

import argparse
import asyncio
import json
import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import uvloop
from measuring import gateways
from measuring.gateways import Way

from tests.product import PROJECT_DIR, free_port

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


async def one_after_another(way: Way, *, count: int, content: str = "Hello") -> list[float]:
    reader, writer = await connect(way)
    raw, taken = way.request(content, key=way.keys[0]), []
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


def part_latency(ways: list[Way], *, turns: int, **_: object) -> Iterator[str]:
    added = yield from added_ms(ways, turns=turns, count=50, content="Hello", name="one at a time")
    yield f"  aim: adds at most 4 ms at p50 - {held(added['apex'] <= 4)}"
    if "before" in added:
        times = added["apex"] / added["before"]
        yield f"  {times:.2f} of what the version before adds; aim: at most 0.5 - {held(times <= 0.5)}"
    if "portkey" in added:
        times = added["apex"] / added["portkey"]
        yield f"  {times:.2f} of what Portkey's gateway adds; aim: at most 1.3 - {held(times <= 1.3)}"


def part_long(ways: list[Way], *, turns: int, **_: object) -> Iterator[str]:
    # English has 4 to 5 bytes for each token.
    prompt = "The quick brown fox jumps over the lazy dog. " * 5_000
    added = yield from added_ms(ways, turns=turns, count=10, content=prompt, name="50,000 tokens")
    yield f"  aim: adds at most 15 ms at p50 - {held(added['apex'] <= 15)}"


def added_ms(
    ways: list[Way], *, turns: int, count: int, content: str, name: str
) -> Generator[str, None, dict[str, float]]:
    """Return what each way adds to the direct call, in milliseconds: the median of the turns' medians."""
    taken: dict[str, list[list[float]]] = {way.name: [] for way in ways}
    for way in ways:
        uvloop.run(one_after_another(way, count=2 * count, content=content))
    # In turns, so that a slow moment of the machine affects all ways.
    for _turn in range(2 * turns):
        for way in ways:
            taken[way.name].append(uvloop.run(one_after_another(way, count=count, content=content)))
    added = {
        way.name: statistics.median(
            statistics.median(one) - statistics.median(direct)
            for one, direct in zip(taken[way.name], taken["direct"], strict=True)
        )
        for way in ways
    }
    for way in ways:
        every = [each for one in taken[way.name] for each in one]
        yield (
            f"{name}: {way.name:8} p50 {statistics.median(every):.2f} ms, "
            f"p95 {statistics.quantiles(every, n=20)[-1]:.2f} ms, adds {added[way.name]:.2f} ms"
        )
    return added


@dataclass(frozen=True)
class Turn:
    """Requests a second, the milliseconds of each, and milliseconds of the web process's CPU for each."""

    rate: float
    taken: list[float]
    cpu_ms: float


def part_throughput(ways: list[Way], *, turns: int, seconds: float, **_: object) -> Iterator[str]:
    for keys in (1, 8):
        measured: dict[str, list[Turn]] = {way.name: [] for way in ways}
        for way in ways:
            uvloop.run(many_at_once(way, at_once=32, seconds=1.5, keys=keys))
        for _turn in range(turns):
            for way in ways:
                before = gateways.cpu_seconds(way)
                rate, taken = uvloop.run(many_at_once(way, at_once=32, seconds=seconds, keys=keys))
                cpu_ms = (gateways.cpu_seconds(way) - before) / len(taken) * 1000
                measured[way.name].append(Turn(rate, taken, cpu_ms))
        for way in ways:
            of_way = measured[way.name]
            every = [each for turn in of_way for each in turn.taken]
            yield (
                f"32 at once, {'one key' if keys == 1 else f'{keys} keys'}: {way.name:8} "
                f"{statistics.median(turn.rate for turn in of_way):7.0f} requests/s, "
                f"p50 {statistics.median(every):.0f} ms, p99 {statistics.quantiles(every, n=100)[-1]:.0f} ms, "
                f"{statistics.median(turn.cpu_ms for turn in of_way):.2f} ms of CPU each   "
                f"{[round(turn.rate) for turn in of_way]}"
            )
        yield from _compared(measured, keys=keys)


def _compared(measured: dict[str, list[Turn]], *, keys: int) -> Iterator[str]:
    """Yield the ratios to the other ways: medians of the ratios of neighbouring turns."""
    least = {"before": 1.6 if keys == 1 else 2.0, "portkey": 1.0, "litellm": 3.0}
    for name, aim in least.items():
        if name in measured:
            pairs = list(zip(measured["apex"], measured[name], strict=True))
            times = statistics.median(ours.rate / other.rate for ours, other in pairs)
            line = f"  {times:.2f} times {name}; aim: at least {aim:g} - {held(times >= aim)}"
            if name == "before":
                cpu = statistics.median(ours.cpu_ms / other.cpu_ms for ours, other in pairs)
                line += f"; {cpu:.2f} of its CPU; aim: at most 0.6 - {held(cpu <= 0.6)}"
            yield line


def held(is_held: bool) -> str:
    return "held" if is_held else "MISSED"


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
    yield f"500 open streams: {kibibytes:.0f} KiB each - aim below 150: {held(kibibytes < 150)}"
    if postgres:
        yield f"  connections to the database meanwhile: {connections} - aim at most 16: {held(connections <= 16)}"


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
            yield f"  aim: the first within 5 ms at p50 - {held(statistics.median(first) <= 5)}"


def connections_of(postgres: str) -> int:
    if not postgres:
        return 0
    with psycopg.connect(postgres) as database:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        row = database.execute(query).fetchone()
        assert row is not None
        return int(row[0])


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--postgres", default="", help="any database of a server, as a URL; new ones are made there")
    arguments.add_argument("--redis", default="", help="a Redis database, as a URL")
    arguments.add_argument("--before", default="", help="a checkout of an earlier version, with a .venv")
    arguments.add_argument("--portkey", default="", help="a folder with node_modules/@portkey-ai/gateway")
    arguments.add_argument("--litellm", default="", help="the executable of LiteLLM's proxy")
    arguments.add_argument("--turns", type=int, default=3)
    arguments.add_argument("--seconds", type=float, default=4, help="of each turn of the part throughput")
    arguments.add_argument("parts", nargs="*", metavar="PART")
    given = arguments.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="voxsite-benchmark-")))
        port = free_port()
        upstream = f"http://127.0.0.1:{port}"
        stack.enter_context(gateways.upstream_running(port, folder))
        switches = {"APEX_UPSTREAM_BASE_URL": upstream, "APEX_UPSTREAM_API_KEY": "x", **UNLIMITED}
        switches |= {"REDIS_URL": given.redis} if given.redis else {}
        if given.postgres and given.redis:
            switches |= PRODUCTION
        ways = [Way("direct", f"{upstream}/chat/completions", ("x",) * 8, "bench", 0)]
        database = ""
        for name, tree in (("before", Path(given.before)), ("apex", PROJECT_DIR)):
            if name == "apex" or given.before:
                own = stack.enter_context(gateways.new_database(given.postgres, name)) if given.postgres else ""
                database = own if name == "apex" else database
                own_switches = switches | ({"DATABASE_URL": own} if own else {})
                ways.append(stack.enter_context(gateways.our_way(name, tree.resolve(), folder / name, own_switches)))
        if given.portkey:
            ways.append(stack.enter_context(gateways.portkey_way(Path(given.portkey), upstream, folder)))
        if given.litellm:
            ways.append(stack.enter_context(gateways.litellm_way(given.litellm, upstream, folder)))
        gibibytes = psutil.virtual_memory().total / 1024**3
        kind = "PostgreSQL" if given.postgres else "embedded SQLite"
        kind += ", production settings" if given.postgres and given.redis else ", development settings"
        print(f"{psutil.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {gibibytes:.0f} GiB; {kind}; ", end="")
        print(f"LiteLLM: {'one process, a master key, no database' if given.litellm else 'left out'}", flush=True)
        for part in given.parts or PARTS:
            for line in PARTS[part](ways, postgres=database, turns=given.turns, seconds=given.seconds):
                print(line, flush=True)
        print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
