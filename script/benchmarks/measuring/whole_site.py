"""The whole product as a benchmark uses it: a customer, and the memory and processor time of its processes."""

import json
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests

from tests import product

MEBIBYTE = 1024**2


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


def cpu_seconds(site: product.Product) -> float:
    """Return the processor time of the product so far: of all its processes, with those that have ended."""
    return processor_seconds(site.process.pid)


def processor_seconds(pid: int) -> float:
    """Return the processor time of a process and of all below it so far, with those that have ended."""
    total = 0.0
    root = psutil.Process(pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])  # user and system, its own and of children that have ended
    return total


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


def engine_health(site: product.Product) -> Any:
    code = "import json; from django.conf import settings; from transcription.speech.engines import remote; "
    code += "print(json.dumps(remote.health(settings.ENGINE_SOCKET, timeout_seconds=10)))"
    return json.loads(site.manage("shell", "--no-imports", "-c", code).splitlines()[-1])


def contexts(site: product.Product) -> dict[str, int]:
    """Return how many clips the engine has encoded with how many frames, and how many it has repeated in full."""
    default = engine_health(site)["models"]["standard"]
    return {**default.get("contexts", {}), "repeated": default.get("repeated", 0)}
