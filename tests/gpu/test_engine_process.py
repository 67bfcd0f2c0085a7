"""Diarization over the engine process's own socket, with the real pyannote on the other side."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.diarizers import service
from transcription.speech.diarizers.service import RemoteDiarizer
from transcription.speech.engines.exchange import Exchange
from transcription.speech.options import TranscriptionOptions

pytestmark = [pytest.mark.gpu, pytest.mark.enable_socket, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def address(folder, tmp_path):
    address = f"ipc://{tmp_path}/engine.sock"
    process = subprocess.Popen([sys.executable, "-m", "tests.gpu.engine_process", address, str(folder)])
    yield address
    process.terminate()
    process.wait(timeout=30)


def test_worker_diarizes_by_asking_the_engine_process(address, tmp_path):
    exchange = Exchange([address], timeout_seconds=60)

    def ask(message):
        exchange.ask({"kind": service.KIND, "job": "one", **message}, [])
        while (answer := exchange.receive(wait_seconds=1.0)) is None:
            pass
        return answer[1]

    diarizer = RemoteDiarizer("pyannote", ask=ask, max_seconds=60, folder=tmp_path)
    diarization = diarizer.begin(options=TranscriptionOptions(num_speakers=2))
    windows = audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)
    for clip in cutting.clips(windows, pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    turns = diarization.turns()
    exchange.close()
    assert (diarization.name, diarization.notes) == ("pyannote", ())
    assert {turn.speaker for turn in turns} == {"S1", "S2"}
    assert not list(tmp_path.glob("recording-*"))
