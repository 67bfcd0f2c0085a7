import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transcription.speech.formats.transcripts import DIALOGUE, render, transcript
from transcription.speech import formats
from transcription.speech.transcript import Segment


@pytest.mark.long
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
