"""What grows in hours of mixed load: memory, open files and connections of each process, keys of Redis.

Usage: script/benchmark soak POSTGRES_URL REDIS_URL [--hours 8] [--programs N] [--log FILE]

POSTGRES_URL names a database that is made for it and dropped. The Redis database is emptied. Uploads, calls that wait,
chat streams and streams of events go on all the time: --programs is how many programs of each kind there are, each with
a fifth of a second between two requests. Once a minute the figures of all processes are written down. At the end, the
mean of the last tenth is compared with that of the tenth after the first sixteenth, which is half an hour of eight:
nothing may have grown by more than 5 % and 4 (MiB, files, connections). Jobs must have ended once, and the ledger must
be sound. The exit status is 1 otherwise.
"""

import argparse
import json
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import psutil
import psycopg
from redis import Redis

from tests import database, fleet, mixed_load, product
from tests.apex import scripted
from tests.fixtures import tiny_whisper

MEBIBYTE = 1024**2
RECORDING = Path(product.PROJECT_DIR) / "tests/fixtures/audio/sentence-slt.wav"
SAMPLE_SECONDS = 60.0
MAX_GROWTH, MAX_MORE = 1.05, 4.0
# Parts of the time: what is left out at the beginning, and what is compared.
WARM, COMPARED = 1 / 16, 1 / 10

Sample = dict[str, float]


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("postgres_url")
    arguments.add_argument("redis_url")
    arguments.add_argument("--hours", type=float, default=8.0)
    arguments.add_argument("--programs", type=int, default=1)
    arguments.add_argument("--log", type=Path, help="gets each sample as a line of JSON")
    given = arguments.parse_args()
    with Redis.from_url(given.redis_url) as client:
        client.flushdb()
    database.create_empty(given.postgres_url)
    try:
        with tempfile.TemporaryDirectory() as folder, scripted.running() as upstream:
            return soak(Path(folder), given, upstream=upstream.address)
    finally:
        database.drop(given.postgres_url)


def soak(folder: Path, given: argparse.Namespace, *, upstream: str) -> int:
    model = str(tiny_whisper.build(folder))
    switches = {
        "DATABASE_URL": given.postgres_url,
        "REDIS_URL": given.redis_url,
        "APEX_UPSTREAM_BASE_URL": f"{upstream}/first",
        "APEX_UPSTREAM_API_KEY": "none",
        "VOXSITE_ENGINE": "faster_whisper",
        "VOXSITE_WHISPER_STANDARD": model,
        "VOXSITE_WHISPER_PREMIUM": model,
    }
    product.migrate(folder, product.environment_of(VOXSITE_ENV="development", VOXSITE_DATA_DIR=str(folder), **switches))
    with fleet.running(folder, **fleet.ROLLING | switches) as running:
        load = mixed_load.Load(running.site.address, running.site.new_key(dollars="99999"), RECORDING)
        load.start(uploaders=given.programs, callers=given.programs, streams=given.programs, watchers=given.programs)
        samples: list[Sample] = []
        ends_at = time.monotonic() + given.hours * 3600
        log = given.log.open("w") if given.log else None
        while time.monotonic() < ends_at:
            time.sleep(min(SAMPLE_SECONDS, given.hours * 3600 / 20))
            samples.append(sample(running, given))
            write(samples[-1], log)
        load.stop()
        site = running.site
        faults = [*load.faults, *mixed_load.faults_of_jobs(site, load), *mixed_load.faults_of_ledger(site)]
        print(f"done: {dict(load.counts)}; attempts: {mixed_load.attempts(running.site)}")
    return report(samples, faults)


def sample(running: fleet.Fleet, given: argparse.Namespace) -> Sample:
    """Return the figures of this moment by name. Children of a worker, which live for one task, are left out."""
    found: Sample = {}
    for container in running.containers:
        assert container.process is not None, "it was started"
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(container.process.pid)
            # Not what is its own alone: a worker shares its pages with its child, when it has one.
            found[f"{container.name} MiB"] = process.memory_info().rss / MEBIBYTE
            found[f"{container.name} files"] = process.num_fds()
    with Redis.from_url(given.redis_url) as client:
        found["redis keys"] = client.dbsize()
        own = str(client.connection_pool.connection_kwargs.get("db", 0))
        found["redis connections"] = sum(each["db"] == own for each in client.client_list())
    with psycopg.connect(given.postgres_url) as connection:
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        row = connection.execute(query).fetchone()
        assert row is not None, "a count has a row"
        found["postgresql connections"] = row[0]
    return found


def write(figures: Sample, log: TextIO | None) -> None:
    if log is not None:
        log.write(json.dumps({"at": time.time(), **{name: round(value, 2) for name, value in figures.items()}}) + "\n")
        log.flush()


def report(samples: list[Sample], faults: list[str]) -> int:
    """Print what each figure was and became. Returns the exit status."""
    warm = samples[int(len(samples) * WARM) :]
    count = max(1, int(len(samples) * COMPARED))
    print(f"{'figure':<28}{'at first':>10}{'at last':>10}{'growth':>9}")
    for name in warm[0]:
        first, last = (
            sum(values := [each[name] for each in part if name in each]) / max(1, len(values))
            for part in (warm[:count], warm[-count:])
        )
        has_grown = last > first * MAX_GROWTH and last > first + MAX_MORE
        print(f"{name:<28}{first:>10.1f}{last:>10.1f}{last / first - 1 if first else 0:>9.1%}{'  GREW' * has_grown}")
        if has_grown:
            faults.append(f"{name} grew from {first:.1f} to {last:.1f}")
    print("\n".join(["faults:", *faults]) if faults else "nothing failed, nothing grew")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
