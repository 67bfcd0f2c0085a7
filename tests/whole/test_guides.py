"""The code of the pages for customers of other services, as it stands but for the key, against the whole product."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from tests import clients
from tests.conftest import AUDIO, text_of
from voxsite import guides

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(900)]

SENTENCE = "sentence-slt.wav"
SECONDS = 120


@pytest.fixture(scope="module")
def key(site):
    return site.new_key(owner="guides@example.com")


@pytest.fixture
def folder(tmp_path):
    """A folder in which a reader has their recording. Its name says another format than it has, as names do."""
    shutil.copy(AUDIO / SENTENCE, tmp_path / "recording.mp3")
    return tmp_path


COMMANDS = {
    "curl": ["sh", "-e", "example.sh"],
    "Python": [sys.executable, "example.py"],
    "Node": ["node", "example.mjs"],
}


@pytest.mark.parametrize("language", COMMANDS)
@pytest.mark.parametrize("guide", guides.GUIDES, ids=lambda guide: guide.slug)
def test_code_runs_as_it_stands(site, key, node, folder, guide, language):
    command = COMMANDS[language]
    code = dict(guide.shown_for(site_url=site.address, key=key).examples)[language]
    (folder / command[-1]).write_text(code)
    printed = clients.ran(command, cwd=folder, env=node.environment, timeout=SECONDS)
    if guide.slug == "voxscriber" and language == "curl":
        # It orders the job. The page says how its end is waited for.
        assert '"job_id"' in printed
        return
    said = " ".join(re.findall(r"[a-z]+", printed.lower()))
    assert text_of(SENTENCE).lower() in said, printed


def test_published_request_of_voxnexus(site, key, folder):
    """VoxNexus's own example, word for word but for base URL, key, the query and the recording."""
    command = [
        *("curl", "--silent", "--request", "POST"),
        *(
            "--url",
            f"{site.address}/v1/stt?model_id=vn-stt-basic&language=en-US&sample_rate=16000&enable_timestamps=true",
        ),
        *("--header", "Content-Type: audio/wav", "--header", f"X-Api-Key: {key}", "--data-binary", "@recording.mp3"),
    ]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=True)
    answer = json.loads(done.stdout)
    assert answer["text"].lower() == text_of(SENTENCE).lower()
    assert answer["language"] == "en-US"
    assert " ".join(word["word"] for word in answer["words"]).lower() == text_of(SENTENCE).lower()
