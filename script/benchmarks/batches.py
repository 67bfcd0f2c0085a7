"""A batch of many short recordings through the whole product, from the request that submits it to its end.

Usage: script/benchmark batches [--count 10000] [--postgres URL --redis URL] [--speech] [--workers 2] [--kill]

The files lie on a web server of this process: they are fetched, verified, held and transcribed as a customer's are.
Each has two seconds. By default that is silence, which no engine is asked about, so that the work of the product itself
is measured; with --speech they are the first two seconds of a sentence, and PocketSphinx recognises them.

Meanwhile the status is asked for four times a second, and another customer sends a single recording five seconds after
the end of the one before: how long does it wait until a worker has it, and until its end? Two at once would wait for
each other: PocketSphinx hears one at a time, and a worker that waits for it, or for an engine that was killed, takes
nothing else. Memory is that of the largest process of each kind, after a tenth of the
batch and at its end. With --postgres, each tenth also tells how many rows the database has read for each item that
ended in it, for whatever reason: the questions of this script and the duties of the clock are among them.

Processor time is that of the processes of the product, with all that they forked; PostgreSQL and Redis come on top.

With --kill, all workers, the engine, the clock and the importer are killed in the middle, each more than once. At the
end each item must have ended once, and be charged once.

Without --postgres and --redis the site uses the embedded SQLite and Redis.
"""

import argparse
import io
import json
import os
import statistics
import tempfile
import threading
import time
import wave
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import requests

from script.benchmarks.measuring import whole_site
from tests import product
from tests.transcription import remote

SWEEP = "from django.utils import timezone; from transcription.recordings import sweeping; "
SWEEP += "sweeping.sweep(now=timezone.now())"
SENTENCE = Path(__file__).resolve().parents[2] / "tests/fixtures/audio/sentence-slt.wav"
SECONDS = 2
UNLIMITED = {f"VOXSITE_RATE_{name}": "100000000/minute" for name in ("REQUESTS", "UPLOADS")}
KINDS = ("web", "worker", "importer", "clock")
# What is killed when, in parts of what is to be done: while files are fetched and verified, and while they are
# transcribed.
KILLED_BEFORE = ((0.1, "importer"), (0.3, "worker"), (0.5, "clock"), (0.7, "importer"), (0.9, "worker"))
KILLED_AFTER = ((0.1, "worker"), (0.3, "engine"), (0.5, "clock"), (0.7, "worker"), (0.9, "engine"))
# A long batch tells now and then what was measured so far.
REPORT_SECONDS = 60
FINAL = ("completed", "failed", "canceled")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--speech", action="store_true")
    parser.add_argument("--kill", action="store_true")
    parser.add_argument("--postgres", default="")
    parser.add_argument("--redis", default="")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        switches = {**UNLIMITED, "VOXSITE_WORKERS": str(chosen.workers)}
        if chosen.postgres:
            name = f"voxsite_benchmark_{os.getpid()}"
            postgres = stack.enter_context(psycopg.connect(chosen.postgres, autocommit=True))
            postgres.execute(f"CREATE DATABASE {name}")
            stack.callback(postgres.execute, f"DROP DATABASE {name} WITH (FORCE)")
            url = urlsplit(chosen.postgres)._replace(path=f"/{name}").geturl()
            switches |= {"DATABASE_URL": url, "REDIS_URL": chosen.redis}
        server = stack.enter_context(remote.running(recording(is_speech=chosen.speech)))
        switches["VOXSITE_ALLOW_PRIVATE_ADDRESSES"] = server.socket
        site = stack.enter_context(product.running_first(folder, **switches))
        keys = site.new_keys({"batch@example.com": "1000", "single@example.com": "1000"})
        measure(site, [server.url("/whole")] * chosen.count, keys=keys, kills=chosen.kill)


def recording(*, is_speech: bool) -> bytes:
    """Return a WAV of two seconds."""
    with wave.open(str(SENTENCE), "rb") as source:
        frames = source.readframes(SECONDS * source.getframerate())
        made = io.BytesIO()
        with wave.open(made, "wb") as file:
            file.setparams(source.getparams())
            file.writeframes(frames if is_speech else bytes(len(frames)))
    return made.getvalue()


