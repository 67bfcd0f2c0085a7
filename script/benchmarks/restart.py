"""What customers notice of a rolling restart: each process of a busy site is restarted in turn, as containers are.

Usage: script/benchmark restart POSTGRES_URL REDIS_URL [--rounds N] [--drain SECONDS] [--grace SECONDS]

POSTGRES_URL names a database that is made for it and dropped. The Redis database is emptied. Two web processes are
behind a balancer of connections. Nothing may fail: no answer of 5xx, no broken connection, no stream without its end or
an event of an error, no job with two charges. The exit status is 1 if something did.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from redis import Redis

from tests import database, fleet, mixed_load, product
from tests.apex import scripted
from tests.fixtures import tiny_whisper

RECORDING = Path(product.PROJECT_DIR) / "tests/fixtures/audio/sentence-slt.wav"
# Between two restarts.
PAUSE_SECONDS = 3.0


def main() -> int:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("postgres_url")
    arguments.add_argument("redis_url")
    arguments.add_argument("--rounds", type=int, default=1, help="how often each process is restarted")
    arguments.add_argument("--drain", type=int, default=fleet.WEB_DRAIN_SECONDS, help="VOXSITE_WEB_DRAIN_SECONDS")
    arguments.add_argument("--grace", type=int, default=fleet.WEB_GRACE_SECONDS, help="VOXSITE_WEB_GRACE_SECONDS")
    given = arguments.parse_args()
    with Redis.from_url(given.redis_url) as client:
        client.flushdb()
    database.create_empty(given.postgres_url)
    try:
        with tempfile.TemporaryDirectory() as folder, scripted.running() as upstream:
            return measure(Path(folder), given, upstream=upstream.address)
    finally:
        database.drop(given.postgres_url)


def measure(folder: Path, given: argparse.Namespace, *, upstream: str) -> int:
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
    switches |= {"VOXSITE_WEB_DRAIN_SECONDS": str(given.drain), "VOXSITE_WEB_GRACE_SECONDS": str(given.grace)}
    with fleet.running(folder, **fleet.ROLLING | switches) as running:
        site = running.site
        load = mixed_load.Load(site.address, site.new_key(dollars="900"), RECORDING)
        load.start()
        time.sleep(PAUSE_SECONDS)
        for number in range(given.rounds):
            for container in running.containers:
                began = time.strftime("%H:%M:%S")
                took = running.restart(container)
                killed = ", killed" if container.was_killed else ""
                print(f"round {number + 1}, {began}: {container.name} ended after {took:.1f} s{killed}", flush=True)
                time.sleep(PAUSE_SECONDS)
        load.stop()
        faults = [*load.faults, *mixed_load.faults_of_jobs(site, load)]
        print(f"done: {dict(load.counts)}; streams that were ended with an error: {dict(load.told_ends)}")
        print(mixed_load.attempts(site))
        faults += mixed_load.faults_of_ledger(site)
    print("\n".join(["faults:", *faults]) if faults else "nothing failed")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
