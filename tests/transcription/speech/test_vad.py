from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, vad
from transcription.speech.samples import samples_to_ms

PROJECT = Path(__file__).resolve().parents[3]


def load(file):
    return np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))


def test_speech_scores_high_and_pauses_low():
    recording = recordings.named("dialogue.flac")
    samples = load("dialogue.flac")
    scores = vad.SpeechDetector().score(samples)
    assert len(scores) == -(-len(samples) // vad.FRAME_SAMPLES)
    at_ms = np.arange(len(scores)) * vad.FRAME_MS
    speaking = np.zeros(len(scores), dtype=bool)
    for turn in recording.turns:
        speaking |= (at_ms >= turn["start_ms"]) & (at_ms < turn["end_ms"])
    assert np.median(scores[speaking]) > 0.9
    assert np.median(scores[~speaking]) < 0.1


@pytest.mark.parametrize("file", ["silence.wav", "noise.wav"])
def test_other_sounds_score_low(file):
    assert vad.SpeechDetector().score(load(file)).max() < 0.5


def test_scores_do_not_depend_on_the_windows():
    samples = load("sentence-slt.wav")
    whole = vad.SpeechDetector().score(samples)
    detector = vad.SpeechDetector()
    parts = [detector.score(part) for part in np.split(samples, range(10 * vad.FRAME_SAMPLES, len(samples), 5_120))]
    assert np.allclose(np.concatenate(parts), whole, atol=1e-4)


def test_no_samples_have_no_score():
    assert vad.SpeechDetector().score(np.zeros(0, dtype=np.float32)).shape == (0,)


def test_frames_are_whole_milliseconds():
    assert samples_to_ms(vad.FRAME_SAMPLES) == vad.FRAME_MS == 32


@pytest.mark.long
def test_network_that_was_loaded_before_a_fork_runs_in_the_child():
    """Workers do so. It needs a session without threads, which a child would wait for in vain."""
    program = """
import os
import numpy as np
from transcription.speech import vad

vad.load()
child = os.fork()
os.write(1, f"{vad.SpeechDetector().score(np.ones(5120, dtype=np.float32)).sum()}\\n".encode())
if not child:
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    said = subprocess.run(words, cwd=PROJECT, check=True, capture_output=True, text=True, timeout=60).stdout.split("\n")
    assert said[0] == said[1] != ""