def measure(site: product.Product, urls: list[str], *, keys: dict[str, str], kills: bool) -> None:
    head = {"X-API-Key": keys["batch@example.com"]}
    body = {
        "files": [{"url": f"{url}?{number}", "reference": f"file {number}"} for number, url in enumerate(urls)],
        "diarize": False,
    }
    started = time.monotonic()
    answer = requests.post(f"{site.address}/v1/transcribe", json=body, headers=head, timeout=120)
    assert answer.status_code == 201, answer.text
    print(f"submitted: {time.monotonic() - started:.2f} s for {len(urls)} files", flush=True)
    job_id = answer.json()["job_id"]
    ended = threading.Event()
    waits: list[float] = []
    ends: list[float] = []
    single = threading.Thread(target=send_singles, args=(site, keys["single@example.com"], ended, waits, ends))
    single.start()
    statuses: list[float] = []
    memory: dict[str, dict[str, float]] = {}
    started = reported = time.monotonic()
    held_after = 0.0
    spent = processor_time_of(site)
    tenths = Tenths(site)
    waiting = {"before": list(KILLED_BEFORE if kills else ()), "after": list(KILLED_AFTER if kills else ())}
    while True:
        asked = time.monotonic()
        job = requests.get(f"{site.address}/v1/jobs/{job_id}", headers=head, timeout=30).json()
        statuses.append(time.monotonic() - asked)
        done = len(urls) - job["items_left"]
        if job["status"] == "processing" and not held_after:
            held_after = time.monotonic() - started
            print(f"all fetched, verified and held after {held_after:.0f} s", flush=True)
            spent = print_processor_time(site, since=spent, count=len(urls))
        if held_after:
            tenths.note(done, of=len(urls))
            kill_due(site, waiting["after"], part=done / len(urls))
        elif waiting["before"]:
            kill_due(site, waiting["before"], part=1 - unverified(site, job_id) / len(urls))
        if done >= len(urls) // 10 and "a tenth" not in memory:
            memory["a tenth"] = memory_of(site)
        if job["status"] in FINAL:
            break
        if asked - reported >= REPORT_SECONDS:
            reported = asked
            print(f"after {asked - started:.0f} s: {done} ended; status: {len(statuses)} times, {figures(statuses)}")
            print(f"single recordings: {len(waits)}, {figures(waits)}; memory: {shown(memory_of(site))}", flush=True)
        time.sleep(0.25)
    seconds = time.monotonic() - started
    memory["the end"] = memory_of(site)
    print_processor_time(site, since=spent, count=len(urls))
    ended.set()
    single.join()
    print(
        f"{job['status']} after {seconds:.0f} s: {len(urls) / (seconds - held_after):.1f} recordings a second once held"
    )
    print(f"items failed: {job['items_failed']}, cost ${job['cost_dollars']}")
    print(f"status: {len(statuses)} times, {figures(statuses)}")
    print(f"single recordings until a worker had them: {len(waits)}, {figures(waits)}")
    print(f"single recordings until their end: {len(ends)}, {figures(ends)}")
    for moment, sizes in memory.items():
        print(f"memory at {moment}: {shown(sizes)}")
    charges = site.rows("SELECT amount_micros FROM billing_entry WHERE reference = ?", f"job:{job_id}")
    assert len(charges) == 1, charges
    check_items(site, job_id, count=len(urls), charged_micros=-charges[0][0])
    read_result(site, job_id, head, count=len(urls))


def send_singles(
    site: product.Product, key: str, ended: threading.Event, waits: list[float], ends: list[float]
) -> None:
    """Send one recording after the other, and note how long each waits for a worker, and for its end."""
    content = SENTENCE.read_bytes()
    head = {"X-API-Key": key}
    while not ended.is_set():
        answer = requests.post(f"{site.address}/v1/transcribe", files={"file": content}, headers=head, timeout=60)
        job_id = answer.json()["job_id"]
        sent = time.monotonic()
        status, waited = "queued", False
        while status not in FINAL:
            time.sleep(0.05)
            status = requests.get(f"{site.address}/v1/jobs/{job_id}", headers=head, timeout=30).json()["status"]
            if status != "queued" and not waited:
                waits.append(time.monotonic() - sent)
                waited = True
        assert status == "completed", job_id
        ends.append(time.monotonic() - sent)
        ended.wait(5)


class Tenths:
    """Prints how long each tenth of the batch took once it was held, and how many rows were read for its items."""

    def __init__(self, site: product.Product) -> None:
        self._site = site
        self._next, self._done = 0, 0
        self._at, self._rows = 0.0, 0

    def note(self, done: int, *, of: int) -> None:
        if done < self._next * of // 10:
            return
        now, rows = time.monotonic(), self._rows_read()
        if self._at and done > self._done:
            ended = done - self._done
            seen = f", {(rows - self._rows) / ended:.0f} rows read for each" if rows else ""
            print(f"up to {done}: {ended / (now - self._at):.1f} recordings a second{seen}", flush=True)
        self._at, self._rows, self._done = now, rows, done
        self._next = done * 10 // of + 1

    def _rows_read(self) -> int:
        """Return the rows that all statements so far have read of tables, 0 for SQLite, which counts none."""
        if "DATABASE_URL" not in self._site.environment:
            return 0
        read = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_user_tables"
        return int(self._site.rows(read)[0][0])


def unverified(site: product.Product, job_id: str) -> int:
    """Return how many recordings of the job are not known yet."""
    query = "SELECT items_unverified FROM transcription_job WHERE id = ?"
    return int(site.rows(query, _id(site, job_id))[0][0])


