"""How fast and how lean the whole product transcribes, beside faster-whisper itself in one process.

Usage: script/benchmark speech [--model FOLDER] [PART ...]      (all parts; the tiny model of tests/fixtures/whisper)

file    one 10-minute file, from POST to completed, beside a warm BatchedInferencePipeline on the same audio
clips   64 clips of 5 to 20 s as 64 jobs, beside a warm WhisperModel.transcribe on them one by one
memory  a 3-hour file: peak memory of worker and engine above their idle level
many    500 jobs in a row: memory of engine, workers and web after 50 and after 500
web     /health and /v1/balance while 8 jobs run (VOXSITE_WORKERS=8 runs all of them at once): 50th and 99th percentile
quiet   60 s of silence, of tones and of noise: no words, and what that costs
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import numpy as np
import psutil
import requests

from tests import product

RATE = 16_000
SAMPLES = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "whisper" / "samples"
MEBIBYTE = 1024**2
# What a user would run: a warm model in a process of its own, on the same cores and with the same precision.
PEER = """
import json, sys, time
from faster_whisper import BatchedInferencePipeline, WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type=sys.argv[2])
batched = BatchedInferencePipeline(model)
options = {"vad_filter": True, "word_timestamps": True}
acts = {
    "whole": lambda path: batched.transcribe(path, batch_size=8, **options),
    "single": lambda path: model.transcribe(path, **options),
}
def act(path): return " ".join(segment.text.strip() for segment in acts[sys.argv[3]](path)[0])
act(sys.argv[4])
started = time.perf_counter()
texts = [act(path) for path in sys.argv[4:]]
print(json.dumps({"seconds": time.perf_counter() - started, "texts": texts}))
"""


def speech() -> np.ndarray:
    """Return all English samples, one after another, as float32."""
    parts = []
    for path in sorted(SAMPLES.glob("en-*")):
        with av.open(str(path)) as source:
            resampler = av.AudioResampler(format="flt", layout="mono", rate=RATE)
            parts += [piece.to_ndarray()[0] for frame in source.decode(audio=0) for piece in resampler.resample(frame)]
        parts.append(np.zeros(RATE // 2, dtype=np.float32))
    return np.concatenate(parts)


def write(path: Path, samples: np.ndarray) -> Path:
    """Write FLAC."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=RATE, layout="mono")
        for start in range(0, len(samples), 4096):
            piece = (samples[start : start + 4096] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = RATE, start
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def long_file(path: Path, *, seconds: int) -> Path:
    return write(path, np.resize(speech(), RATE * seconds))


def clips(folder: Path, *, count: int, seed: int = 1) -> list[Path]:
    """Write clips of 5 to 20 s, cut anywhere."""
    everything, random = np.tile(speech(), 3), np.random.default_rng(seed)
    paths = []
    for number in range(count):
        length = int(random.uniform(5, 20) * RATE)
        start = int(random.integers(0, len(everything) - length))
        paths.append(write(folder / f"clip-{number}.flac", everything[start : start + length]))
    return paths


class Customer:
    """A program that sends recordings and waits for them."""

    def __init__(self, site: product.Product) -> None:
        self.site = site
        self.session = requests.Session()
        self.session.headers["X-API-Key"] = site.new_key(owner="bench@example.com", dollars="900")

    def submit(self, path: Path) -> str:
        while True:
            with path.open("rb") as file:
                answer = self.session.post(f"{self.site.address}/v1/transcribe", files={"file": file}, timeout=60)
            if answer.status_code != 429:
                return str(answer.json()["job_id"])
            time.sleep(int(answer.headers["Retry-After"]))

    def job(self, job_id: str) -> dict[str, Any]:
        return dict(self.session.get(f"{self.site.address}/v1/jobs/{job_id}", timeout=60).json())

    def wait(self, job_ids: list[str], *, pause: float = 0.2) -> list[dict[str, Any]]:
        """Wait for jobs that are among the newest hundred: one question for all, so that asking costs little."""
        while True:
            found = self.session.get(f"{self.site.address}/v1/jobs", params={"limit": 100}, timeout=60).json()["jobs"]
            jobs = {job["id"]: job for job in found}
            assert all(jobs[job_id]["status"] != "failed" for job_id in job_ids), jobs
            if all(jobs[job_id]["status"] == "completed" for job_id in job_ids):
                return [jobs[job_id] for job_id in job_ids]
            time.sleep(pause)

    def text(self, job_id: str) -> str:
        return str(self.session.get(f"{self.site.address}/v1/jobs/{job_id}/result", timeout=60).json()["text"])


def peer(model: Path, *, compute_type: str, act: str, paths: list[Path]) -> dict[str, Any]:
    command = [sys.executable, "-c", PEER, str(model), compute_type, act, *map(str, paths)]
    return dict(json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout))


