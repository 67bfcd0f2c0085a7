"""Engines of several hosts, over TCP with keys. One is lost while jobs run: every job ends once, and is charged once.

Engines are simulated; web, workers, queues, keys, leases, PostgreSQL and Redis are real (`tests.simulated_fleet`).
"""

import signal
import time

import pytest

from tests import product, simulated_fleet
from tests.whole import recordings
from tests.whole.customer import Customer, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

JOBS = 9
LOST_SECONDS = 30
# A minute is promised, which `script/benchmark fleet` measures. Here other programs may have the processors.
RECOVERY_SECONDS = 240
SWITCHES = {
    "VOXSITE_WORKERS": "1",
    "VOXSITE_WEB_PROCESSES": "2",
    "VOXSITE_DIARIZER": "none",
    "VOXSITE_ENGINE": "faster_whisper",
    "VOXSITE_RATE_REQUESTS": "100000/minute",
    "VOXSITE_RATE_UPLOADS": "100000/minute",
}


@pytest.fixture(scope="module")
def keys():
    return simulated_fleet.Keys()


@pytest.fixture(scope="module")
def site(tmp_path_factory, keys):
    """A site without engines of its own."""
    with product.given_services() as services:
        if not services:
            pytest.skip("Hosts share PostgreSQL and Redis.")
        folder = tmp_path_factory.mktemp("site")
        with product.running(
            folder, ready_path="/health/serving", **services, **SWITCHES, **keys.of_clients
        ) as running:
            yield running


@pytest.fixture(scope="module")
def customer(site):
    return Customer(site, "fleet@example.com", dollars="900")


def engine_is_killed(host):
    host.signal_engines(signal.SIGKILL)


def engine_hangs(host):
    host.signal_engines(signal.SIGSTOP)
    time.sleep(LOST_SECONDS)
    host.signal_engines(signal.SIGCONT)


def host_is_killed(host):
    host.kill()


def host_is_cut_off(host):
    host.cut_off()
    time.sleep(LOST_SECONDS)
    host.reach_again()


@pytest.mark.parametrize("lose", [engine_is_killed, engine_hangs, host_is_killed, host_is_cut_off])
def test_every_job_of_a_fleet_that_loses_an_engine_or_a_host_ends_once_and_is_charged_once(
    lose, site, customer, keys, tmp_path
):
    (recording,) = recordings.speech(tmp_path, seconds=120, count=1)
    with simulated_fleet.hosts(tmp_path / "hosts", site, keys, engines=[1, 1, 1], workers=2, batch_seconds=2) as hosts:
        job_ids = [customer.submit(recording) for _ in range(JOBS)]
        wait_for(lambda: _statuses(site, job_ids).count("processing") >= 4, seconds=60, what="work of all hosts")
        ends_at = time.monotonic() + RECOVERY_SECONDS
        lose(hosts[0])
        wait_for(
            lambda: set(_statuses(site, job_ids)) == {"completed"}, seconds=ends_at - time.monotonic(), what="all jobs"
        )
    price = _charges(site, job_ids[0])
    assert len(price) == 1
    assert [_charges(site, job_id) for job_id in job_ids] == [price] * JOBS
    assert "no faults" in site.manage("check_ledger")


def _statuses(site, job_ids):
    query = "SELECT status FROM transcription_job WHERE id = ANY(?::uuid[])"
    return [status for (status,) in site.rows(query, job_ids)]


def _charges(site, job_id):
    """Return what the ledger's entries of a job took, in micro-dollars."""
    return site.rows("SELECT -amount_micros FROM billing_entry WHERE reference = ?", f"job:{job_id}")
