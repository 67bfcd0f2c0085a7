"""Eight jobs at once while processes are killed or frozen: the same texts as undisturbed, each charged once.

With the tiny Whisper, in the processes that script/server starts; a worker for each of the jobs.
"""

import threading
import time
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from tests.product import Product
from tests.whole import recordings
from tests.whole.conftest import WHISPER_WORKERS
from tests.whole.customer import (
    Customer,
    Watcher,
    attempts,
    charges,
    child_at_work,
    engine_health,
    faults_of_ledger,
    processes,
    statuses,
    stored_results,
    wait_for,
)
from transcription.speech.engines import protocol
from transcription.speech.engines.client import EngineClient
from transcription.speech.options import TranscriptionOptions

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(800)]

JOBS = WHISPER_WORKERS
RECORDING_SECONDS = 180
# At $0.30 an hour.
PRICE_MICROS = 15_000
# Eight recordings on a busy machine, and what the disturbance may cost.
PATIENCE_SECONDS = 360
FROZEN_SECONDS = 60


@pytest.fixture(scope="module")
def customer(whisper_site: Product) -> Customer:
    return Customer(whisper_site, "disturbed@example.com")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return recordings.speech(tmp_path_factory.mktemp("speech"), seconds=RECORDING_SECONDS, count=JOBS)


@pytest.fixture(scope="module")
def undisturbed(customer: Customer, paths: list[Path]) -> list[str]:
    """The texts of the recordings when nothing happens; they differ, so that none can be taken for another."""
    job_ids = [customer.submit(path) for path in paths]
    customer.wait(*job_ids, seconds=PATIENCE_SECONDS)
    texts = [customer.text(job_id) for job_id in job_ids]
    assert len(set(texts)) == JOBS
    assert min(len(text.split()) for text in texts) > 100
    return texts


@pytest.fixture
def job_ids(whisper_site: Product, customer: Customer, paths: list[Path], undisturbed: list[str]) -> list[str]:
    """Eight jobs, all of them at work at once."""
    submitted = [customer.submit(path) for path in paths]
    wait_for(
        lambda: statuses(whisper_site, submitted) == ["processing"] * JOBS,
        seconds=150,
        what="eight jobs were not at work at once",
    )
    return submitted


@pytest.fixture
def check(whisper_site: Product, customer: Customer, undisturbed: list[str]) -> Callable[[list[str]], None]:
    def ended_as_undisturbed(job_ids: list[str]) -> None:
        customer.wait(*job_ids, seconds=PATIENCE_SECONDS)
        assert [customer.text(job_id) for job_id in job_ids] == undisturbed
        assert [charges(whisper_site, job_id) for job_id in job_ids] == [[PRICE_MICROS]] * JOBS
        assert [stored_results(whisper_site, job_id) for job_id in job_ids] == [1] * JOBS
        assert customer.balance()["held_micros"] == 0
        assert faults_of_ledger(whisper_site) == []

    return ended_as_undisturbed


def at_work(site: Product) -> list[tuple[psutil.Process, psutil.Process]]:
    """Return the workers that are busy, each with the child that RQ forked for its task."""
    pairs = [(worker, child_at_work(worker)) for worker in processes(site, "worker")]
    return [(worker, child) for worker, child in pairs if child is not None]


class Rush(threading.Thread):
    """A more urgent caller of the engine. While it asks, the clips of jobs wait in the engine's queue."""

    # Several batches (VOXSITE_ENGINE_BATCH is 8 on a CPU), so that the queue is never empty.
    CLIPS = 64
    CLIP_SECONDS = 10

    def __init__(self, site: Product, path: Path) -> None:
        super().__init__(name="rush", daemon=True)
        self._site = site
        with wave.open(str(path)) as file:
            stored = np.frombuffer(file.readframes(self.CLIP_SECONDS * file.getframerate()), dtype="<i2")
        self._frame = protocol.pack_clip(stored.astype(np.float32) / 2**15)
        self._client = EngineClient([f"ipc://{site.folder}/engine.sock"], timeout_seconds=PATIENCE_SECONDS)
        self._is_over = threading.Event()
        self.has_all_answers = False

    def run(self) -> None:
        options = TranscriptionOptions(language="en").to_dict()
        message = {"kind": "recognise", "job": "rush", "priority": "interactive", "model": "standard"}
        while not self._is_over.is_set():
            while len(self._client) < self.CLIPS:
                self._client.submit({**message, "options": options}, [self._frame])
            self._client.receive(wait_seconds=0.1)
        while len(self._client):
            self._client.receive(wait_seconds=0.1)
        self._client.close()
        self.has_all_answers = True

    def others_wait(self) -> dict[str, Any] | None:
        """Return what the engine says of itself if it has more clips than this caller can have asked for."""
        health = engine_health(self._site)
        return health if health["waiting"] > self.CLIPS else None

    def end(self) -> None:
        """Ask for no more. The thread ends when all that was asked is answered."""
        self._is_over.set()


