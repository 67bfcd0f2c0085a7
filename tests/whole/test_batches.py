"""A batch whose workers, engine and clock are killed in the middle: every item ends once, and all are charged once."""

import io
import time
import wave
from collections.abc import Callable

import pytest
import requests

from tests.conftest import AUDIO
from tests.product import Product
from tests.whole.customer import Customer, charges, faults_of_ledger, processes, rows, stored_results

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(1500)]

COUNT = 120
SECONDS = 2
# 300,000 micro-dollars an hour, rounded half up.
ITEM_MICROS = 167


@pytest.fixture(scope="session")
def site(killed_site: Product) -> Product:
    return killed_site


def two_seconds() -> bytes:
    """Return the beginning of a sentence."""
    made = io.BytesIO()
    with wave.open(str(AUDIO / "sentence-slt.wav"), "rb") as source, wave.open(made, "wb") as file:
        file.setparams(source.getparams())
        file.writeframes(source.readframes(SECONDS * source.getframerate()))
    return made.getvalue()


def wait_until(job_is: Callable[[dict], bool], customer: Customer, job_id: str, *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not job_is(job := customer.job(job_id)):
        assert time.monotonic() < deadline, job
        time.sleep(0.25)


def test_killed_workers_engine_and_clock_lose_no_item_and_charge_none_twice(site):
    customer = Customer(site, "batch@example.com")
    before = customer.balance()["balance_micros"]
    sent = requests.post(
        f"{site.address}/v1/upload", headers=customer.headers, files={"file": ("a.wav", two_seconds())}, timeout=60
    )
    files = [{"file_id": sent.json()["file_id"], "reference": f"call {number}"} for number in range(COUNT)]
    answer = requests.post(
        f"{site.address}/v1/transcribe", headers=customer.headers, json={"files": files, "diarize": False}, timeout=60
    )
    assert answer.status_code == 201, answer.text
    job_id = answer.json()["job_id"]
    assert customer.balance()["held_micros"] == COUNT * ITEM_MICROS
    for ended, program in ((10, "worker"), (30, "engine"), (50, "clock"), (70, "worker")):
        wait_until(lambda job, ended=ended: job["items_left"] <= COUNT - ended, customer, job_id, seconds=500)
        killed = processes(site, program)
        assert killed
        for process in killed:
            process.kill()
    wait_until(lambda job: job["items_left"] == 0, customer, job_id, seconds=600)
    job = customer.job(job_id)
    assert (job["status"], job["items_failed"], job["item_count"]) == ("completed", 0, COUNT)
    assert charges(site, job_id) == [COUNT * ITEM_MICROS]
    assert before - customer.balance()["balance_micros"] == COUNT * ITEM_MICROS
    assert customer.balance()["held_micros"] == 0
    items = rows(
        site, "SELECT status, cost_micros FROM transcription_jobitem WHERE job_id = ?", job_id.replace("-", "")
    )
    assert items == [("completed", ITEM_MICROS)] * COUNT
    assert stored_results(site, job_id) == COUNT
    assert faults_of_ledger(site) == []
    document = requests.get(f"{site.address}/v1/jobs/{job_id}/result", headers=customer.headers, timeout=60).json()
    assert [item["reference"] for item in document["items"]] == [f"call {number}" for number in range(COUNT)]
    assert len({item["result"]["text"] for item in document["items"]}) == 1
