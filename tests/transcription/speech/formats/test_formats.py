from __future__ import annotations

import pytest

from tests.transcription.speech.formats.transcripts import render
from transcription.speech import formats


@pytest.mark.parametrize("name", ["srt", "vtt"])
def test_silence_is_a_valid_empty_file(name):
    assert render(name).strip() == ("WEBVTT" if name == "vtt" else "")


def test_every_format_says_what_it_is():
    for name, one in formats.FORMATS.items():
        assert one.extension == name
        assert "/" in one.content_type
