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


def test_process_gives_up_its_means():
    program = (
        "import av, pathlib, resource, subprocess\n"
        "from transcription.speech import probe\n"
        "probe._limit_this_process()\n"
        "assert resource.getrlimit(resource.RLIMIT_FSIZE) == (0, 0)\n"
        "try:\n"
        "    bytearray(2 << 30)\n"
        "except MemoryError:\n"
        "    print('bounded')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "bounded\n"
