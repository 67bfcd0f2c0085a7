"""Recordings by URL on the running product: a real server, a real queue, and processes that die in the middle."""

from collections.abc import Iterator
from typing import Any

import psutil
import pytest
import requests

from tests import product
from tests.conftest import AUDIO
from tests.transcription import remote
from tests.transcription.remote import Remote
from tests.whole.customer import Customer, charges, processes, rows, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

SENTENCE = (AUDIO / "sentence-slt.wav").read_bytes()
# The clock gives an import back after 20 s without a heartbeat, and looks every 5 s.
TAKEN_UP_SECONDS = 60
LARGE_BYTES = 400_000_000
# What a download of any size may take beside the process itself.
MAX_GROWTH_BYTES = 40_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Remote]:
    with remote.running(SENTENCE) as running:
        yield running


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, server: Remote) -> Iterator[product.Product]:
    """The product, which may call this one private address."""
    folder = tmp_path_factory.mktemp("product")
    with product.running(folder, VOXSITE_ALLOW_PRIVATE_ADDRESSES=server.socket) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_asked(server: Remote) -> None:
    server.asked.clear()
    server.goes_on.clear()


def order(customer: Customer, url: str) -> str:
    response = requests.post(
        f"{customer.address}/v1/transcribe", headers=customer.headers, json={"url": url}, timeout=30
    )
    assert response.status_code == 201, response.text
    return str(response.json()["job_id"])


def failure(customer: Customer, job_id: str) -> Any:
    job = wait_for(
        lambda: (found := customer.job(job_id))["status"] == "failed" and found, seconds=120, what="no end of the job"
    )
    return job["error"]["type"]


def horses(site: product.Product) -> list[psutil.Process]:
    """Return the processes that run the importer's task."""
    return [child for importer in processes(site, "importer") for child in importer.children()]


def test_url_becomes_a_transcript_that_is_charged_once(site: product.Product, server: Remote) -> None:
    customer = Customer(site, "urls@example.com")
    uploaded = customer.submit(AUDIO / "sentence-slt.wav")
    job_id = order(customer, server.url("/cut-once?bytes=30000"))
    customer.wait(job_id, uploaded, seconds=150)
    assert customer.text(job_id) == customer.text(uploaded)
    assert len(charges(site, job_id)) == 1
    assert server.ranges() == [None, "bytes=30000-"]
    answer = requests.post(
        f"{customer.address}/v1/listen", headers=customer.headers, json={"url": server.url("/talk.mp3")}, timeout=150
    )
    words = answer.json()["results"]["channels"][0]["alternatives"][0]["transcript"]
    assert words.split() == customer.text(uploaded).split()
    assert customer.balance()["held_micros"] == 0


def test_killed_importer_goes_on_where_it_was_and_charges_once(site: product.Product, server: Remote) -> None:
    customer = Customer(site, "killed@example.com")
    job_id = order(customer, server.url("/half"))
    spools = site.folder / "uploads"
    wait_for(
        lambda: any(path.stat().st_size > 10_000 for path in spools.glob("import-*")), seconds=30, what="no first half"
    )
    before = processes(site, "importer")
    assert before
    for importer in before:
        importer.kill()
    customer.wait(job_id, seconds=TAKEN_UP_SECONDS + 120)
    assert len(charges(site, job_id)) == 1
    assert customer.balance()["held_micros"] == 0
    first, second = server.ranges()
    assert first is None
    assert second is not None
    assert int(second.removeprefix("bytes=").removesuffix("-")) > 10_000
    assert not list(spools.glob("import-*"))


def test_canceled_job_ends_its_download(site: product.Product, server: Remote) -> None:
    customer = Customer(site, "canceled@example.com")
    job_id = order(customer, server.url("/half"))
    server.wait_for_requests(1)
    assert customer.cancel(job_id)["status"] == "canceled"
    wait_for(lambda: not rows(site, "SELECT 1 FROM transcription_import"), seconds=30, what="the download goes on")
    wait_for(lambda: not list((site.folder / "uploads").glob("import-*")), seconds=10, what="its file stays")
    assert charges(site, job_id) == []
    assert not server.goes_on.is_set()


@pytest.mark.parametrize(
    ("path", "error_type"),
    [
        ("/status?code=404", "url_not_found"),
        ("/status?code=403", "url_refused"),
        ("/huge", "url_too_large"),
        ("/redirect?to=http://127.0.0.1:6379/", "url_not_allowed"),
        ("/zeros?bytes=100000", "not_audio"),
    ],
)
def test_what_cannot_be_had_costs_nothing(site: product.Product, server: Remote, path: str, error_type: str) -> None:
    customer = Customer(site, f"{error_type}@example.com")
    job_id = order(customer, server.url(path))
    assert failure(customer, job_id) == error_type
    assert charges(site, job_id) == []
    assert customer.balance()["held_micros"] == 0


def test_slow_servers_hold_up_nobody_else(site: product.Product, server: Remote) -> None:
    slow, quick = Customer(site, "slow@example.com"), Customer(site, "quick@example.com")
    stuck = [order(slow, server.url("/silent")) for _ in range(10)]
    job_id = order(quick, server.url("/talk.mp3"))
    quick.wait(job_id, seconds=60)
    for one in stuck:
        assert slow.job(one)["status"] == "queued"
        slow.cancel(one)


def test_memory_does_not_grow_with_the_file(site: product.Product, server: Remote) -> None:
    customer = Customer(site, "large@example.com")
    holding = order(customer, server.url("/half"))
    server.wait_for_requests(1)
    (horse,) = wait_for(lambda: horses(site), seconds=30, what="no importer at work")
    base_bytes = most_bytes = horse.memory_full_info().uss
    job_id = order(customer, server.url(f"/zeros?bytes={LARGE_BYTES}"))
    while customer.job(job_id)["status"] == "queued" and horse.is_running():
        most_bytes = max(most_bytes, horse.memory_full_info().uss)
    assert failure(customer, job_id) == "not_audio"
    print(f"importer: {base_bytes / 1e6:.0f} MB before, {most_bytes / 1e6:.0f} MB at most")
    assert most_bytes - base_bytes < MAX_GROWTH_BYTES
    customer.cancel(holding)
