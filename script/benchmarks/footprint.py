"""What one job costs the database, Redis, storage and the processors of each kind of process.

Usage: script/benchmark footprint POSTGRES_URL REDIS_URL [--count 100] [--model FOLDER] [--recording FILE]

Sends a recording so often, one by one, waits until all are done, and divides what grew by their number. What the idle
site does in the same time is taken off. Sizing on paper (docs/operations.md) multiplies these figures.
The Redis of the URL is emptied first. --model: a folder with a Whisper; without it PocketSphinx recognises.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
from redis import Redis

from script.benchmarks.measuring.whole_site import Customer
from tests import product

SENTENCE = Path(__file__).resolve().parents[2] / "tests/fixtures/audio/sentence-slt.opus"
UNLIMITED = {f"VOXSITE_RATE_{name}": "100000000/minute" for name in ("REQUESTS", "UPLOADS")}
IDLE_SECONDS = 20.0
KINDS = ("web", "worker", "engine", "clock", "importer", "deliverer")


@dataclass(frozen=True)
class Counts:
    """What was done since the start, in units of its name."""

    of: Counter[str]
    at: float

    def since(self, earlier: "Counts") -> dict[str, float]:
        return {name: count - earlier.of[name] for name, count in self.of.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("postgres")
    parser.add_argument("redis")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--model", default="")
    parser.add_argument("--recording", type=Path, default=SENTENCE)
    chosen = parser.parse_args()
    with ExitStack() as stack:
        name = f"voxsite_benchmark_{os.getpid()}"
        server = stack.enter_context(psycopg.connect(chosen.postgres, autocommit=True))
        server.execute(f"CREATE DATABASE {name}")
        stack.callback(server.execute, f"DROP DATABASE {name} WITH (FORCE)")
        url = urlsplit(chosen.postgres)._replace(path=f"/{name}").geturl()
        redis = stack.enter_context(Redis.from_url(chosen.redis))
        redis.flushdb()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        switches = {**UNLIMITED, "DATABASE_URL": url, "REDIS_URL": chosen.redis}
        if chosen.model:
            switches |= {"VOXSITE_ENGINE": "faster_whisper", "VOXSITE_WHISPER_STANDARD": chosen.model}
        site = stack.enter_context(product.running_first(folder, **switches))
        database = stack.enter_context(psycopg.connect(url, autocommit=True))
        customer = Customer(site)
        # What is done once only: models are loaded, plans are made.
        finished(customer, chosen.recording, count=2, database=database)

        def look() -> Counts:
            return counts(site, database=database, redis=redis)

        measure(look, lambda: finished(customer, chosen.recording, count=chosen.count, database=database), chosen.count)


def measure(look: Callable[[], Counts], work: Callable[[], None], count: int) -> None:
    before = look()
    time.sleep(IDLE_SECONDS)
    idle = look()
    work()
    after = look()
    seconds = after.at - idle.at
    print(f"{count} jobs in {seconds:.0f} s")
    print(f"{'for each job':<42} {'':>12} {'idle, a minute':>16}")
    idle_rates = {name: grown / (idle.at - before.at) for name, grown in idle.since(before).items()}
    for name, grown in sorted(after.since(idle).items()):
        of_jobs = (grown - idle_rates[name] * seconds) / count
        print(f"{name:<42} {of_jobs:>12,.3f} {60 * idle_rates[name]:>16,.1f}")


def finished(customer: Customer, recording: Path, *, count: int, database: psycopg.Connection) -> None:
    """Submit so many jobs and wait until no job is left. The database is asked, so that web has no more to do."""
    for _ in range(count):
        customer.submit(recording)
    left = "SELECT count(*) FROM transcription_job WHERE status IN ('queued', 'processing')"
    while database.execute(left).fetchone() != (0,):
        time.sleep(0.5)


def counts(site: product.Product, *, database: psycopg.Connection, redis: Redis) -> Counts:
    """Return all counts now, about a second and a half old: PostgreSQL's processes tell their counts every second."""
    found: Counter[str] = Counter()
    at = time.monotonic()
    time.sleep(1.5)
    row = database.execute(
        "SELECT xact_commit + xact_rollback, tup_inserted, tup_updated, tup_deleted, pg_database_size(datname) "
        "FROM pg_stat_database WHERE datname = current_database()"
    ).fetchone()
    assert row is not None, "a database that is connected has statistics"
    names = ("transactions", "rows inserted", "rows updated", "rows deleted", "bytes of tables")
    found.update({f"PostgreSQL: {name}": int(count) for name, count in zip(names, row, strict=True)})
    # Of the whole server: nobody else may use it.
    found["Redis: commands"] = sum(one["calls"] for one in redis.info("commandstats").values())
    found["Redis: bytes"] = redis.info("memory")["used_memory"]
    files = [path.stat().st_size for path in (site.folder / "media").rglob("*") if path.is_file()]
    found.update({"storage: files": len(files), "storage: bytes": sum(files)})
    for kind in KINDS:
        found[f"seconds of a core: {kind}"] = 0
    for process in psutil.Process(site.process.pid).children():
        kind = " ".join(process.cmdline()).split()[-1]
        if kind in KINDS:
            found[f"seconds of a core: {kind}"] += _seconds(process)  # type: ignore[assignment]  # a Counter takes it
    return Counts(found, at)


def _seconds(process: psutil.Process) -> float:
    """Return the processor time of a process, of the children it has waited for, and of those that live."""
    spent = process.cpu_times()
    return sum((spent.user, spent.system, spent.children_user, spent.children_system)) + sum(
        _seconds(child) for child in process.children()
    )


if __name__ == "__main__":
    main()