def test_killed_engine_loses_no_word_and_no_watcher(whisper_site, customer, undisturbed, paths, check):
    """It is killed while clips wait in it: of the jobs, and of the caller who keeps them waiting."""
    rush = Rush(whisper_site, paths[0])
    rush.start()
    job_ids = [customer.submit(path) for path in paths]
    watcher = Watcher(customer, job_ids[0])
    before = wait_for(rush.others_wait, seconds=150, what="no clip of the jobs waited")
    (engine,) = processes(whisper_site, "engine")
    engine.kill()
    rush.end()
    check(job_ids)
    rush.join(PATIENCE_SECONDS)
    assert rush.has_all_answers
    assert engine_health(whisper_site)["instance"] != before["instance"]
    assert [attempts(whisper_site, job_id) for job_id in job_ids] == [1] * JOBS
    names = watcher.names()
    assert (names[0], names[-1], names.count("started"), names.count("end")) == ("started", "end", 1, 1)
    assert watcher.of("end")[0]["status"] == "completed"
    assert " ".join(segment["text"] for segment in watcher.of("segment")) == customer.text(job_ids[0])


def test_killed_worker_and_killed_child_lose_no_job(whisper_site, customer, job_ids, check):
    """RQ's worker process with the child it forked, and elsewhere such a child alone."""
    (worker, orphan), (bereaved, child), *_ = at_work(whisper_site)
    worker.kill()
    child.kill()
    check(job_ids)
    assert sorted(attempts(whisper_site, job_id) for job_id in job_ids) == [1] * (JOBS - 2) + [2] * 2
    assert not orphan.is_running()
    assert bereaved.is_running()
    assert len(processes(whisper_site, "worker")) == JOBS


def test_killed_redis_loses_no_job_and_no_watcher(whisper_site, customer, job_ids, check):
    """What was published meanwhile is lost; the end is not."""
    watcher = Watcher(customer, job_ids[0])
    wait_for(lambda: watcher.of("segment"), seconds=150, what="nothing was heard")
    redis = find("redis-server", whisper_site)
    redis.kill()
    check(job_ids)
    assert watcher.names().count("end") == 1
    assert watcher.of("end")[0]["status"] == "completed"


def test_frozen_worker_wakes_as_a_ghost_that_changes_nothing(whisper_site, customer, job_ids, check):
    worker, child = at_work(whisper_site)[0]
    with frozen(worker, child):
        check(job_ids)
        assert sorted(attempts(whisper_site, job_id) for job_id in job_ids) == [1] * (JOBS - 1) + [2]
        assert [process.status() for process in (worker, child)] == [psutil.STATUS_STOPPED] * 2
    wait_for(lambda: not child.is_running(), seconds=30, what="the ghost goes on")
    check(job_ids)
    assert worker.is_running()


def test_frozen_engine_is_waited_for(whisper_site, customer, job_ids, check):
    (engine,) = processes(whisper_site, "engine")
    with frozen(engine):
        pass
    unfinished = statuses(whisper_site, job_ids).count("processing")
    check(job_ids)
    assert unfinished
    assert engine.is_running()
    assert [attempts(whisper_site, job_id) for job_id in job_ids] == [1] * JOBS


def find(program: str, site: Product) -> psutil.Process:
    """Return the product's process that runs another program than Python."""
    below = psutil.Process(site.process.pid).children(recursive=True)
    return next(process for process in below if program in process.name())


@contextmanager
def frozen(*frozen: psutil.Process) -> Iterator[None]:
    """Stop processes for a minute at least, and for as long as the block runs."""
    until = time.monotonic() + FROZEN_SECONDS
    for process in frozen:
        process.suspend()
    try:
        yield
        time.sleep(max(0.0, until - time.monotonic()))
    finally:
        for process in frozen:
            process.resume()
