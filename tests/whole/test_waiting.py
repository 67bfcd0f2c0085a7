"""Calls that wait, on the running product: one that loses its web process, and what many of them hold of PostgreSQL."""

import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from uuid import UUID

import psutil
import psycopg
import pytest
import requests
from redis import Redis

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


WAITING = 60
POOL = 4
LOOKS = 40
# What each look finds of the other sessions. A transaction is known by its beginning.
SESSIONS = """
    SELECT pid, application_name, state, xact_start, query FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


@pytest.fixture
def configured_site(tmp_path):
    """The product on the services of the environment, with a small pool and workers that do nothing."""
    if not os.environ.get("DATABASE_URL"):
        pytest.skip("DATABASE_URL names no database")
    switches = {"VOXSITE_DATABASE_POOL": str(POOL), "VOXSITE_RATE_UPLOADS": "1000/minute"}
    with product.given_services() as services, product.running(tmp_path, **switches, **services) as site:
        workers = processes(site, "worker")
        for worker in workers:
            worker.suspend()
        yield site
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.resume()
        with Redis.from_url(services["REDIS_URL"]) as redis:
            redis.flushdb()


def test_calls_that_wait_hold_no_connection_of_the_configured_database(configured_site):
    """Each look may find a transaction that is between two statements, but none may be found twice."""
    site = configured_site
    customer = Customer(site, "many@example.com")

    def call():
        with suppress(requests.RequestException), (AUDIO / "dialogue.flac").open("rb") as file:
            requests.post(
                f"{site.address}/v1/audio/transcriptions",
                files={"file": file},
                data={"model": "whisper-1"},
                headers=customer.headers,
                timeout=120,
            )

    for _ in range(WAITING):
        threading.Thread(target=call, daemon=True).start()
    wait_for(
        lambda: site.rows("select count(*) from transcription_job") == [(WAITING,)],
        seconds=120,
        what="not all calls wait",
    )
    transactions, connections = Counter(), []
    with psycopg.connect(site.environment["DATABASE_URL"], autocommit=True) as database:
        for _ in range(LOOKS):
            sessions = database.execute(SESSIONS).fetchall()
            connections.append(sum(name == "voxsite web" for _, name, *_ in sessions))
            transactions.update(
                (name, pid, began_at, query)
                for pid, name, state, began_at, query in sessions
                if state.startswith("idle in transaction")
            )
            time.sleep(0.2)
    assert 1 <= max(connections) <= POOL
    assert [held for held, looks in transactions.items() if looks > 1] == []
    # With a connection held by each, nothing else would be answered.
    assert requests.get(f"{site.address}/v1/balance", headers=customer.headers, timeout=10).ok
