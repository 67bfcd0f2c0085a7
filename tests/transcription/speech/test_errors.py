from __future__ import annotations

import pickle

import pytest

from transcription.speech import errors


def kinds(kind=errors.SpeechError):
    return [kind, *(found for child in kind.__subclasses__() for found in kinds(child))]


def test_public_types_never_change():
    assert sorted(kind.type for kind in kinds()) == [
        "audio_too_long",
        "decoder_unavailable",
        "empty_audio",
        "engine_error",
        "engine_failed",
        "engine_unavailable",
        "invalid_audio",
        "invalid_option",
        "no_audio_track",
        "no_duration",
        "not_audio",
        "speech_error",
        "stopped",
        "truncated_audio",
        "unknown_diarizer",
        "unknown_engine",
        "unknown_language",
    ]


def test_every_error_travels_between_processes():
    for kind in kinds():
        error = kind("It went wrong.", param="file")
        for copy in (errors.from_dict(error.to_dict(), otherwise=errors.NotAudio), pickle.loads(pickle.dumps(error))):
            assert (type(copy), copy.message, copy.data) == (kind, "It went wrong.", {"param": "file"})


def test_unknown_type_becomes_the_one_asked_for():
    assert type(errors.from_dict({"type": "new"}, otherwise=errors.EngineFailed)) is errors.EngineFailed


@pytest.mark.parametrize(
    ("error_type", "is_fault"),
    [("truncated_audio", True), ("unknown_language", True), ("engine_failed", False), ("stopped", False), ("x", False)],
)
def test_fault_of_the_sender_is_known_by_its_type(error_type, is_fault):
    assert errors.is_senders_fault(error_type) is is_fault
