"""Downloads from a model hub, each in a new process, because the client of the hub reads its settings on import."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import model_hub, tiny_whisper
from tests.transcription.speech.conftest import EngineProcess
from transcription.speech import audio
from transcription.speech.engines import remote
from transcription.speech.options import TranscriptionOptions

pytestmark = pytest.mark.enable_socket

NAME = "Systran/faster-whisper-base"
FILES = ("config.json", "model.bin", "preprocessor_config.json", "tokenizer.json", "vocabulary.json")
GET = """
import logging
logging.basicConfig(level=logging.INFO, format="%(message)s")
logging.getLogger("httpx").setLevel(logging.WARNING)
from transcription.speech.engines import models
is_local = models.is_local("base")
folder = models.folder_of("base", report_seconds=0.1)
print(is_local, folder, models.megabytes("base", compute_type="int8"))
"""


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def surroundings(cache: Path, *, endpoint: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return environment | {"HF_HOME": str(cache), "HF_ENDPOINT": endpoint, "VOXSITE_ENV": "development"}


def getting(cache: Path, *, endpoint: str) -> subprocess.Popen[str]:
    """Start a process that gets the model and prints whether it was local, its folder and its megabytes."""
    return subprocess.Popen(
        [sys.executable, "-c", GET],
        env=surroundings(cache, endpoint=endpoint),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_download_is_reported_and_done_once(cache, whisper_folder):
    with model_hub.serving(whisper_folder, name=NAME, bytes_per_second=20e6) as hub:
        printed, log = getting(cache, endpoint=hub.address).communicate(timeout=60)
        assert printed.startswith("False "), log
        said = log.splitlines()
        assert "downloading the model base, once" in said
        assert any(line.endswith("MB so far") and " 0 MB" not in line for line in said), said
        assert any(line.startswith("downloaded the model base in") for line in said)
        assert hub.downloads == dict.fromkeys(FILES, 1)
    # The hub is stopped: no process asks it again.
    printed, log = getting(cache, endpoint=hub.address).communicate(timeout=60)
    at_hand, folder, megabytes = printed.split()
    assert (at_hand, megabytes) == ("True", "13"), log
    assert sorted(path.name for path in Path(folder).iterdir()) == sorted(FILES)
    assert "downloading" not in log


@pytest.mark.slow
def test_killed_download_is_not_taken_for_a_model(cache, whisper_folder):
    with model_hub.serving(whisper_folder, name=NAME, bytes_per_second=4e6) as hub:
        first = getting(cache, endpoint=hub.address)
        deadline = time.monotonic() + 30
        # The small files are complete, the large one is not.
        small = set(FILES) - {"model.bin"}
        while not hub.downloads["model.bin"] or not small <= {
            path.name for path in cache.glob("hub/models--*/snapshots/*/*") if path.exists()
        }:
            assert time.monotonic() < deadline, first.poll()
            time.sleep(0.05)
        first.kill()
        first.communicate()
        hub.bytes_per_second = 1e9
        printed, log = getting(cache, endpoint=hub.address).communicate(timeout=60)
        assert printed.startswith("False "), log
        assert hub.downloads["model.bin"] == 2
        assert {hub.downloads[name] for name in FILES if name != "model.bin"} == {1}


@pytest.mark.long
def test_hub_without_the_model_is_one_sentence(cache, whisper_folder):
    with model_hub.serving(whisper_folder, name="somebody/else") as hub:
        _, log = getting(cache, endpoint=hub.address).communicate(timeout=60)
    assert log.splitlines()[-1].endswith("EngineUnavailable: The model base could not be downloaded.")


@pytest.mark.slow
def test_engines_that_start_at_once_download_once(cache, whisper_folder, tmp_path):
    with model_hub.serving(whisper_folder, name=NAME, bytes_per_second=20e6) as hub:
        for _ in engines(cache, tmp_path, endpoint=hub.address):
            pass
        assert hub.downloads == dict.fromkeys(FILES, 1)
    # As after a restart of a machine without access to the hub.
    for engine in engines(cache, tmp_path, endpoint=hub.address):
        heard = engine.recognise([hello()], options=TranscriptionOptions())
        assert " ".join(word.text for word in heard[0].words) == tiny_whisper.samples()["en-hello.wav"].text


def hello():
    (window,) = audio.windows(tiny_whisper.SAMPLES / "en-hello.wav", max_duration_ms=60_000)
    return window


def engines(cache: Path, folder: Path, *, endpoint: str) -> Iterator[remote.RemoteEngine]:
    """Run two engine processes as script/server starts them and yield a client of each when both are ready."""
    address = f"ipc://{folder}/engine.sock"
    environment = surroundings(cache, endpoint=endpoint) | {
        "VOXSITE_ENGINE": "faster_whisper",
        "VOXSITE_ENGINE_SOCKET": address,
        "VOXSITE_ENGINES": "2",
        "OMP_NUM_THREADS": "1",
    }
    for name in ("VOXSITE_WHISPER_STANDARD", "VOXSITE_WHISPER_PREMIUM"):
        environment.pop(name, None)
    processes = [
        subprocess.Popen([sys.executable, "manage.py", "engine", "--number", number], env=environment)
        for number in ("1", "2")
    ]
    try:
        for one in (address, f"{address}-2"):
            assert EngineProcess(one).wait()["engine"]["name"] == "faster-whisper/base"
            yield remote.RemoteEngine(one, timeout_seconds=30)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=20)
