from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.samples import ms_to_samples, samples_to_ms


def load(file):
    return np.concatenate(list(audio.windows(recordings.named(file).path, max_duration_ms=60_000)))


@pytest.mark.parametrize("file", ["silence.wav", "silence.mp3", "noise.wav"])
def test_what_is_no_speech_gives_no_clip(file):
    assert list(cutting.clips([load(file)])) == []


def test_pauses_end_clips():
    turns = recordings.named("dialogue.flac").turns
    clips = list(cutting.clips([load("dialogue.flac")], pause_ms=400))
    assert len(clips) == len(turns)
    for clip, turn in zip(clips, turns, strict=True):
        assert clip.start_ms <= turn["start_ms"]
        assert clip.end_ms >= turn["end_ms"]


def test_short_pauses_stay_inside_a_clip():
    assert len(list(cutting.clips([load("dialogue.flac")], pause_ms=5_000))) == 1


@pytest.mark.parametrize("window", [512, 5_000, 16_000, 100_000])
def test_windows_leave_no_trace(window):
    samples = load("dialogue.flac")
    whole = list(cutting.clips([samples], pause_ms=400))
    parts = [samples[at : at + window] for at in range(0, len(samples), window)]
    pieced = list(cutting.clips(parts, pause_ms=400))
    assert [(clip.start_ms, clip.end_ms) for clip in pieced] == [(clip.start_ms, clip.end_ms) for clip in whole]
    assert all(np.array_equal(a.samples, b.samples) for a, b in zip(pieced, whole, strict=True))


@pytest.mark.parametrize("max_clip_ms", [2_000, 5_000, 30_000])
def test_no_clip_is_too_long_and_no_speech_is_lost(max_clip_ms):
    samples = np.tile(load("sentence-slt.wav")[3_000:-3_000], 12)
    clips = list(cutting.clips([samples], max_clip_ms=max_clip_ms, pause_ms=1_500))
    assert all(clip.end_ms - clip.start_ms <= max_clip_ms for clip in clips)
    for clip, following in pairwise(clips):
        assert clip.end_ms == following.start_ms
    assert sum(clip.end_ms - clip.start_ms for clip in clips) > samples_to_ms(len(samples)) * 0.97


def test_clips_are_the_samples_of_their_times():
    samples = load("dialogue.flac")
    for clip in cutting.clips([samples], pause_ms=400):
        assert np.array_equal(samples[ms_to_samples(clip.start_ms) :][: len(clip.samples)], clip.samples)
