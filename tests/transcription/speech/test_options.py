from __future__ import annotations

import json

import pytest

from transcription.speech.errors import OptionError
from transcription.speech.options import TranscriptionOptions


def test_options_survive_json():
    options = TranscriptionOptions(language="en", hotwords=("a", "b"), num_speakers=2)
    assert TranscriptionOptions.from_dict(json.loads(json.dumps(options.to_dict()))) == options


def test_keys_of_a_newer_version_are_ignored():
    assert TranscriptionOptions.from_dict({"language": "en", "mood": "good"}) == TranscriptionOptions(language="en")


@pytest.mark.parametrize(
    ("values", "param"),
    [
        ({"num_speakers": 0}, "num_speakers"),
        ({"max_speakers": 21}, "max_speakers"),
        ({"min_speakers": 3, "max_speakers": 2}, "min_speakers"),
        ({"task": "sing"}, "task"),
        ({"channels": "left"}, "channels"),
    ],
)
def test_wrong_value_names_its_option(values, param):
    with pytest.raises(OptionError) as caught:
        TranscriptionOptions(**values)
    assert caught.value.data["param"] == param


def test_number_of_speakers_wins_over_bounds():
    assert TranscriptionOptions(num_speakers=3, min_speakers=1, max_speakers=9).speaker_bounds == (3, 3)
    assert TranscriptionOptions(min_speakers=2).speaker_bounds == (2, 20)


def test_contradictions_of_stored_options_are_still_read():
    """Jobs that were accepted before a rule existed keep the meaning that they had then."""
    stored = TranscriptionOptions(num_speakers=2, min_speakers=1).to_dict()
    options = TranscriptionOptions.from_dict(stored)
    with pytest.raises(OptionError):
        options.refuse_contradictions()
