"""How fast calls that wait are answered at `POST /v1/audio/transcriptions`, beside what a user would run instead.

Usage: script/benchmark sync --model FOLDER [--peer FOLDER] [PART ...]      (all parts)

--model: a real model, as CTranslate2 converts it, such as Whisper base. Its name decides on the context (decision 27).
--peer: a virtual environment with faster-whisper-server 0.0.3, the OpenAI-compatible server of that name on PyPI. It is
made in a temporary folder otherwise. The peer and the product have the same cores, precision and priority, in turns.

call     one clip of 5 s by one caller, beside a warm WhisperModel.transcribe of it: medians
callers  8 callers at once, each with clips of 5 s, beside the peer: answers a minute and the 95th percentile
stream   the first delta of a stream of 60 s of speech, beside the first segment of the library
waiters  300 calls that wait at once, leave, and come again: /health, and the memory of web and its open database files
"""

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import requests
from measuring import clips, whole_site
from measuring.peer import NICENESS, Peer

from tests import product
from voxsite.serve import heap

PEER_PACKAGE = "faster-whisper-server==0.0.3"
ADDRESS = "/v1/audio/transcriptions"
CALLERS = 8
CALLS_OF_EACH = 8
WAITERS = 300
BURSTS = 3
TURNS = 10
# Prints the seconds until the first segment, for each path that it reads.
FIRST_SEGMENT = """
import sys, time
from faster_whisper import WhisperModel
model = WhisperModel(sys.argv[1], device="cpu", compute_type="int8")
print("ready", flush=True)
for line in sys.stdin:
    started = time.perf_counter()
    next(iter(model.transcribe(line.strip(), vad_filter=True)[0]))
    print(time.perf_counter() - started, flush=True)
"""


class Server:
    """An OpenAI-compatible server: ours or the peer."""

    def __init__(self, address: str, *, key: str, model: str) -> None:
        self.address, self._key, self._model = address, key, model

    def post(self, path: Path, **fields: str) -> requests.Response:
        """Return the answer to a clip. Raises for any but 200."""
        with path.open("rb") as file:
            answer = requests.post(
                self.address + ADDRESS,
                files={"file": (path.name, file, "audio/flac")},
                data={"model": self._model, "response_format": "json", **fields},
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=600,
                stream="stream" in fields,
            )
        answer.raise_for_status()
        return answer

    def begin(self, path: Path) -> socket.socket:
        """Send a whole request, and return its connection without waiting for the answer."""
        prepared = requests.Request(
            "POST",
            self.address + ADDRESS,
            files={"file": (path.name, path.read_bytes(), "audio/flac")},
            data={"model": self._model, "response_format": "json"},
            headers={"Authorization": f"Bearer {self._key}", "Host": "localhost"},
        ).prepare()
        lines = [f"POST {ADDRESS} HTTP/1.1", *(f"{name}: {value}" for name, value in prepared.headers.items())]
        assert isinstance(prepared.body, bytes)
        connection = socket.create_connection(("localhost", int(self.address.rpartition(":")[2])))
        connection.sendall("\r\n".join([*lines, "", ""]).encode() + prepared.body)
        return connection

    def seconds_of(self, path: Path) -> float:
        started = time.perf_counter()
        assert self.post(path).json()["text"]
        return time.perf_counter() - started

    def seconds_to_first_delta(self, path: Path) -> float:
        started = time.perf_counter()
        with self.post(path, stream="true") as answer:
            for line in answer.iter_lines():
                if line.startswith(b"event: transcript.text.delta"):
                    return time.perf_counter() - started
        raise AssertionError("no delta came")


