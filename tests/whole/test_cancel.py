"""A job is canceled at each stage of its life, on the running product: it ends at once, and so does the work on it.

What a watcher was given of its text is charged, to the micro-dollar, and nothing else.
"""

import time
from pathlib import Path

import psutil
import pytest

from tests.product import Product
from tests.whole import recordings
from tests.whole.conftest import WHISPER_WORKERS
from tests.whole.customer import (
    Customer,
    Watcher,
    charges,
    child_at_work,
    faults_of_ledger,
    processes,
    statuses,
    stored_results,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

# What is still at work after this long was not stopped. How long it really takes is printed: `script/test -s`.
STOP_SECONDS = 20
# What the model of these jobs costs.
MICROS_PER_HOUR = 300_000
TRIES = 5


@pytest.fixture(scope="module")
def customer(whisper_site: Product) -> Customer:
    return Customer(whisper_site, "undecided@example.com")


def children(site: Product) -> list[psutil.Process]:
    """Return the children that workers forked for their tasks."""
    return [child for worker in processes(site, "worker") if (child := child_at_work(worker)) is not None]


def price_of(watcher: Watcher) -> list[int]:
    """Return the charges for what a watcher was given: none, or the price up to the end of the last segment."""
    end_ms = max((round(segment["end"] * 1000) for segment in watcher.of("segment")), default=0)
    return [-(-end_ms // 1000) * MICROS_PER_HOUR // 3600] if end_ms else []


def cancel(
    customer: Customer,
    job_id: str,
    *,
    stage: str,
    watcher: Watcher | None = None,
    child: psutil.Process | None = None,
) -> None:
    """Cancel the job in this stage and check that it and the work on it are gone, and what it cost."""
    started = time.monotonic()
    answer = customer.cancel(job_id)
    answered = time.monotonic()
    assert answer["status"] == "canceled"
    if child is not None:
        child.resume()
        wait_for(lambda: not child.is_running(), seconds=STOP_SECONDS, what=f"the work went on: {stage}")
    print(f"{stage}: answered in {answered - started:.3f} s, work ended after {time.monotonic() - started:.1f} s")
    assert customer.job(job_id)["status"] == "canceled"
    if watcher is not None:
        assert watcher.names()[-1] == "end"
        assert watcher.of("end") == [answer]
    due = price_of(watcher) if watcher is not None else []
    charged = charges(customer.site, job_id)
    assert len(charged) == len(due)
    # Prices are rounded half up to a micro-dollar.
    assert all(abs(paid - price) <= 1 for paid, price in zip(charged, due, strict=True))
    assert answer["cost_dollars"] == f"{sum(charged) / 1_000_000:.6f}"
    assert stored_results(customer.site, job_id) == 0


@pytest.fixture
def all_is_well(whisper_site: Product, customer: Customer) -> None:
    yield
    assert customer.balance()["held_micros"] == 0
    assert faults_of_ledger(whisper_site) == []


@pytest.mark.usefixtures("all_is_well")
def test_queued(whisper_site: Product, customer: Customer, tmp_path: Path) -> None:
    paths = recordings.speech(tmp_path, seconds=120, count=WHISPER_WORKERS)
    job_ids = [customer.submit(path) for path in [*paths, *paths[:4]]]
    waiting = job_ids[-1]
    assert statuses(whisper_site, [waiting]) == ["queued"]
    cancel(customer, waiting, stage="queued")
    customer.wait(*job_ids[:-1], seconds=360)
    assert statuses(whisper_site, [waiting]) == ["canceled"]
    assert charges(whisper_site, waiting) == []


@pytest.mark.usefixtures("all_is_well")
def test_decoding(whisper_site: Product, customer: Customer, tmp_path: Path) -> None:
    """Silence is decoded and never recognised."""
    job_id = customer.submit(recordings.silence(tmp_path, seconds=1800))
    watcher = Watcher(customer, job_id)
    wait_for(lambda: watcher.of("progress"), seconds=150, what="nothing was decoded")
    (child,) = children(whisper_site)
    assert statuses(whisper_site, [job_id]) == ["processing"]
    cancel(customer, job_id, stage="decoding", watcher=watcher, child=child)
    assert not watcher.of("segment")
    assert max(event["progress"] for event in watcher.of("progress")) < 99


@pytest.mark.usefixtures("all_is_well")
def test_recognising_while_nobody_watches(whisper_site: Product, customer: Customer, tmp_path: Path) -> None:
    (path,) = recordings.speech(tmp_path, seconds=900, count=1)
    job_id = customer.submit(path)
    wait_for(lambda: customer.job(job_id)["progress"] > 5, seconds=150, what="nothing was heard")
    (child,) = children(whisper_site)
    cancel(customer, job_id, stage="recognising, unwatched", child=child)


@pytest.mark.usefixtures("all_is_well")
def test_recognising(whisper_site: Product, customer: Customer, tmp_path: Path) -> None:
    (path,) = recordings.speech(tmp_path, seconds=900, count=1)
    job_id = customer.submit(path)
    watcher = Watcher(customer, job_id)
    wait_for(lambda: watcher.of("segment"), seconds=150, what="nothing was heard")
    (child,) = children(whisper_site)
    assert statuses(whisper_site, [job_id]) == ["processing"]
    cancel(customer, job_id, stage="recognising", watcher=watcher, child=child)
    assert charges(whisper_site, job_id)
    assert max(event["progress"] for event in watcher.of("progress")) < 99


@pytest.mark.usefixtures("all_is_well")
def test_diarizing(whisper_site: Product, customer: Customer, tmp_path: Path) -> None:
    """All is recognised and nothing stored: speakers are told apart. That is short, so the work is held meanwhile."""
    (path,) = recordings.speech(tmp_path, seconds=600, count=1)
    for _ in range(TRIES):
        job_id = customer.submit(path)
        watcher = held_when_recognised(customer, job_id)
        if statuses(whisper_site, [job_id]) == ["processing"]:
            break
    assert stored_results(whisper_site, job_id) == 0
    (child,) = children(whisper_site)
    cancel(customer, job_id, stage="diarizing", watcher=watcher, child=child)
    # All of the text was given away, so nearly all of the recording is paid.
    assert charges(whisper_site, job_id)[0] > 0.9 * 600 * MICROS_PER_HOUR / 3600


def held_when_recognised(customer: Customer, job_id: str) -> Watcher:
    """Wait until all of a job is recognised and stop the process that works on it."""
    watcher = Watcher(customer, job_id)
    wait_for(lambda: {"progress": 99} in watcher.of("progress"), seconds=240, what="it was not recognised")
    for child in children(customer.site):
        child.suspend()
    return watcher
