"""What the pipeline relies on, whichever diarizer it uses."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.diarizers.clustering import ClusteringDiarizer
from transcription.speech.diarizers.full_recording import FullRecordingDiarizer
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn

SPEAKERS = ("B", "A", "B")


def find(path, options):
    """A model of a whole recording, which names speakers its own way and hears one in the background."""
    foreground = [Turn(number * 1000, number * 1000 + 900, name) for number, name in enumerate(SPEAKERS)]
    return [*foreground, Turn(2100, 2400, "C", is_background=True)]


@pytest.fixture(params=["clustering", "full recording"])
def diarizer(request, tmp_path):
    if request.param == "clustering":
        return ClusteringDiarizer()
    return FullRecordingDiarizer("model", find=find, max_seconds=60, folder=tmp_path)


def test_recording_without_a_clip_has_no_turns(diarizer):
    assert diarizer.begin(options=TranscriptionOptions()).turns() == []


@pytest.mark.long
def test_turns_are_sorted_named_by_appearance_and_do_not_overlap(diarizer):
    diarization = diarizer.begin(options=TranscriptionOptions())
    windows = audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)
    for clip in cutting.clips(windows, pause_ms=400):
        diarization.add(clip.start_ms, clip.samples)
    turns = diarization.turns()
    assert turns == sorted(turns, key=lambda turn: turn.start_ms)
    names = list(dict.fromkeys(turn.speaker for turn in turns))
    assert len(names) > 1
    assert names == [f"S{number}" for number in range(1, len(names) + 1)]
    foreground = [turn for turn in turns if not turn.is_background]
    assert all(first.end_ms <= second.start_ms for first, second in itertools.pairwise(foreground))
    assert diarization.name
    assert isinstance(diarization.notes, tuple)
    assert diarization.boundary_tolerance_ms >= 0


def test_one_diarizer_serves_recordings_at_the_same_time(diarizer):
    one, other = (diarizer.begin(options=TranscriptionOptions()) for _ in range(2))
    one.add(0, np.zeros(16_000, dtype=np.float32))
    assert other.turns() == []
    assert one.turns() != []
