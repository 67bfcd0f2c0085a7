"""The Python example of VoxScriber's introduction to its API, unmodified but for the base URL and the key.

Source: "Introduction to the VoxScriber API: Automate Your Transcriptions at Scale", section "Python Implementation",
read 2026-11-29. The page shows the lines without their indentation.
"""

import re
import subprocess
import sys
from typing import Any

import pytest
import requests

from tests.conftest import FIXTURES
from tests.product import Product

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]

EXAMPLE = """\
import requests
import time
API_KEY = 'your_api_key_here'
HEADERS = {'Authorization': f'Bearer {API_KEY}'}
# Step 1: Upload
with open('audio.mp3', 'rb') as f:
    response = requests.post('https://api.voxscriber.com/v1/upload', headers=HEADERS, files={'file': f})
file_id = response.json()['file_id']
# Step 2: Start Transcription
transcription_request = requests.post('https://api.voxscriber.com/v1/transcribe', headers=HEADERS, json={'file_id': file_id})
job_id = transcription_request.json()['job_id']
# Step 3: Poll for Status
while True:
    status_check = requests.get(f'https://api.voxscriber.com/v1/status/{job_id}', headers=HEADERS)
    result = status_check.json()
    if result['status'] == 'completed':
        print(result['transcript'])
        break
    time.sleep(5)
"""  # noqa: E501
# A woman reads Jane Austen. The example calls every file audio.mp3; what is inside decides.
READING = FIXTURES / "read" / "austen-0870.flac"


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z']+", text.lower()))


def test_example_prints_the_transcript_of_a_real_reading(site: Product, tmp_path):
    headers = {"X-API-Key": site.new_key(owner="voxscriber@example.com")}

    def get(path: str) -> dict[str, Any]:
        return dict(requests.get(f"{site.address}{path}", headers=headers, timeout=30).json())

    before = get("/v1/balance")["balance_micros"]
    (tmp_path / "audio.mp3").write_bytes(READING.read_bytes())
    program = EXAMPLE.replace("https://api.voxscriber.com", site.address)
    program = program.replace("your_api_key_here", headers["X-API-Key"])
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=240, check=True
    )
    [job] = get("/v1/jobs")["jobs"]
    assert done.stdout.strip() == get(f"/v1/jobs/{job['id']}/result")["text"]
    # PocketSphinx hears some of the words only.
    said = words(READING.with_suffix(".txt").read_text())
    assert len(words(done.stdout) & said) > len(said) / 3
    after = get("/v1/balance")
    assert (before - after["balance_micros"], after["held_micros"]) == (int(job["cost_dollars"].replace(".", "")), 0)
