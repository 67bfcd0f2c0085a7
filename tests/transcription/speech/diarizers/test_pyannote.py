"""The conversion of pyannote's output. tests/gpu tests pyannote itself, where it is installed."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from transcription.speech.diarizers.pyannote import PyannotePipeline, turns_of
from transcription.speech.errors import EngineUnavailable
from transcription.speech.transcript import Turn


class Annotation:
    """The one method of `pyannote.core.Annotation` that we call."""

    def __init__(self, *spans):
        self.spans = spans

    def itertracks(self, *, yield_label):
        assert yield_label
        return ((SimpleNamespace(start=start, end=end), "_", name) for start, end, name in self.spans)


def answer(everybody, dominant):
    return SimpleNamespace(
        speaker_diarization=Annotation(*everybody), exclusive_speaker_diarization=Annotation(*dominant)
    )


def test_who_speaks_over_somebody_is_in_the_background():
    everybody = [(0.0, 4.0, "A"), (2.0, 6.0, "B")]
    dominant = [(0.0, 3.0, "A"), (3.0, 6.0, "B")]
    assert turns_of(answer(everybody, dominant), duration_ms=10_000) == [
        Turn(0, 3000, "A"),
        Turn(2000, 3000, "B", is_background=True),
        Turn(3000, 4000, "A", is_background=True),
        Turn(3000, 6000, "B"),
    ]


def test_interjection_in_the_middle_splits_the_dominant_speaker():
    everybody = [(0.0, 4.0, "A"), (1.0, 2.0, "B")]
    dominant = [(0.0, 1.0, "A"), (1.0, 2.0, "B"), (2.0, 4.0, "A")]
    assert turns_of(answer(everybody, dominant), duration_ms=4_000) == [
        Turn(0, 1000, "A"),
        Turn(1000, 2000, "B"),
        Turn(1000, 2000, "A", is_background=True),
        Turn(2000, 4000, "A"),
    ]


def test_turns_are_cut_to_the_recording():
    spans = [(-0.1, 1.0, "A"), (1.5, 2.5, "A"), (3.0, 3.5, "B")]
    assert turns_of(answer(spans, spans), duration_ms=2_000) == [Turn(0, 1000, "A"), Turn(1500, 2000, "A")]


def test_legacy_pipelines_answer_with_an_annotation_alone():
    found = turns_of(Annotation((1.0, 3.0, "B"), (0.0, 2.0, "A")), duration_ms=5_000)
    assert found == [Turn(0, 2000, "A"), Turn(1000, 3000, "B")]


def test_without_the_extra_the_operator_is_told_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(EngineUnavailable, match=r"docs/operations\.md"):
        PyannotePipeline("anything")
