"""What kills, empties or repeats must neither lose a job nor charge it twice. On the running product."""

import sqlite3
import time
from pathlib import Path

import pytest
from redis import Redis

from tests.conftest import AUDIO
from tests.product import Product
from tests.whole.customer import Customer, attempts, charges, processes

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

# The work must be taken up again within a minute; the rest is the work itself on a busy machine.
TAKEN_UP_SECONDS = 60


@pytest.fixture(scope="session")
def site(killed_site: Product) -> Product:
    return killed_site


@pytest.fixture
def long_recording(tmp_path: Path) -> Path:
    """The dialogue 6 times in a row: a minute and a half, a quarter of a minute of work."""
    import av

    path = tmp_path / "long.flac"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("flac", rate=16_000, layout="mono")
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000, frame_size=4096)
        samples = 0
        for _ in range(6):
            with av.open(str(AUDIO / "dialogue.flac")) as source:
                for frame in source.decode(audio=0):
                    frame.pts = None
                    for piece in resampler.resample(frame):
                        piece.pts = samples
                        samples += piece.samples
                        output.mux(stream.encode(piece))
        output.mux(stream.encode(None))
    return path


def wait_until_processing(customer: Customer, job_id: str) -> None:
    deadline = time.monotonic() + 120
    while customer.job(job_id)["status"] != "processing":
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_killed_workers_lose_no_job(site, long_recording):
    customer = Customer(site, "killed@example.com")
    undisturbed = customer.submit(long_recording)
    customer.wait(undisturbed, seconds=240)
    job_id = customer.submit(long_recording)
    wait_until_processing(customer, job_id)
    before = processes(site, "worker")
    assert before
    for worker in before:
        worker.kill()
    killed_at = time.monotonic()
    while attempts(site, job_id) < 2:
        assert time.monotonic() < killed_at + TAKEN_UP_SECONDS
        time.sleep(0.2)
    customer.wait(job_id, seconds=240)
    assert customer.text(job_id) == customer.text(undisturbed)
    assert len(charges(site, job_id)) == 1
    assert customer.balance()["held_micros"] == 0


def test_emptied_redis_loses_no_job(site):
    customer = Customer(site, "flushed@example.com")
    before = customer.balance()["balance_micros"]
    job_ids = [customer.submit(AUDIO / "sentence-slt.wav") for _ in range(20)]
    with Redis(unix_socket_path=str(site.folder / "redis.sock")) as redis:
        redis.flushall()
    customer.wait(*job_ids, seconds=300)
    # 4 started seconds each.
    assert [charges(site, job_id) for job_id in job_ids] == [[333]] * 20
    assert before - customer.balance()["balance_micros"] == 20 * 333
    assert customer.balance()["held_micros"] == 0


def test_task_delivered_again_changes_nothing(site):
    import django_rq  # noqa: F401 - RQ's job class is configured by it

    customer = Customer(site, "twice@example.com")
    job_id = customer.submit(AUDIO / "sentence-slt.wav")
    customer.wait(job_id, seconds=150)
    spent = customer.balance()["balance_micros"]
    with sqlite3.connect(f"file:{site.folder}/voxsite.sqlite3?mode=ro", uri=True) as database:
        query = "SELECT id FROM transcription_jobitem WHERE job_id = ?"
        (item_id,) = database.execute(query, (job_id.replace("-", ""),)).fetchone()
    with Redis(unix_socket_path=str(site.folder / "redis.sock")) as redis:
        from rq import Queue

        for _ in range(3):
            Queue("standard", connection=redis).enqueue("transcription.tasks.run_item", str(item_id))
        deadline = time.monotonic() + 120
        while redis.llen("rq:queue:standard"):
            assert time.monotonic() < deadline
            time.sleep(0.2)
    time.sleep(2)
    assert len(charges(site, job_id)) == 1
    assert attempts(site, job_id) == 1
    assert customer.balance()["balance_micros"] == spent
