"""A call that waits loses its web process, on the running product: its job is canceled and costs nothing."""

import signal
import threading
from contextlib import suppress
from uuid import UUID

import psutil
import pytest
import requests

from tests import product
from tests.conftest import AUDIO
from tests.whole.customer import Customer, charges, faults_of_ledger, processes, rows, statuses, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

# A silent process counts as dead after a minute; then the clock looks twice.
CANCELED_SECONDS = 120


@pytest.fixture(scope="module")
def hasty_site(tmp_path_factory):
    """The product whose jobs are canceled soon after their clients left, with workers that do nothing."""
    folder = tmp_path_factory.mktemp("product")
    with product.running(folder, VOXSITE_DISCONNECT_GRACE_SECONDS="1") as site:
        workers = processes(site, "worker")
        for worker in workers:
            worker.suspend()
        yield site
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.resume()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_job_of_a_web_process_that_ends_is_canceled(hasty_site, how):
    customer = Customer(hasty_site, f"{how.name.lower()}@example.com")

    def call():
        with suppress(requests.RequestException), (AUDIO / "dialogue.flac").open("rb") as file:
            requests.post(
                f"{hasty_site.address}/v1/audio/transcriptions",
                files={"file": file},
                data={"model": "whisper-1"},
                headers=customer.headers,
                timeout=CANCELED_SECONDS,
            )

    def is_up():
        with suppress(requests.ConnectionError):
            return requests.get(f"{hasty_site.address}/health", timeout=30).ok
        return False

    wait_for(is_up, seconds=60, what="web did not start")
    known = {job_id for (job_id,) in rows(hasty_site, "select id from transcription_job")}
    caller = threading.Thread(target=call)
    caller.start()

    def new_job():
        return [job_id for (job_id,) in rows(hasty_site, "select id from transcription_job") if job_id not in known]

    (job_id,) = wait_for(new_job, seconds=60, what="no job came")
    for web in processes(hasty_site, "web"):
        web.send_signal(how)
    caller.join()
    wait_for(
        lambda: statuses(hasty_site, [job_id]) == ["canceled"],
        seconds=CANCELED_SECONDS,
        what="the job was not canceled",
    )
    assert charges(hasty_site, str(UUID(job_id))) == []
    assert faults_of_ledger(hasty_site) == []
