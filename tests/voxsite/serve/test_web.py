"""The web process: what it says of itself, and what it writes down of requests."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.apex import scripted
from tests.apex import site as sites
from tests.conftest import AUDIO

pytestmark = pytest.mark.enable_socket


@pytest.mark.long
def test_response_does_not_name_the_server_and_ignores_forged_headers(tmp_path):
    with sites.running(tmp_path) as site:
        response = requests.get(
            f"{site.address}/health?token=secret", headers={"X-Forwarded-For": "192.0.2.1"}, timeout=30
        )
    assert response.status_code == 200
    assert "Server" not in response.headers
    log = (tmp_path / "web.log").read_text()
    assert "GET /health?token=secret" in log
    # Only the proxies that the operator counts may say who asks.
    assert "192.0.2.1" not in log


# In seconds: how long the process serves on, and how long it then waits for what is open.
DRAIN, GRACE = 6, 6


@pytest.mark.long
def test_stopped_process_serves_until_balancers_have_noticed_and_ends_streams_with_an_error(tmp_path):
    with scripted.running() as upstream:
        switches = {
            "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
            "APEX_UPSTREAM_API_KEY": "none",
            "VOXSITE_WEB_DRAIN_SECONDS": str(DRAIN),
            "VOXSITE_WEB_GRACE_SECONDS": str(GRACE),
        }
        with sites.running(tmp_path, **switches) as site, requests.Session() as session:
            headers = {"Authorization": f"Bearer {site.new_key()}"}
            job_id = _ordered_job(site, headers)
            # The worker that would transcribe it does not run.
            watched = requests.get(f"{site.address}/v1/jobs/{job_id}/events", headers=headers, stream=True, timeout=60)
            waiting = ThreadPoolExecutor(1).submit(_call_that_waits, site, headers)
            body = {"model": "apex-latest", "stream": True, "messages": [{"role": "user", "content": "slow 300 0.1"}]}
            chat = requests.post(
                f"{site.address}/v1/apex/chat/completions", json=body, headers=headers, stream=True, timeout=60
            )
            assert chat.status_code == watched.status_code == 200
            assert session.get(f"{site.address}/health/serving", timeout=30).headers.get("Connection") != "close"
            wait_until(lambda: len(site.rows("SELECT status FROM transcription_job")) == 2)
            time.sleep(1)

            site.process.terminate()
            wait_until(lambda: session.get(f"{site.address}/health/serving", timeout=30).status_code == 503)
            told = session.get(f"{site.address}/health/serving", timeout=30)
            assert (told.status_code, told.json()["status"]) == (503, "stopping")
            alive = requests.get(f"{site.address}/health", timeout=30)
            assert (alive.status_code, alive.headers["Connection"]) == (200, "close")

            assert _events(chat)[-1]["error"]["type"] == "unavailable"
            assert _events(watched)[-1]["error"]["type"] == "unavailable"
            answer = waiting.result(60)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
            site.process.wait(DRAIN + GRACE + 5)
            with pytest.raises(requests.ConnectionError):
                requests.get(f"{site.address}/health", timeout=30)
            # What the client got is charged, and nothing stays held.
            assert site.newest()["finish"] == "process_stopped"
            assert site.rows("SELECT status FROM transcription_job") == [("queued",)] * 2


def wait_until(is_true):
    ends_at = time.monotonic() + 30
    while not is_true():
        assert time.monotonic() < ends_at
        time.sleep(0.1)


def _ordered_job(site, headers):
    with (AUDIO / "sentence-slt.wav").open("rb") as file:
        answer = requests.post(f"{site.address}/v1/transcribe", headers=headers, files={"file": file}, timeout=60)
    return answer.json()["job_id"]


def _call_that_waits(site, headers):
    with (AUDIO / "dialogue.flac").open("rb") as file:
        return requests.post(
            f"{site.address}/v1/audio/transcriptions",
            headers=headers,
            files={"file": file},
            data={"model": "whisper-1"},
            timeout=60,
        )


def _events(answer):
    """Return the data of a stream's events, read to its orderly end."""
    lines = [line for line in answer.iter_lines() if line.startswith(b"data: {")]
    return [json.loads(line.removeprefix(b"data: ")) for line in lines]
