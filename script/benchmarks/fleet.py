"""What more engines bring, and what the loss of a host costs: four simulated hosts on this machine.

Usage: script/benchmark fleet POSTGRES_URL REDIS_URL [--batch-seconds 4] [--minutes 5] [--jobs 16] [--parts long]
For the throughput: --parts throughput --minutes 20 --batch-seconds 8

Engines are simulated: a batch of 8 clips takes --batch-seconds, without arithmetic. Web, workers, queues, keys, leases,
PostgreSQL and Redis are real. Measured: recordings a second with 1 and 8 engines, the time of one recording with 1, 2,
4 and 8, and the time until every job has ended after a host was killed, and after one was cut off for 30 s.
The Redis of the URL is emptied first.

The throughput counts from the first upload until the last recording has its transcript. What eight engines lack to 8 x
is in the next line: engines without work, or batches that are not full. Both are larger in a short measurement: at the
start all workers begin at once on the few cores of this machine, which stand for those of four hosts; the first batch
of an engine has the few clips that are there, and the last one what is left. So let the recordings be long. The line
also has the load of the machine: if its cores are full, they are what is measured.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil
import psycopg
from redis import Redis

from script.benchmarks.measuring.whole_site import Customer, cpu_seconds, processor_seconds
from tests import product
from tests.simulated_fleet import Host, Keys, hosts
from transcription.speech.engines.client import health

SENTENCE = Path(__file__).resolve().parents[2] / "tests/fixtures/audio/sentence-slt.wav"
UNLIMITED = {f"VOXSITE_RATE_{name}": "100000000/minute" for name in ("REQUESTS", "UPLOADS")}
SWITCHES = {"VOXSITE_WORKERS": "1", "VOXSITE_DIARIZER": "none", "VOXSITE_ENGINE": "faster_whisper"}
PARTS = ("throughput", "long", "loss")
PARTITION_SECONDS = 30.0
MAX_RECOVERY_SECONDS = 60.0


class Fleet:
    """A site without engines of its own, and hosts beside it."""

    def __init__(self, site: product.Product, keys: Keys, folder: Path, *, batch_seconds: float) -> None:
        self.site, self.keys, self.folder, self.batch_seconds = site, keys, folder, batch_seconds
        self.customer = Customer(site)
        self._count = 0

    def hosts(self, engines: Sequence[int], *, workers: int) -> AbstractContextManager[list[Host]]:
        """Start hosts with so many engines each, and so many workers."""
        self._count += 1
        folder = self.folder / str(self._count)
        folder.mkdir()
        return hosts(folder, self.site, self.keys, engines=engines, workers=workers, batch_seconds=self.batch_seconds)

    def run(self, recording: Path, count: int) -> list[str]:
        return [self.customer.submit(recording) for _ in range(count)]

    def wait(self, job_ids: Sequence[str]) -> None:
        self.customer.wait(list(job_ids), pause=0.1)

    def charges(self, job_ids: Sequence[str]) -> list[int]:
        """Return how often each job was charged."""
        query = "SELECT count(*) FROM billing_entry WHERE kind = 'usage' AND reference LIKE ?"
        return [self.site.rows(query, f"%{job_id}%")[0][0] for job_id in job_ids]

    def attempts(self, job_ids: Sequence[str]) -> int:
        """Return how often the items of these jobs were begun."""
        query = "SELECT attempt FROM transcription_jobitem WHERE job_id = ?::uuid"
        return sum(self.site.rows(query, job_id)[0][0] for job_id in job_ids)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("postgres")
    parser.add_argument("redis")
    parser.add_argument("--batch-seconds", type=float, default=4.0)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--jobs", type=int, default=16)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        recording = write_recording(folder / "long.wav", minutes=given.minutes)
        fleet = stack.enter_context(fleet_of(given.postgres, given.redis, folder, batch_seconds=given.batch_seconds))
        if "throughput" in given.parts:
            one = throughput(fleet, [1], recording, jobs=max(1, given.jobs // 8))
            eight = throughput(fleet, [2, 2, 2, 2], recording, jobs=given.jobs)
            print(f"8 engines do {eight / one:.2f} times as much as one", flush=True)
        if "long" in given.parts:
            for engines in ([1], [1, 1], [1, 1, 1, 1], [2, 2, 2, 2]):
                long_file(fleet, engines, recording)
        if "loss" in given.parts:
            loss(fleet, recording, name="a host killed", lose=Host.kill)
            loss(fleet, recording, name=f"a host cut off for {PARTITION_SECONDS:.0f} s", lose=partition)


@contextmanager
def fleet_of(postgres: str, redis: str, folder: Path, *, batch_seconds: float) -> Iterator[Fleet]:
    """Start a site on a new database, without engines of its own."""
    keys = Keys()
    with psycopg.connect(postgres, autocommit=True) as server, Redis.from_url(redis) as client:
        name = f"voxsite_benchmark_{os.getpid()}"
        server.execute(f"CREATE DATABASE {name}")
        url = urlsplit(postgres)._replace(path=f"/{name}").geturl()
        client.flushdb()
        (folder / "site").mkdir()
        try:
            with product.running_first(
                folder / "site",
                ready_path="/health/serving",
                DATABASE_URL=url,
                REDIS_URL=redis,
                **UNLIMITED,
                **SWITCHES,
                **keys.of_clients,
            ) as site:
                yield Fleet(site, keys, folder, batch_seconds=batch_seconds)
        finally:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def throughput(fleet: Fleet, engines: Sequence[int], recording: Path, *, jobs: int) -> float:
    """Return the recordings a second of so many engines, and print them."""
    with fleet.hosts(engines, workers=4) as all_hosts:
        before, began = Work.of(all_hosts, fleet.site), time.monotonic()
        fleet.wait(fleet.run(recording, jobs))
        seconds = time.monotonic() - began
        work = Work.of(all_hosts, fleet.site) - before
    print(f"{sum(engines)} engines: {jobs} recordings in {seconds:.1f} s, {jobs / seconds:.3f} a second", flush=True)
    print(work.told(seconds=seconds, jobs=jobs), flush=True)
    return jobs / seconds


class Work(NamedTuple):
    """What engines and processors have done so far; the difference of two is what they did in between.

    clips, batches, busy_seconds, released: of each engine, as its own report says. The others are processor time.
    """

    clips: list[int]
    batches: list[int]
    busy_seconds: list[float]
    released: list[int]
    workers: float
    engines: float
    rest: float
    machine: float

    @classmethod
    def of(cls, all_hosts: Sequence[Host], site: product.Product) -> Work:
        reports = [health(address, 10) for host in all_hosts for address in host.engine_sockets]
        found = [report for report in reports if report is not None]
        assert len(found) == len(reports), "an engine does not answer"
        machine = psutil.cpu_times()
        return cls(
            [report["clips"] for report in found],
            [sum(report["batch_sizes"].values()) for report in found],
            [report["busy_ms"] / 1000 for report in found],
            [report.get("released", 0) for report in found],
            sum(processor_seconds(pid) for host in all_hosts for pid in host.worker_pids),
            sum(processor_seconds(pid) for host in all_hosts for pid in host.engine_pids),
            cpu_seconds(site),
            machine.user + machine.nice + machine.system + machine.irq + machine.softirq,
        )

    def __sub__(self, before: Work) -> Work:
        def since(now: Any, then: Any) -> Any:
            return [a - b for a, b in zip(now, then, strict=True)] if isinstance(now, list) else now - then

        return Work(*map(since, self, before))

    def told(self, *, seconds: float, jobs: int) -> str:
        """Return lines for people: what the engines were given, and what the processors had to do."""
        clips, batches, cores = sum(self.clips), sum(self.batches), os.cpu_count() or 1
        idle = 1 - sum(self.busy_seconds) / seconds / len(self.clips)
        return (
            f"  {clips} clips in {batches} batches, {clips / batches:.2f} a batch; an engine had {min(self.clips)} to "
            f"{max(self.clips)} clips in {min(self.batches)} to {max(self.batches)} batches; engines were idle for "
            f"{idle:.1%} of the time; {sum(self.released)} clips moved to another engine\n"
            f"  processor time for each recording: workers {self.workers / jobs:.2f} s, engines "
            f"{self.engines / jobs:.2f} s, web and the rest {self.rest / jobs:.2f} s; all of the machine's {cores} "
            f"cores were busy for {self.machine / seconds / cores:.0%}; load average {os.getloadavg()[0]:.1f}"
        )


def long_file(fleet: Fleet, engines: Sequence[int], recording: Path) -> None:
    with fleet.hosts(engines, workers=1):
        began = time.monotonic()
        fleet.wait(fleet.run(recording, 1))
        print(f"one long recording with {sum(engines)} engines: {time.monotonic() - began:.1f} s", flush=True)


def loss(fleet: Fleet, recording: Path, *, name: str, lose: Callable[[Host], None]) -> None:
    """Lose one of four hosts in the middle of the work, and say when all jobs have ended and how often they cost."""
    with fleet.hosts([2, 2, 2, 2], workers=2) as all_hosts:
        job_ids = fleet.run(recording, 12)
        time.sleep(8)
        began = time.monotonic()
        lose(all_hosts[0])
        fleet.wait(job_ids)
        seconds = time.monotonic() - began
        charges, attempts = fleet.charges(job_ids), fleet.attempts(job_ids)
    print(f"{name}: all of {len(job_ids)} jobs ended {seconds:.1f} s later, begun {attempts} times", flush=True)
    assert charges == [1] * len(job_ids), charges
    assert attempts > len(job_ids), "the lost host had begun none"
    assert seconds < MAX_RECOVERY_SECONDS, seconds


def partition(host: Host) -> None:
    host.cut_off()
    time.sleep(PARTITION_SECONDS)
    host.reach_again()


def write_recording(path: Path, *, minutes: float) -> Path:
    """Write a sentence again and again, with pauses."""
    with wave.open(str(SENTENCE)) as source:
        sentence, rate = source.readframes(source.getnframes()), source.getframerate()
    piece = sentence + bytes(2 * (rate * 6 // 10))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(piece * round(minutes * 60 * rate * 2 / len(piece)))
    return path


if __name__ == "__main__":
    main()