@contextmanager
def peer_server(model: Path, folder: Path, *, environment: Path | None) -> Iterator[Server]:
    """Run the peer with its model loaded."""
    if environment is None:
        environment = folder / "peer"
        subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
        subprocess.run([str(environment / "bin/pip"), "install", "--quiet", PEER_PACKAGE], check=True)
    config = folder / "peer.yaml"
    config.write_text(
        # It reads no `model`, and takes this name for what it was not told.
        f"models:\n  - name: whisper-1\n    path: {model}\n    model_options: {{device: cpu, compute_type: int8}}\n"
    )
    port = product.free_port()
    command = ["nice", "-n", str(NICENESS), str(environment / "bin/faster-whisper-server")]
    command += ["--host", "127.0.0.1", "--port", str(port), "--config", str(config)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    server = Server(f"http://127.0.0.1:{port}", key="none", model="whisper-1")
    try:
        for _ in range(600):
            try:
                requests.get(server.address + "/docs", timeout=5)
                break
            except requests.ConnectionError:
                time.sleep(0.1)
        yield server
    finally:
        process.terminate()
        process.wait()


class FirstSegment:
    """The library in a process of its own, warm, asked for the first segment of files."""

    def __init__(self, model: Path) -> None:
        command = ["nice", "-n", str(NICENESS), sys.executable, "-c", FIRST_SEGMENT, str(model)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def seconds_of(self, path: Path) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.terminate()
        self._process.wait()


def part_call(ours: Server, folder: Path, *, model: Path, **_: object) -> Iterator[str]:
    [one] = clips.clips(folder, count=1, seed=3, seconds=(5, 5))
    library = Peer(model, compute_type="int8")
    try:
        found = []
        for turn in range(TURNS + 2):
            theirs = library.transcribe("single", [one.path])["seconds"]
            seconds = ours.seconds_of(one.path)
            if turn >= 2:  # both are warm now
                found.append((seconds, theirs))
    finally:
        library.close()
    seconds, theirs = np.median(found, axis=0)
    allowed = 0.75 * theirs + 0.06
    yield f"a clip of 5 s: {seconds:.2f} s from POST to answer; WhisperModel.transcribe {theirs:.2f} s"
    yield f"  aim: at most {allowed:.2f} s - {'held' if seconds <= allowed else 'MISSED'}"


def part_callers(ours: Server, folder: Path, *, peer: Server, **_: object) -> Iterator[str]:
    paths = [one.path for one in clips.clips(folder, count=CALLERS, seed=5, seconds=(5, 5))]
    figures = []
    for server in (ours, peer):
        server.seconds_of(paths[0])
        started = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as pool:
            taken = list(pool.map(server.seconds_of, paths * CALLS_OF_EACH))
        rate = 60 * len(taken) / (time.perf_counter() - started)
        figures.append((rate, float(np.percentile(taken, 95))))
    (rate, p95), (their_rate, their_p95) = figures
    is_held = rate >= 2 * their_rate and p95 <= their_p95
    yield f"{CALLERS} callers at once, clips of 5 s: {rate:.0f} answers a minute, 95th percentile {p95:.2f} s"
    yield f"  {PEER_PACKAGE}: {their_rate:.0f} a minute, {their_p95:.2f} s"
    yield f"  {rate / their_rate:.2f} times as many; aim: 2 at no higher percentile - {'held' if is_held else 'MISSED'}"


def part_stream(ours: Server, folder: Path, *, model: Path, **_: object) -> Iterator[str]:
    path = clips.long_file(folder / "minute.flac", seconds=60)
    library = FirstSegment(model)
    try:
        found = [(ours.seconds_to_first_delta(path), library.seconds_of(path)) for _ in range(5)][1:]
    finally:
        library.close()
    seconds, theirs = np.median(found, axis=0)
    yield f"60 s of speech: first delta after {seconds:.2f} s; first segment of the library after {theirs:.2f} s"
    yield f"  aim: at most {1.2 * theirs:.2f} s - {'held' if seconds <= 1.2 * theirs else 'MISSED'}"


def part_waiters(ours: Server, folder: Path, *, site: product.Product, **_: object) -> Iterator[str]:
    paths = [one.path for one in clips.clips(folder, count=20, seed=7, seconds=(5, 5))]
    for path in paths[:5]:
        ours.seconds_of(path)
    before, files_before = whole_site.memory(site, "web"), database_files(site)
    for number in range(1, BURSTS + 1):
        with ThreadPoolExecutor(WAITERS) as pool:
            sockets = list(pool.map(ours.begin, (paths * WAITERS)[:WAITERS]))
        taken = []
        # For longer than web waits before it gives free memory back (`voxsite/serve/heap.py`: 5 s).
        for _ in range(500):
            started = time.perf_counter()
            requests.get(site.address + "/health", timeout=10).raise_for_status()
            taken.append((time.perf_counter() - started) * 1000)
            time.sleep(0.02)
        p50, p99 = np.percentile(taken, [50, 99])
        still, files = waiting_calls(site), database_files(site)
        more = (whole_site.memory(site, "web") - before) * 1024 / still
        for each in sockets:
            each.close()
        yield f"burst {number}: {still} of {WAITERS} calls wait"
        yield f"  /health beside them: {p50:.1f} ms at the median, {p99:.1f} ms at the 99th percentile"
        yield f"  aim: under 100 ms - {'held' if p99 < 100 else 'MISSED'}"
        yield f"  memory of web: {more:.0f} KiB more for each; aim: under 150 - {'held' if more < 150 else 'MISSED'}"
        yield f"  open database files of web: {files}, {files_before} before the calls"
        while waiting_calls(site) or open_jobs(site):
            time.sleep(1)
        time.sleep(2 * heap.LOOK_SECONDS)
        rest = whole_site.memory(site, "web") - before
        yield f"  all of them have left: {rest:.0f} MiB more than before the first burst"


def open_jobs(site: product.Product) -> int:
    """Return how many jobs have not ended: the clients have left, so they are canceled after the grace."""
    ended = "'completed', 'failed', 'canceled'"
    return int(site.rows(f"select count(*) from transcription_job where status not in ({ended})")[0][0])


def web_process(site: product.Product) -> psutil.Process:
    return max(whole_site.processes(site, "web"), key=lambda process: process.memory_info().rss)


def waiting_calls(site: product.Product) -> int:
    """Return how many connections the web process has with clients."""
    port = int(site.address.rpartition(":")[2])
    return sum(one.status == "ESTABLISHED" and one.laddr.port == port for one in web_process(site).net_connections())


def database_files(site: product.Product) -> int:
    return sum(file.path.endswith(".sqlite3") for file in web_process(site).open_files())


PARTS = {name.removeprefix("part_"): part for name, part in list(globals().items()) if name.startswith("part_")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--model", type=Path, required=True)
    arguments.add_argument("--peer", type=Path)
    arguments.add_argument("parts", nargs="*", metavar="PART")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="voxsite-benchmark-") as name:
        folder = Path(name)
        (folder / "data").mkdir()
        switches = {
            "VOXSITE_ENGINE": "faster_whisper",
            "VOXSITE_WHISPER_STANDARD": str(given.model),
            "VOXSITE_WHISPER_PREMIUM": str(given.model),
            "VOXSITE_MAX_WAITING_CALLS": str(2 * WAITERS),
            "VOXSITE_DISCONNECT_GRACE_SECONDS": "5",
            "VOXSITE_RATE_REQUESTS": "1000000/minute",
            "VOXSITE_RATE_UPLOADS": "1000000/minute",
        }
        with (
            product.running(folder / "data", **switches) as site,
            peer_server(given.model, folder, environment=given.peer) as peer,
        ):
            ours = Server(site.address, key=site.new_key(owner="bench@example.com", dollars="900"), model="whisper-1")
            gibibytes = psutil.virtual_memory().total / 1024**3
            print(f"{psutil.cpu_count()} cores, {gibibytes:.0f} GiB; model {given.model.name}, int8")
            for part in given.parts or PARTS:
                for line in PARTS[part](ours, folder, model=given.model, peer=peer, site=site):
                    print(line, flush=True)


if __name__ == "__main__":
    main()
