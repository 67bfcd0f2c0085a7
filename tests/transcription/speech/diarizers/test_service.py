from __future__ import annotations

import msgpack
import numpy as np
import pytest

from transcription.speech.diarizers.service import RemoteDiarizer, make_handler
from transcription.speech.errors import EngineFailed, EngineUnavailable, OptionError, Stopped
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn


def over_the_wire(find):
    """Return an `Ask` that packs both messages as the socket does."""
    answer = make_handler(find)
    return lambda message: msgpack.unpackb(
        msgpack.packb(answer(msgpack.unpackb(msgpack.packb(message)), [], lambda: False))
    )


def diarization(ask, folder, **options):
    remote = RemoteDiarizer("model", ask=ask, max_seconds=60, folder=folder)
    begun = remote.begin(options=TranscriptionOptions(**options))
    begun.add(0, np.zeros(32_000, dtype=np.float32))
    return begun


def test_turns_come_back_as_the_model_gave_them(tmp_path):
    asked = []

    def find(path, options, should_stop):
        asked.append((path.parent, path.stat().st_size, options.max_speakers))
        return [Turn(0, 900, "A"), Turn(500, 700, "B", is_background=True)]

    found = diarization(over_the_wire(find), tmp_path, max_speakers=2).turns()
    assert found == [Turn(0, 900, "S1"), Turn(500, 700, "S2", is_background=True)]
    assert asked == [(tmp_path, 64_000, 2)]


def test_failure_of_the_model_means_the_neural_diarizer(tmp_path):
    def find(path, options, should_stop):
        raise EngineFailed

    begun = diarization(over_the_wire(find), tmp_path)
    assert {turn.speaker for turn in begun.turns()} == {"S1"}
    assert begun.name == "neural"


def test_stop_is_no_failure(tmp_path):
    """Falling back to the neural diarizer would keep the worker busy with a canceled job."""

    def find(path, options, should_stop):
        raise Stopped

    begun = diarization(over_the_wire(find), tmp_path)
    with pytest.raises(Stopped):
        begun.turns()
    assert begun.name == "model"
    assert list(tmp_path.iterdir()) == []


def test_missing_engine_process_is_told_to_the_caller(tmp_path):
    def ask(message):
        raise EngineUnavailable

    with pytest.raises(EngineUnavailable):
        diarization(ask, tmp_path).turns()


@pytest.mark.parametrize("message", [{}, {"path": 3, "options": {}}, {"path": "x", "options": 5}])
def test_broken_request_is_the_engines_failure(message):
    with pytest.raises(EngineFailed):
        make_handler(lambda path, options, should_stop: [])(message, [], lambda: False)


def test_option_out_of_range_is_refused():
    with pytest.raises(OptionError):
        make_handler(lambda *_: [])({"path": "x", "options": {"num_speakers": 99}}, [], lambda: False)