def kill_due(site: product.Product, waiting: list[tuple[float, str]], *, part: float) -> None:
    """Kill the processes whose moment has come."""
    while waiting and part >= waiting[0][0]:
        _, name = waiting.pop(0)
        killed = 0
        for process in psutil.Process(site.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if f"voxsite.serve.child {name}" in " ".join(process.cmdline()):
                    process.kill()
                    killed += 1
        assert killed, name
        print(f"killed at {part:.0%}: {name}, {killed} processes with what they had forked", flush=True)


def check_items(site: product.Product, job_id: str, *, count: int, charged_micros: int) -> None:
    """Every item has ended once, with a result of its own, and together they are charged once."""
    query = "SELECT status, count(*), sum(cost_micros), sum(attempt - 1) FROM transcription_jobitem WHERE job_id = ?"
    found = site.rows(f"{query} GROUP BY status", _id(site, job_id))
    ((status, ended, cost_micros, repeated),) = found
    assert (status, ended, int(cost_micros)) == ("completed", count, charged_micros), found
    keys = site.rows("SELECT result_key FROM transcription_jobitem WHERE job_id = ?", _id(site, job_id))
    results = {key for (key,) in keys}
    assert len(results) == count, len(results)
    top = site.folder / "media"
    stored = {str(path.relative_to(top)) for path in (top / "results").glob(f"*/{job_id}/*")}
    assert results <= stored, results - stored
    # A worker that was killed between the file and the row leaves a file, which the clock sweeps hours later.
    for name in stored - results:
        os.utime(top / name, (0, 0))
        print(f"left by a killed attempt: {name}")
    if stored - results:
        site.manage("shell", "--no-imports", "-c", SWEEP)
        left = {str(path.relative_to(top)) for path in (top / "results").glob(f"*/{job_id}/*")}
        assert left == results, left - results
    code = "import json; from billing import ledger; from billing.models import Wallet; "
    code += "print(json.dumps([fault for wallet in Wallet.objects.all() for fault in ledger.verify(wallet)]))"
    faults = json.loads(site.manage("shell", "--no-imports", "-c", code).splitlines()[-1])
    assert faults == [], faults
    print(f"each of {count} items completed once, {int(repeated)} in a later attempt, charged once: {charged_micros}")


def _id(site: product.Product, job_id: str) -> str:
    return job_id if "DATABASE_URL" in site.environment else job_id.replace("-", "")


def read_result(site: product.Product, job_id: str, head: dict[str, str], *, count: int) -> None:
    before = memory_of(site)["web"]
    started = time.monotonic()
    document = requests.get(f"{site.address}/v1/jobs/{job_id}/result", headers=head, timeout=600)
    assert len(document.json()["items"]) == count
    grown = memory_of(site)["web"] - before
    size = len(document.content) / 2**20
    print(f"result of all: {size:.1f} MiB in {time.monotonic() - started:.1f} s, web grew by {grown:.0f} MiB")


def processor_time_of(site: product.Product) -> dict[str, float]:
    """Return the seconds of a core that the processes of each kind have used, with their children that have ended."""
    spent = dict.fromkeys((*KINDS, "engine"), 0.0)
    for kind in spent:
        for process in whole_site.processes(site, kind):
            with suppress(psutil.NoSuchProcess):
                spent[kind] += sum(process.cpu_times()[:4])
    return spent


def print_processor_time(site: product.Product, *, since: dict[str, float], count: int) -> dict[str, float]:
    """Print what was used for each file since then. A process that was killed meanwhile is left out."""
    spent = processor_time_of(site)
    each = {kind: max(0.0, 1000 * (seconds - since[kind]) / count) for kind, seconds in spent.items()}
    print("processor time for each: " + ", ".join(f"{kind} {ms:.0f} ms" for kind, ms in each.items()), flush=True)
    return spent


def memory_of(site: product.Product) -> dict[str, float]:
    """Return MiB of the largest process of each kind."""
    sizes: dict[str, float] = {}
    for process in psutil.Process(site.process.pid).children(recursive=True):
        try:
            words, mib = " ".join(process.cmdline()).rstrip(), process.memory_info().rss / 2**20
        except psutil.Error:
            continue
        kind = next((kind for kind in KINDS if words.endswith(f"voxsite.serve.child {kind}")), "")
        if kind:
            sizes[kind] = max(sizes.get(kind, 0), mib)
    return sizes


def shown(sizes: dict[str, float]) -> str:
    return ", ".join(f"{kind} {mib:.0f} MiB" for kind, mib in sizes.items())


def figures(seconds: list[float]) -> str:
    ordered: list[Any] = sorted(seconds)
    if not ordered:
        return "none"
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    shown = {"median": statistics.median(ordered), "p99": p99, "at most": ordered[-1]}
    return ", ".join(f"{name} {1000 * value:.0f} ms" for name, value in shown.items())


if __name__ == "__main__":
    main()
