"""Diarization by pyannote in an engine process, over its real socket."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.diarizers import service, spool
from transcription.speech.diarizers.service import RemoteDiarizer
from transcription.speech.engines import remote
from transcription.speech.engines.client import EngineClient
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import SAMPLE_RATE

pytestmark = [pytest.mark.gpu, pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def address(folder, tmp_path):
    address = f"ipc://{tmp_path}/engine.sock"
    process = subprocess.Popen([sys.executable, "-m", "tests.gpu.engine_process", address, str(folder)])
    yield address
    process.terminate()
    process.wait(timeout=30)


def test_worker_diarizes_by_asking_the_engine_process(address, tmp_path):
    client = EngineClient([address], timeout_seconds=60)

    def ask(message, frames):
        return client.ask({"kind": service.KIND, "job": "one", **message}, frames)

    diarizer = RemoteDiarizer("pyannote", ask=ask, max_seconds=60, folder=tmp_path)
    diarization = diarizer.begin(options=TranscriptionOptions(num_speakers=2))
    windows = audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)
    for clip in cutting.clips(windows, pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    turns = diarization.turns()
    client.close()
    assert (diarization.name, diarization.notes) == ("pyannote", ())
    assert {turn.speaker for turn in turns} == {"S1", "S2"}
    assert not list(tmp_path.glob("recording-*"))


def test_canceled_diarization_ends_at_once_and_leaves_the_model_to_others(address, tmp_path):
    """An hour of audio keeps this pipeline busy for minutes, so only a stop can end it in time."""
    hour = tmp_path / "hour.pcm"
    np.random.default_rng(1).integers(-3000, 3000, 3600 * SAMPLE_RATE, dtype="<i2").tofile(hour)
    client = EngineClient([address], timeout_seconds=60)
    question = {"kind": service.KIND, "job": "one", "recording": "hour"}
    for count, (offset, part) in enumerate(spool.parts(hour), start=1):
        client.ask({**question, "number": count - 1, "offset": offset}, [part])
    client.submit({**question, "parts": count, "options": TranscriptionOptions().to_dict()}, [])

    def diarizing():
        state = remote.health(address, 10)
        return state["services"][service.KIND] if state else {}

    # Wait for loading and the first batches, so that the stop comes in the middle of the work.
    deadline = time.monotonic() + 60
    while not diarizing().get("is_working"):
        assert time.monotonic() < deadline
        client.receive(wait_seconds=0.1)
    time.sleep(3)
    assert diarizing()["is_working"]
    client.cancel()
    deadline = time.monotonic() + 20
    while diarizing()["stopped"] == 0:
        assert time.monotonic() < deadline, diarizing()
        time.sleep(0.05)
    client.close()
    assert diarizing() == {"waiting": 0, "is_working": False, "requests": 1, "failures": 0, "stopped": 1}
