"""Programs whose connection breaks while they wait, and that send everything again without saying so, unmodified.

The job that they left completes in the half minute for which it runs on. It must be paid once.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tests.clients import Node
from tests.conftest import AUDIO, text_of
from tests.product import Product
from tests.whole.customer import Customer, charges, faults_of_ledger, processes, wait_for
from tests.whole.cutting_proxy import breaking

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

FILE = AUDIO / "sentence-slt.wav"
SAID = text_of(FILE.name).lower()
AI_SDK = ("ai@7.0.173", "@ai-sdk/openai@4.0.118")
PROGRAM = """
import fs from 'node:fs';
import { transcribe } from 'ai';
import { createOpenAI } from '@ai-sdk/openai';
const [base, key, recording] = process.argv.slice(2);
const model = createOpenAI({ baseURL: `${base}/v1`, apiKey: key }).transcription('whisper-1');
console.log((await transcribe({ model, audio: fs.readFileSync(recording) })).text);
"""


@pytest.fixture
def idle_workers(killed_site: Product) -> Iterator[list[psutil.Process]]:
    """The workers, which do nothing until they are resumed."""
    workers = processes(killed_site, "worker")
    for worker in workers:
        worker.suspend()
    yield workers
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.resume()


def said_over_a_broken_connection(
    customer: Customer, workers: list[psutil.Process], send: Callable[[str], str]
) -> tuple[str, list[str]]:
    """Return what a program got, and the ids of the jobs. Its connection breaks once while its job waits."""
    got: list[str] = []

    def job_ids() -> list[str]:
        listed = requests.get(f"{customer.address}/v1/jobs", headers=customer.headers, timeout=30).json()["jobs"]
        return [job["id"] for job in listed]

    with breaking(customer.address) as (address, cut):
        caller = threading.Thread(target=lambda: got.append(send(address)))
        caller.start()
        wait_for(job_ids, seconds=120, what="no job came")
        cut()
        for worker in workers:
            worker.resume()
        caller.join(120)
    assert got, "the program did not end well"
    return got[0], job_ids()


def assert_paid_once(customer: Customer, found: tuple[str, list[str]], *, before: int) -> None:
    said, job_ids = found
    assert said.lower() == SAID
    assert len(job_ids) == 1
    (cost,) = charges(customer.site, job_ids[0])
    assert customer.balance()["balance_micros"] == before - cost
    assert customer.balance()["held_micros"] == 0
    assert faults_of_ledger(customer.site) == []


def test_ai_sdk(killed_site: Product, idle_workers: list[psutil.Process], node: Node, tmp_path: Path) -> None:
    node.install(tmp_path, *AI_SDK)
    customer = Customer(killed_site, "ai-sdk@example.com")
    key, before = customer.headers["X-API-Key"], customer.balance()["balance_micros"]
    found = said_over_a_broken_connection(
        customer, idle_workers, lambda address: node.run(tmp_path, PROGRAM, address, key, FILE).strip()
    )
    assert_paid_once(customer, found, before=before)


@pytest.mark.parametrize("path", ["/v1/listen?model=nova-3", "/v1/stt?model_id=vn-stt-basic&sample_rate=16000"])
def test_requests_with_retries(killed_site: Product, idle_workers: list[psutil.Process], path: str) -> None:
    """What a program of `requests` does that was told to try again."""
    customer = Customer(killed_site, f"{path[4:7]}@example.com")
    headers, before = {**customer.headers, "Content-Type": "audio/wav"}, customer.balance()["balance_micros"]

    def send(address: str) -> str:
        with requests.Session() as session:
            session.mount("http://", HTTPAdapter(max_retries=Retry(3, allowed_methods=None, backoff_factor=1)))
            answer = session.post(address + path, data=FILE.read_bytes(), headers=headers, timeout=120).json()
        if "results" in answer:
            return str(answer["results"]["channels"][0]["alternatives"][0]["transcript"])
        return str(answer["transcript"])

    assert_paid_once(customer, said_over_a_broken_connection(customer, idle_workers, send), before=before)
