"""Uploads that are much work to measure, sent to the running product beside small ones."""

import threading
import time
from pathlib import Path

import pytest

from tests.fixtures import many_packets, recordings
from tests.product import Product
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

SMALL = recordings.named("sentence-slt.wav").path
SLOW_COUNT = 4


@pytest.fixture(scope="session")
def site(killed_site: Product) -> Product:
    return killed_site


def spooled_files(site: Product) -> int:
    return len(list((site.folder / "uploads").iterdir()))


class SlowUploads:
    """Uploads of one customer at the same time, each of which takes several CPU seconds to measure."""

    def __init__(self, customer: Customer, path: Path) -> None:
        self.answers: list[str] = []
        self._customer, self._path = customer, path
        self._threads = [threading.Thread(target=self._submit) for _ in range(SLOW_COUNT)]

    def _submit(self) -> None:
        self.answers.append(self._customer.submit(self._path, timeout=300))

    def begin(self) -> None:
        """Return when the bodies of all of them are there."""
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + 60
        while spooled_files(self._customer.site) < SLOW_COUNT:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def wait(self) -> None:
        for thread in self._threads:
            thread.join()


def test_small_uploads_do_not_wait_for_slow_ones(site, tmp_path):
    """Attack, and also a customer with many hours: four slow files of one organization. Before, they came first."""
    path = many_packets.webm(tmp_path / "slow.webm", seconds=600)
    busy, other = Customer(site, "busy@example.com"), Customer(site, "other@example.com")
    slow = SlowUploads(busy, path)
    slow.begin()
    for customer in (other, busy, other, busy):
        customer.submit(SMALL)
    assert len(slow.answers) < SLOW_COUNT
    slow.wait()
    assert len(slow.answers) == SLOW_COUNT
    for job_id in slow.answers:
        assert busy.job(job_id)["duration_seconds"] == pytest.approx(600, abs=1)
        busy.cancel(job_id)
    assert spooled_files(site) == 0
