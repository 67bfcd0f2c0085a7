from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, vad
from transcription.speech.samples import samples_to_ms


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
