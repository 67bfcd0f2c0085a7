"""A program that uses the running product, and what the tests of this folder look up beside it."""

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.product import Product
from transcription.speech.engines import remote


class Customer:
    """A program with money. key: that of an organization that is there already."""

    def __init__(self, site: Product, owner: str, *, dollars: str = "20", key: str = "") -> None:
        self.site = site
        self.address = site.address
        self.headers = {"X-API-Key": key or site.new_key(owner=owner, dollars=dollars)}

    def submit(self, path: Path, *, timeout: float = 30) -> str:
        with path.open("rb") as file:
            response = requests.post(
                f"{self.address}/v1/transcribe", headers=self.headers, files={"file": file}, timeout=timeout
            )
        assert response.status_code == 201, response.text
        return str(response.json()["job_id"])

    def job(self, job_id: str) -> dict[str, Any]:
        response = requests.get(f"{self.address}/v1/jobs/{job_id}", headers=self.headers, timeout=30)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def cancel(self, job_id: str) -> dict[str, Any]:
        response = requests.post(f"{self.address}/v1/jobs/{job_id}/cancel", headers=self.headers, timeout=30)
        assert response.status_code == 200, response.text
        return dict(response.json())

    def text(self, job_id: str) -> str:
        address = f"{self.address}/v1/jobs/{job_id}/result"
        return str(requests.get(address, headers=self.headers, timeout=30).json()["text"])

    def balance(self) -> dict[str, int]:
        return dict(requests.get(f"{self.address}/v1/balance", headers=self.headers, timeout=30).json())

    def wait(self, *job_ids: str, seconds: float) -> None:
        """Wait until all jobs have ended well: one after another, so as to stay below 1,000 requests a minute."""
        deadline = time.monotonic() + seconds
        for job_id in job_ids:
            while (job := self.job(job_id))["status"] != "completed":
                assert job["status"] != "failed", job
                assert time.monotonic() < deadline, job
                time.sleep(0.25)


def wait_for(question: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Ask until the answer is true and return it; `what` is the sentence to fail with."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return answer


def rows(site: Product, query: str, *values: object) -> list[tuple[Any, ...]]:
    """Read the product's database."""
    with sqlite3.connect(f"file:{site.folder}/voxsite.sqlite3?mode=ro", uri=True) as database:
        return list(database.execute(query, values))


def charges(site: Product, job_id: str) -> list[int]:
    """Return what the ledger's entries of a job took, in micro-dollars."""
    query = "SELECT -amount_micros FROM billing_entry WHERE reference = ?"
    return [int(amount) for (amount,) in rows(site, query, f"job:{job_id}")]


def attempts(site: Product, job_id: str) -> int:
    """Return how often a job of one item was claimed."""
    query = "SELECT attempt FROM transcription_jobitem WHERE job_id = ?"
    ((attempt,),) = rows(site, query, job_id.replace("-", ""))
    return int(attempt)


def statuses(site: Product, job_ids: list[str]) -> list[str]:
    """Return the statuses of jobs at one moment, in their order."""
    found = dict(rows(site, "SELECT id, status FROM transcription_job"))
    return [found[job_id.replace("-", "")] for job_id in job_ids]


def stored_results(site: Product, job_id: str) -> int:
    """Return how many results of a job lie in storage."""
    return len(list((site.folder / "media" / "results").glob(f"*/{job_id}/*")))


def faults_of_ledger(site: Product) -> list[str]:
    """Return what the ledger's own audit says of all wallets."""
    code = "import json; from billing import ledger; from billing.models import Wallet; "
    code += "print(json.dumps([fault for wallet in Wallet.objects.all() for fault in ledger.verify(wallet)]))"
    return list(json.loads(site.manage("shell", "--no-imports", "-c", code).splitlines()[-1]))


def processes(site: Product, name: str) -> list[psutil.Process]:
    """Return the product's processes of this name, not the children that they fork."""
    below = psutil.Process(site.process.pid).children(recursive=True)
    found = []
    for process in below:
        try:
            if f"voxsite.serve.child {name}" in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue  # it has just ended
    return [process for process in found if process.ppid() not in {one.pid for one in found}]


# The module that a worker's other child runs.
ZYGOTE = "transcription.speech.zygote"


def child_at_work(worker: psutil.Process) -> psutil.Process | None:
    """Return the child that RQ forked for the task at hand, None for an idle worker."""
    return next((child for child in worker.children() if ZYGOTE not in child.cmdline()), None)


def engine_health(site: Product) -> dict[str, Any]:
    """Return what the engine process says of itself."""
    state = remote.health(f"ipc://{site.folder}/engine.sock", 10)
    assert state is not None, "the engine process does not answer"
    return state


class Watcher(threading.Thread):
    """Watches a job's events as a program would, from now to the end of the stream."""

    def __init__(self, customer: Customer, job_id: str) -> None:
        super().__init__(name=f"watcher of {job_id}", daemon=True)
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self._address, self._headers = f"{customer.address}/v1/jobs/{job_id}/events", customer.headers
        self.start()

    def run(self) -> None:
        with requests.get(self._address, headers=self._headers, stream=True, timeout=60) as response:
            name = ""
            for line in response.iter_lines(decode_unicode=True):
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    self.heard.append((name, json.loads(line.removeprefix("data: "))))

    def of(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name that came so far."""
        return [data for heard, data in self.heard if heard == name]

    def names(self) -> list[str]:
        """Wait for the stream's end and return the names of all events."""
        self.join(timeout=30)
        assert not self.is_alive(), "the stream did not end"
        return [name for name, _ in self.heard]
