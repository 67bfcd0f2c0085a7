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


@pytest.fixture(scope="module")
def transcribeapi_packages(node, tmp_path_factory):
    """Return (Python that has TranscribeAPI's package, folder of Node.js that has it), unmodified from the indexes."""
    folder = tmp_path_factory.mktemp("npm")
    node.install(folder, "@transcribe-api/sdk@0.1.10")
    python = clients.python_with(tmp_path_factory.mktemp("pypi"), "transcribe-api==0.1.10", "requests==2.32.5")
    return python, folder / "node_modules"


@pytest.mark.parametrize("language", ["Python", "Node"])
@pytest.mark.parametrize("is_known", [True, False])
def test_code_with_transcribeapis_packages_runs_as_it_stands(
    site, key, node, folder, transcribeapi_packages, language, is_known
):
    """What the page says to install, and no more than it: who moves has these packages and no other client."""
    python, modules = transcribeapi_packages
    (folder / "node_modules").symlink_to(modules)
    command = {"Python": [str(python), "example.py"], "Node": COMMANDS["Node"]}[language]
    shown = guides.named("transcribeapi").shown_for(site_url=site.address, key=key if is_known else "vox_unknown")
    code = dict(shown.examples)[language]
    assert {"Python": "transcribe_api", "Node": "@transcribe-api/sdk"}[language] in code
    (folder / command[-1]).write_text(code)
    if is_known:
        printed = clients.ran(command, cwd=folder, env=node.environment, timeout=SECONDS)
        assert text_of(SENTENCE).lower() in " ".join(re.findall(r"[a-z]+", printed.lower())), printed
        return
    done = subprocess.run(command, cwd=folder, env=node.environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode != 0
    assert "invalid_api_key" in done.stderr


# Those with packages are tested above.
CASES = [
    (guide, language)
    for guide in guides.GUIDES
    for language in COMMANDS
    if guide.slug != "transcribeapi" or language == "curl"
]


@pytest.mark.parametrize(("guide", "language"), CASES, ids=lambda value: getattr(value, "slug", value))
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
