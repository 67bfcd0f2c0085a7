from __future__ import annotations

import os

import pytest

from tests.transcription.speech.conftest import running
from transcription.speech import errors
from transcription.speech.engines import protocol, remote, server


def test_clip_frames_are_checked():
    protocol.check_clip([b"1234"])


def test_unusable_addresses_are_refused():
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine("tcp://127.0.0.1:5555")
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine("ipc:///" + "x" * 120)
    with pytest.raises(errors.EngineUnavailable):
        server.serve(None, address="tcp://127.0.0.1:5555")


def test_longest_path_works(tmp_path_factory, clip):
    folder = str(tmp_path_factory.mktemp("l"))
    path = folder + "/" + "x" * (protocol.MAX_PATH_BYTES - len(folder) - 1)
    assert len(os.fsencode(path)) == protocol.MAX_PATH_BYTES
    with running(f"ipc://{path}", "pocketsphinx") as engine:
        assert engine.health()["pid"] == engine.process.pid
