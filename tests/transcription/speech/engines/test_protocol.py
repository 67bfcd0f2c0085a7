from __future__ import annotations

import os

import pytest

from tests.transcription.speech.conftest import running
from transcription.speech import errors
from transcription.speech.engines import protocol, remote, server
from transcription.speech.engines.base import Recognition
from transcription.speech.transcript import Word


def test_clip_of_the_longest_length_is_accepted():
    protocol.check_clip([bytes(protocol.MAX_CLIP_BYTES)])


@pytest.mark.parametrize(
    "frames",
    [[], [b"1234", b"1234"], [b"odd"], [bytes(protocol.MAX_CLIP_BYTES + 4)]],
    ids=["none", "two", "part-of-a-sample", "too-long"],
)
def test_other_frames_are_no_clip(frames):
    with pytest.raises(errors.EngineFailed):
        protocol.check_clip(frames)


def test_recognition_survives_the_way():
    words = (Word("我们", 0, 100, 0.5, has_space_before=False), Word("AI", 100, 200, 0.25))
    recognition = Recognition(words, "zh", 0.75)
    assert protocol.recognition_from_list(protocol.recognition_to_list(recognition)) == recognition


def test_words_of_an_older_engine_process_have_blanks():
    [word] = protocol.recognition_from_list(["en", 0.9, [["yes", 0, 10, 0.5]]]).words
    assert word.has_space_before


def test_unusable_addresses_are_refused():
    for address in ("tcp://127.0.0.1:5555", f"tcp://{'0' * 64}@127.0.0.1", "http://127.0.0.1:5555"):
        with pytest.raises(errors.EngineUnavailable):
            remote.RemoteEngine(address)
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine([])
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine("ipc:///" + "x" * 120)
    with pytest.raises(errors.EngineUnavailable):
        server.serve(None, address="tcp://127.0.0.1:5555")


@pytest.mark.long
def test_longest_path_works(tmp_path_factory, clip):
    folder = str(tmp_path_factory.mktemp("l"))
    path = folder + "/" + "x" * (protocol.MAX_PATH_BYTES - len(folder) - 1)
    assert len(os.fsencode(path)) == protocol.MAX_PATH_BYTES
    with running(f"ipc://{path}", "pocketsphinx") as engine:
        assert engine.health()["pid"] == engine.process.pid
