from __future__ import annotations

import pytest

from transcription.speech.errors import OptionError
from transcription.speech.formats import FORMATS
from transcription.speech.formats.options import BOUNDS, FormatOptions


@pytest.mark.parametrize(
    ("chosen", "param"),
    [
        ({"max_chars_per_line": 9}, "max_chars_per_line"),
        ({"max_chars_per_line": 201}, "max_chars_per_line"),
        ({"max_lines": 0}, "max_lines"),
        ({"min_seconds": -1}, "min_seconds"),
        ({"max_seconds": float("nan")}, "max_seconds"),
        ({"max_seconds": 61}, "max_seconds"),
        ({"min_seconds": 3, "max_seconds": 2}, "min_seconds"),
    ],
)
def test_values_out_of_range_are_refused_by_name(chosen, param):
    with pytest.raises(OptionError) as caught:
        FormatOptions(**chosen)
    assert caught.value.data["param"] == param


def test_formats_name_their_options():
    assert {name: one.options for name, one in FORMATS.items()} == {
        "json": (),
        "txt": ("speaker_labels", "timestamps"),
        "srt": (*BOUNDS, "speaker_labels"),
        "vtt": (*BOUNDS, "speaker_labels"),
        "docx": ("speaker_labels", "timestamps"),
        "tsv": (),
    }
