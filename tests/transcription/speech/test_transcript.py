from __future__ import annotations

import json

import pytest

from transcription.speech.transcript import Segment, Transcript, Turn, Word, number_by_appearance, speaker_label

SPOKEN = Transcript(
    language="en",
    language_probability=0.98,
    duration_ms=5_000,
    segments=(
        Segment(0, 900, "hello there", (Word("hello", 0, 400, 0.9, "S1"), Word("there", 450, 900, 0.8, "S1")), "S1"),
        Segment(1000, 1500, "yes", (Word("yes", 1000, 1500, 0.7, "S2"),), "S2"),
        Segment(2000, 2100, "bye", (Word("bye", 2000, 2100, 0.6, "S1"),), "S1"),
    ),
    engine="pocketsphinx",
    diarizer="clustering",
    notes=("a note",),
    is_translated=True,
)


def test_storage_form_survives_json():
    assert Transcript.from_dict(json.loads(json.dumps(SPOKEN.to_dict()))) == SPOKEN


def test_results_from_before_translation_are_read():
    stored = SPOKEN.to_dict()
    del stored["is_translated"]
    assert Transcript.from_dict(stored).is_translated is False


def test_unknown_version_is_refused():
    with pytest.raises(ValueError, match="version"):
        Transcript.from_dict({**SPOKEN.to_dict(), "version": 99})


def test_text_and_speakers_are_summed_up():
    assert SPOKEN.text == "hello there yes bye"
    assert SPOKEN.speakers == [("S1", 1_000), ("S2", 500)]


def test_speakers_are_numbered_by_first_appearance():
    turns = [Turn(500, 900, "b"), Turn(0, 400, "a"), Turn(1000, 1100, "b")]
    assert [turn.speaker for turn in number_by_appearance(turns)] == ["S1", "S2", "S2"]


def test_label_is_what_people_read():
    assert speaker_label("S12") == "Speaker 12"
    assert speaker_label("Anna") == "Anna"
