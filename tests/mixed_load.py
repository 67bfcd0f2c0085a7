"""Programs that use a site all at once, with uploads, calls that wait and streams, and note what fails."""

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import requests

from tests.product import PROJECT_DIR, Product

CALL_SECONDS = 180
# Between two requests of one program.
PAUSE_SECONDS = 0.2


@dataclass
class Load:
    """Programs in threads, each with a session that keeps its connection.

    counts: how often each kind of work was done. faults: what failed, as sentences. job_ids: jobs that were ordered.
    """

    address: str
    key: str
    recording: Path
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    job_ids: list[str] = field(default_factory=list)
    # Streams that were ended by an event that says so, which is allowed.
    told_ends: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, *, uploaders: int = 2, callers: int = 2, streams: int = 3, watchers: int = 2) -> None:
        """Start so many programs of each kind."""
        for count, work in (
            (uploaders, self._upload),
            (callers, self._call_and_wait),
            (streams, self._chat),
            (1, self._chat_long),
            (watchers, self._watch),
            (1, self._look),
        ):
            for _ in range(count):
                thread = threading.Thread(target=self._repeat, args=(work,), daemon=True)
                thread.start()
                self._threads.append(thread)

    def stop(self) -> None:
        """Let each program finish what it has begun."""
        self._stopped.set()
        for thread in self._threads:
            thread.join(CALL_SECONDS)
        self.faults += [f"{thread.name} hangs" for thread in self._threads if thread.is_alive()]

    def _repeat(self, work: Callable[[requests.Session], None]) -> None:
        name = work.__name__.strip("_")
        with requests.Session() as session:
            session.headers["Authorization"] = f"Bearer {self.key}"
            while not self._stopped.wait(PAUSE_SECONDS):
                began = time.strftime("%H:%M:%S")
                try:
                    work(session)
                    self.counts[name] += 1
                except Exception as error:
                    self.faults.append(f"{name}, begun at {began}, at {time.strftime('%H:%M:%S')}: {error!r}")

    def _order(self, session: requests.Session) -> str:
        with self.recording.open("rb") as file:
            answer = session.post(f"{self.address}/v1/transcribe", files={"file": file}, timeout=CALL_SECONDS)
        _require(answer, 201)
        job_id = str(answer.json()["job_id"])
        self.job_ids.append(job_id)
        return job_id

    def _upload(self, session: requests.Session) -> None:
        job_id = self._order(session)
        deadline = time.monotonic() + CALL_SECONDS
        while True:
            answer = session.get(f"{self.address}/v1/jobs/{job_id}", timeout=30)
            _require(answer, 200)
            status = answer.json()["status"]
            if status == "completed":
                break
            assert status != "failed", answer.text
            assert time.monotonic() < deadline, f"job {job_id} is still {status}"
            time.sleep(0.5)
        _require(session.get(f"{self.address}/v1/jobs/{job_id}/result", timeout=30), 200)

    def _call_and_wait(self, session: requests.Session) -> None:
        with self.recording.open("rb") as file:
            answer = session.post(
                f"{self.address}/v1/audio/transcriptions",
                files={"file": file},
                data={"model": "whisper-1"},
                timeout=CALL_SECONDS,
            )
        _require(answer, 200)
        assert "text" in answer.json()

    def _chat(self, session: requests.Session) -> None:
        self._stream_chat(session, "slow 20 0.1")

    def _chat_long(self, session: requests.Session) -> None:
        self._stream_chat(session, "slow 120 0.1")

    def _stream_chat(self, session: requests.Session, wish: str) -> None:
        body = {"model": "apex-latest", "stream": True, "messages": [{"role": "user", "content": wish}]}
        answer = session.post(f"{self.address}/v1/apex/chat/completions", json=body, timeout=CALL_SECONDS, stream=True)
        _require(answer, 200)
        events = [line.removeprefix(b"data: ") for line in answer.iter_lines() if line.startswith(b"data: ")]
        if events and events[-1] == b"[DONE]":
            return
        assert events, "a stream without an event"
        assert "error" in json.loads(events[-1]), f"the stream was cut after {len(events)} events"
        self.told_ends["chat"] += 1

    def _watch(self, session: requests.Session) -> None:
        job_id = self._order(session)
        answer = session.get(f"{self.address}/v1/jobs/{job_id}/events", timeout=CALL_SECONDS, stream=True)
        _require(answer, 200)
        names = [line.removeprefix(b"event: ") for line in answer.iter_lines() if line.startswith(b"event: ")]
        if names and names[-1] == b"error":
            self.told_ends["events"] += 1
            return
        assert names[-1:] == [b"end"], f"the stream of events was cut after {names[-3:]}"

    def _look(self, session: requests.Session) -> None:
        """Open a connection for each request, as many programs do."""
        for path in ("/v1/balance", "/v1/jobs?limit=20", "/", "/health"):
            headers = {name: str(value) for name, value in session.headers.items()}
            _require(requests.get(self.address + path, headers=headers, timeout=30), 200)


def _require(answer: requests.Response, status: int) -> None:
    assert answer.status_code == status, (
        f"{answer.request.method} {answer.url}: {answer.status_code} {answer.text[:300]}"
    )


def faults_of_jobs(site: Product, load: Load) -> list[str]:
    """Return what is wrong with the jobs of a load, which must all have ended well, with one charge each."""
    rows = site.rows("SELECT id, status FROM transcription_job")
    entries = "SELECT reference FROM billing_entry WHERE reference LIKE ?"
    charges = Counter(reference for (reference,) in site.rows(entries, "job:%"))
    ordered = {job_id.replace("-", "") for job_id in load.job_ids}
    faults = [f"job {job_id} was lost" for job_id in ordered - {job_id for job_id, _ in rows}]
    for job_id, status in rows:
        count = charges[f"job:{UUID(job_id)}"]
        if status != "completed" or count != 1:
            faults.append(f"job {job_id} is {status} and has {count} charges")
    return faults


def attempts(site: Product) -> dict[int, int]:
    """Return how many recordings took so many attempts."""
    return dict(site.rows("SELECT attempt, count(*) FROM transcription_jobitem GROUP BY attempt"))


def faults_of_ledger(site: Product) -> list[str]:
    """Return what `check_ledger` finds, after printing what it says."""
    command = [sys.executable, "manage.py", "check_ledger"]
    done = subprocess.run(
        command, cwd=PROJECT_DIR, env=site.environment, capture_output=True, text=True, check=False, timeout=600
    )
    print(done.stdout.strip())
    return [] if done.returncode == 0 else [f"check_ledger: {done.stdout} {done.stderr[-2000:]}"]
