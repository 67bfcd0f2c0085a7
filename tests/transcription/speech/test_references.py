from __future__ import annotations

import pytest

from tests.fixtures import recordings
from transcription.speech import references
from transcription.speech.transcript import Turn


def test_references_beside_the_audio_are_found(labelled):
    (one,) = references.of_folder(labelled)
    (turn,) = recordings.named("sentence-slt.wav").turns
    assert (one.path.name, one.text) == ("call.wav", "I would like to change the time of my appointment.\n")
    assert one.turns == (Turn(turn["start_ms"], turn["end_ms"], "anna"),)


def test_our_own_recordings_are_found():
    found = references.of_folder(recordings.FOLDER)
    assert {one.path.name for one in found} == {one.path.name for one in recordings.everything()}


def test_folder_without_references_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no recordings\.json"):
        references.of_folder(tmp_path)


def test_single_recording_is_found_by_its_name(labelled):
    assert references.of_file(labelled / "call.wav") == references.of_folder(labelled)[0]


def test_recording_without_a_reference_is_named(labelled):
    with pytest.raises(ValueError, match=r"copy\.wav has no \.txt and no \.rttm beside it"):
        references.of_file(labelled / "copy.wav")


def test_real_recordings_are_the_meetings_and_the_call(labelled):
    """The call is downloaded once; here its place has other files of that name."""
    call = labelled / "sample.wav"
    (labelled / "call.wav").rename(call)
    (labelled / "call.rttm").rename(labelled / "sample.rttm")
    found = references.conversations(call=call)
    assert [one.path.parent for one in found] == [references.MEETINGS] * 13 + [labelled]
    assert sum(len({turn.speaker for turn in one.turns}) for one in found[:-1]) == 40


def test_readings_are_six_recordings_with_all_their_words():
    found = references.of_folder(references.READINGS)
    assert [one.path.stem for one in found] == [
        *(f"austen-{number}" for number in ("0870", "0880", "0890", "0920", "0930")),
        "kennedy",
    ]
    assert [len(one.text.split()) for one in found] == [22, 8, 14, 19, 8, 22]