def processes(site: product.Product, name: str) -> set[psutil.Process]:
    """Return the processes of that name and all below them, decoders too."""
    found = set()
    for process in psutil.Process(site.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if f"voxsite.serve.child {name}" in " ".join(process.cmdline()):
                found |= {process, *process.children(recursive=True)}
    return found


def memory(site: product.Product, name: str) -> float:
    """Return the unshared memory of the processes of that name, children included, in MiB."""
    total = 0
    for process in processes(site, name):
        try:
            total += process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
    return total / MEBIBYTE


class Peak(threading.Thread):
    """Watches the memory of processes and keeps the highest."""

    def __init__(self, site: product.Product, *names: str) -> None:
        super().__init__(daemon=True)
        self.site, self.highest = site, dict.fromkeys(names, 0.0)
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.25):
            for name in self.highest:
                self.highest[name] = max(self.highest[name], memory(self.site, name))


def part_file(customer: Customer, folder: Path, **how: Any) -> Iterator[str]:
    path = long_file(folder / "ten-minutes.flac", seconds=600)
    customer.wait([customer.submit(clips(folder, count=1)[0])])
    theirs = peer(act="whole", paths=[path], **how)
    started = time.perf_counter()
    job_id = customer.submit(path)
    customer.wait([job_id])
    ours = time.perf_counter() - started
    allowed = 1.15 * theirs["seconds"] + 1
    yield f"10 minutes: {ours:.1f} s from POST to completed; BatchedInferencePipeline {theirs['seconds']:.1f} s"
    yield f"  aim: at most {allowed:.1f} s - {'held' if ours <= allowed else 'MISSED'}"
    yield f"  words: {len(customer.text(job_id).split())} here, {len(theirs['texts'][0].split())} there"


def part_clips(customer: Customer, folder: Path, **how: Any) -> Iterator[str]:
    paths = clips(folder, count=64)
    theirs = peer(act="single", paths=paths, **how)["seconds"]
    started = time.perf_counter()
    with ThreadPoolExecutor(4) as pool:
        job_ids = list(pool.map(customer.submit, paths))
    customer.wait(job_ids)
    ours = time.perf_counter() - started
    yield f"64 clips: {ours:.1f} s as 64 jobs; WhisperModel.transcribe one by one {theirs:.1f} s"
    yield f"  {theirs / ours:.2f} times as fast; aim: at least 1.5 - {'held' if theirs / ours >= 1.5 else 'MISSED'}"
    yield f"  engine: {json.dumps(engine_health(customer.site))}"


def part_memory(customer: Customer, folder: Path, **_: Any) -> Iterator[str]:
    path = long_file(folder / "three-hours.flac", seconds=3 * 3600)
    customer.wait([customer.submit(clips(folder, count=1)[0])])
    idle = {name: memory(customer.site, name) for name in ("worker", "engine")}
    peak = Peak(customer.site, "worker", "engine")
    peak.start()
    started = time.perf_counter()
    customer.wait([customer.submit(path)], pause=1)
    peak.stopped.set()
    yield f"3 hours: {time.perf_counter() - started:.0f} s"
    for name, most in (("worker", 250), ("engine", 300)):
        more = peak.highest[name] - idle[name]
        outcome = "held" if more <= most else "MISSED"
        yield f"  {name}: {more:.0f} MiB above idle ({idle[name]:.0f}); aim at most {most} - {outcome}"


def part_many(customer: Customer, folder: Path, **_: Any) -> Iterator[str]:
    paths = clips(folder, count=10, seed=2)
    after: dict[int, dict[str, float]] = {}
    started = time.perf_counter()
    for number in range(1, 501):
        job_id = customer.submit(paths[number % len(paths)])
        while (status := customer.job(job_id)["status"]) != "completed":
            assert status in {"queued", "processing"}, status
            time.sleep(0.05)
        if number in {50, 200, 350, 500}:
            time.sleep(2)
            after[number] = {name: memory(customer.site, name) for name in ("worker", "engine", "web")}
    yield f"500 jobs, one after the other: {time.perf_counter() - started:.0f} s"
    for name in ("worker", "engine", "web"):
        growth = after[500][name] / after[50][name] - 1
        found = ", ".join(f"{levels[name]:.1f} MiB after {number}" for number, levels in after.items())
        outcome = "held" if growth <= 0.1 else "MISSED"
        yield f"  {name}: {found}: {growth:+.1%}; aim: within 10 % - {outcome}"


