from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transcription.speech import formats, speakers
from transcription.speech.formats import cues
from transcription.speech.transcript import Segment, Transcript, Word


def transcript(*segments, language="en"):
    return Transcript(
        language=language,
        language_probability=None,
        duration_ms=61_234,
        segments=tuple(segments),
        engine="pocketsphinx",
        diarizer="clustering",
    )


def said(text, *, start_ms=0, speaker="S1", step_ms=300):
    words = [
        Word(word, start_ms + number * step_ms, start_ms + number * step_ms + step_ms - 20, 0.5, speaker)
        for number, word in enumerate(text.split())
    ]
    return speakers.segments(words, language="en")[0]


def render(name, *segments):
    return formats.FORMATS[name].render(transcript(*segments)).decode()


DIALOGUE = (said("hello there"), said("good morning", start_ms=3_661_500, speaker="S2"))


def test_json_document_is_as_promised():
    document = json.loads(render("json", *DIALOGUE))
    assert document["duration_seconds"] == 61.234
    assert document["text"] == "hello there good morning"
    assert document["speakers"] == [
        {"id": "S1", "label": "Speaker 1", "seconds": 0.58},
        {"id": "S2", "label": "Speaker 2", "seconds": 0.58},
    ]
    assert document["segments"][1] == {
        "id": 1,
        "start": 3661.5,
        "end": 3662.08,
        "speaker": "S2",
        "text": "good morning",
        "words": [
            {"word": "good", "start": 3661.5, "end": 3661.78, "probability": 0.5, "speaker": "S2"},
            {"word": "morning", "start": 3661.8, "end": 3662.08, "probability": 0.5, "speaker": "S2"},
        ],
    }


@given(st.integers(0, 36_000_000))
def test_json_seconds_have_millisecond_precision(milliseconds):
    seconds = formats.json.document(transcript(Segment(milliseconds, milliseconds, "x")))["segments"][0]["start"]
    assert re.fullmatch(r"\d+\.\d{1,3}", repr(seconds))
    assert round(seconds * 1000) == milliseconds


def test_txt_names_each_speaker_once_per_turn():
    assert render("txt", *DIALOGUE, said("how are you", start_ms=3_670_000, speaker="S2")) == (
        "Speaker 1: hello there\nSpeaker 2: good morning how are you\n"
    )


def test_txt_without_speakers_is_only_text():
    assert render("txt", said("hello there", speaker=None), said("again", speaker=None)) == "hello there\nagain\n"


def test_srt_is_numbered_and_has_commas():
    assert render("srt", *DIALOGUE) == (
        "1\n00:00:00,000 --> 00:00:00,580\nSpeaker 1: hello there\n\n"
        "2\n01:01:01,500 --> 01:01:02,080\nSpeaker 2: good morning\n"
    )


def test_vtt_has_voices_and_dots():
    assert render("vtt", *DIALOGUE) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:00.580\n<v Speaker 1>hello there\n\n"
        "01:01:01.500 --> 01:01:02.080\n<v Speaker 2>good morning\n"
    )


def test_vtt_text_cannot_be_markup():
    body = render("vtt", said("a<b> & c --> d", speaker="S<1>&"))
    assert "<v S&lt;1&gt;&amp;>a&lt;b&gt; &amp; c --&gt; d" in body


def test_srt_text_cannot_be_markup_or_a_time_line():
    body = render("srt", said("<i>a --> b"))
    assert body.count("-->") == 1
    assert "<" not in body


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_silence_is_a_valid_empty_file(name):
    assert render(name).strip() == ("WEBVTT" if name == "vtt" else "")


def test_text_with_line_breaks_keeps_to_its_cue():
    body = render("srt", Segment(0, 1000, "one\n\n2\n00:00 --> 00:01\ntwo"))
    assert "\n\n" not in body


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"]), min_size=1, max_size=60), min_size=1))
def test_cues_are_readable_and_complete(texts):
    words = [Word(text, number * 400, number * 400 + 350, 0.5, "S1") for number, text in enumerate(texts)]
    spoken = transcript(*speakers.segments(words, language="en"))
    made = cues.cues(spoken)
    assert "".join("".join(cue.lines) for cue in made).replace(" ", "") == "".join("".join(texts).split())
    for cue in made:
        assert cue.end_ms - cue.start_ms <= cues.MAX_CUE_MS
        assert all(len(line) <= cues.LINE_CHARACTERS for line in cue.lines)
        assert len(cue.lines) <= cues.LINES


def test_long_sentence_is_cut_into_even_cues():
    text = "we will meet on friday morning to talk about the new house by the river and the people who live there"
    made = cues.cues(transcript(said(text)))
    assert len(made) == 2
    assert min(len(" ".join(cue.lines)) for cue in made) > 30


def test_every_format_says_what_it_is():
    for name, one in formats.FORMATS.items():
        assert one.extension == name
        assert "/" in one.content_type
