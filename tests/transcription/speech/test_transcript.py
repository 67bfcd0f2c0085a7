from __future__ import annotations

import json
from dataclasses import replace

import pytest

from transcription.speech.transcript import (
    Segment,
    Transcript,
    Turn,
    Word,
    join_segments,
    join_words,
    number_by_appearance,
    speaker_label,
)

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


@pytest.mark.parametrize(
    ("language", "is_translated", "text"),
    [("en", False, "我 们"), ("zh", False, "我们"), ("zh", True, "我 们"), (None, False, "我 们")],
)
def test_results_from_before_blanks_are_joined_by_their_language(language, is_translated, text):
    stored = SPOKEN.to_dict() | {"language": language, "is_translated": is_translated}
    words = [["我", 0, 100, 0.5, None], ["们", 100, 200, 0.5, None]]
    stored["segments"] = [
        {"start_ms": 0, "end_ms": 200, "text": word[0], "speaker": None, "words": [word]} for word in words
    ]
    read = Transcript.from_dict(stored)
    assert (read.text, join_words(read.words)) == (text, text)


def test_blanks_are_kept_when_stored():
    words = (Word("我们", 0, 1, 0.5), Word("使用", 1, 2, 0.5, None, False), Word("AI", 2, 3, 0.5))
    spoken = replace(SPOKEN, segments=(Segment(0, 3, join_words(words), words),))
    assert spoken.text == "我们使用 AI"
    assert Transcript.from_dict(json.loads(json.dumps(spoken.to_dict()))) == spoken


def test_segments_without_words_are_joined_by_their_script():
    segments = [Segment(0, 1, text) for text in ("我们。", "今天", "", "Good", "morning", "再见")]
    assert join_segments(segments) == "我们。今天 Good morning 再见"


def test_text_and_speakers_are_summed_up():
    assert SPOKEN.text == "hello there yes bye"
    assert SPOKEN.speakers == [("S1", 1_000), ("S2", 500)]


def test_speakers_are_numbered_by_first_appearance():
    turns = [Turn(500, 900, "b"), Turn(0, 400, "a"), Turn(1000, 1100, "b")]
    assert [turn.speaker for turn in number_by_appearance(turns)] == ["S1", "S2", "S2"]


def test_label_is_what_people_read():
    assert speaker_label("S12") == "Speaker 12"
    assert speaker_label("Anna") == "Anna"