def part_web(customer: Customer, folder: Path, **_: Any) -> Iterator[str]:
    paths = [
        write(folder / f"five-minutes-{n}.flac", np.roll(np.resize(speech(), RATE * 300), n * RATE)) for n in range(8)
    ]
    job_ids = [customer.submit(path) for path in paths]
    taken: dict[str, list[float]] = {"/health": [], "/v1/balance": []}
    busiest, running = 0, len(job_ids)
    while running:
        for _ in range(50):
            for address, milliseconds in taken.items():
                started = time.perf_counter()
                customer.session.get(f"{customer.site.address}{address}", timeout=10).raise_for_status()
                milliseconds.append((time.perf_counter() - started) * 1000)
                time.sleep(0.005)
        statuses = [customer.job(job_id)["status"] for job_id in job_ids]
        busiest, running = max(busiest, statuses.count("processing")), len(job_ids) - statuses.count("completed")
    for address, milliseconds in taken.items():
        p50, p99 = np.percentile(milliseconds, [50, 99])
        yield (
            f"{address} beside 8 jobs, {busiest} of them at once: {p50:.1f} ms at the median, {p99:.1f} ms at the 99th "
            f"percentile of {len(milliseconds)}, {max(milliseconds):.0f} ms at most"
        )
    p99 = np.percentile(taken["/health"], 99)
    yield f"  aim: /health under 50 ms - {'held' if p99 < 50 else 'MISSED'}"


def part_quiet(customer: Customer, folder: Path, **_: Any) -> Iterator[str]:
    moments = np.arange(60 * RATE) / RATE
    chords = sum(np.sin(2 * np.pi * hertz * moments) for hertz in (220, 277, 330)) * 0.2
    sounds = {
        "silence": np.zeros(60 * RATE),
        "tones": chords * (0.5 + 0.5 * np.sin(2 * np.pi * 0.5 * moments)),
        "noise": np.random.default_rng(0).normal(0, 0.1, 60 * RATE).clip(-1, 1),
    }
    for name, samples in sounds.items():
        job_id = customer.submit(write(folder / f"{name}.flac", samples.astype(np.float32)))
        (job,) = customer.wait([job_id])
        text = customer.text(job_id)
        yield f"60 s of {name}: {job['status']}, {text!r}, ${job['cost_dollars']} - {'MISSED' if text else 'held'}"


def engine_health(site: product.Product) -> Any:
    code = "import json; from django.conf import settings; from transcription.speech.engines import remote; "
    code += "print(json.dumps(remote.health(settings.ENGINE_SOCKET, timeout_seconds=10)))"
    return json.loads(site.manage("shell", "--no-imports", "-c", code).splitlines()[-1])


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, help="a CTranslate2 Whisper folder (default: the tiny one)")
    arguments.add_argument("--compute-type", default="int8")
    arguments.add_argument("parts", nargs="*", metavar="PART")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="voxsite-benchmark-") as name:
        folder = Path(name)
        model = given.model
        if model is None:
            model = folder / "tiny-whisper"
            build = [
                sys.executable,
                str(SAMPLES.parent / "build_ct2_model.py"),
                str(SAMPLES.parent / "tiny-whisper.npz"),
                str(model),
            ]
            subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": str(model),
            "VOXSITE_WHISPER_PREMIUM": str(model),
            "VOXSITE_COMPUTE_TYPE": given.compute_type,
            "VOXSITE_RATE_UPLOADS": "100000/minute",
            "VOXSITE_RATE_REQUESTS": "1000000/minute",
        }
        (folder / "data").mkdir()
        with product.running(folder / "data", **switches) as site:
            customer = Customer(site)
            gibibytes = psutil.virtual_memory().total / 1024**3
            print(f"{psutil.cpu_count()} cores, {gibibytes:.0f} GiB; model {model.name}, {given.compute_type}")
            for part in given.parts or PARTS:
                for line in PARTS[part](customer, folder, model=model, compute_type=given.compute_type):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
