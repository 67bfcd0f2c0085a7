from __future__ import annotations

import json
import subprocess
import sys

from tests.fixtures import hostile, recordings


def run(path):
    command = [sys.executable, "-m", "transcription.speech.probe", str(path), "--max-duration-ms", "60000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.count("\n") == 1
    return json.loads(done.stdout)


def test_one_line_describes_a_recording():
    assert run(recordings.named("silence.wav").path) == {
        "duration_ms": 2000,
        "format": "wav",
        "codec": "pcm_s16le",
        "sample_rate": 16000,
        "channels": 1,
    }


def test_one_line_says_what_is_wrong(tmp_path):
    assert run(hostile.text(tmp_path))["error"]["type"] == "not_audio"
