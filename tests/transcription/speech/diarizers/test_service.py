from __future__ import annotations

import msgpack
import numpy as np
import pytest

from transcription.speech.diarizers import spool
from transcription.speech.diarizers.service import ABANDONED_SECONDS, Recordings, RemoteDiarizer, make_handler
from transcription.speech.errors import EngineFailed, EngineUnavailable, OptionError, Stopped
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Turn


def engine_process(find, folder, *, max_seconds=60, recordings=None):
    """Return an `Ask` that packs messages as the socket does and answers as an engine process with this model."""
    recordings = recordings or Recordings(folder=folder, max_seconds=max_seconds)
    handler = make_handler(find, recordings=recordings)

    def ask(message, frames):
        message = msgpack.unpackb(msgpack.packb(message))
        answer = recordings.take(message, list(frames))
        if answer is None:
            answer = handler(message, [], lambda: False)
        return msgpack.unpackb(msgpack.packb(answer))

    return ask


def diarization(ask, folder, *, seconds=2, **options):
    """Begin with `seconds` of sound, and after a minute of silence as much again if it is more than two."""
    remote = RemoteDiarizer("model", ask=ask, max_seconds=600, folder=folder)
    begun = remote.begin(options=TranscriptionOptions(**options))
    sound = np.random.default_rng(1).uniform(-0.5, 0.5, seconds * 16_000).astype(np.float32)
    begun.add(0, sound)
    if seconds > 2:
        begun.add((seconds + 70) * 1000, sound)
    return begun


@pytest.fixture
def hosts(tmp_path):
    """The folders of a worker and of two engine processes, which share none."""
    folders = [tmp_path / name for name in ("worker", "engine", "other")]
    for folder in folders:
        folder.mkdir()
    yield folders
    assert [list(folder.iterdir()) for folder in folders] == [[], [], []]


def test_turns_come_back_as_the_model_gave_them(hosts):
    worker, engine, _ = hosts
    asked = []

    def find(path, options, should_stop):
        asked.append((path.parent, path.stat().st_size, options.max_speakers))
        return [Turn(0, 900, "A"), Turn(500, 700, "B", is_background=True)]

    found = diarization(engine_process(find, engine), worker, max_speakers=2).turns()
    assert found == [Turn(0, 900, "S1"), Turn(500, 700, "S2", is_background=True)]
    assert asked == [(engine, 64_000, 2)]


def test_model_hears_what_the_worker_decoded_and_no_silence_is_sent(hosts):
    worker, engine, _ = hosts
    heard, sent = [], []
    ask = engine_process(lambda path, *_: heard.append(path.read_bytes()) or [], engine, max_seconds=600)

    def watching(message, frames):
        sent.extend(map(len, frames))
        return ask(message, frames)

    begun = diarization(watching, worker, seconds=80)
    whole = begun._spool.path.read_bytes()
    begun.turns()
    assert heard == [whole]
    assert max(sent) <= spool.PART_BYTES
    assert sum(sent) == len(whole) - spool.PART_BYTES  # of 70 seconds, one part is silent from end to end


@pytest.mark.parametrize("lost_at", [1, 2, 3])
def test_another_engine_process_gets_all_of_it_again(hosts, lost_at):
    """The first one is gone before it has all parts, or before it has found the turns."""
    worker, engine, other = hosts
    heard = []
    left = Recordings(folder=engine, max_seconds=600)
    first = engine_process(lambda *_: pytest.fail("it is gone"), engine, recordings=left)

    def find(path, options, should_stop):
        heard.append(path.stat().st_size)
        return [Turn(0, 900, "A")]

    second = engine_process(find, other, max_seconds=600)
    asked = []

    def ask(message, frames):
        asked.append(message)
        return (first if len(asked) <= lost_at - 1 else second)(message, frames)

    begun = diarization(ask, worker, seconds=40)
    assert begun.turns() == [Turn(0, 900, "S1")]
    assert heard == [150 * 32_000]
    with left.taken(asked[0]["recording"]):  # the first process is gone, and with it its file
        pass


def test_worker_does_not_send_for_ever(hosts):
    def ask(message, frames):
        return {"is_missing": True}

    with pytest.raises(EngineUnavailable):
        diarization(ask, hosts[0]).turns()


def test_what_a_vanished_worker_left_is_removed_with_the_next_recording(hosts, monkeypatch):
    engine = hosts[1]
    recordings = Recordings(folder=engine, max_seconds=60)
    recordings.take({"recording": "left", "number": 0, "offset": 0}, [b"12"])
    recordings._received["left"].touched_at -= ABANDONED_SECONDS + 1
    recordings.take({"recording": "next", "number": 0, "offset": 0}, [b"12"])
    assert len(list(engine.iterdir())) == 1
    with recordings.taken("next") as path:
        assert path.read_bytes() == b"12"


@pytest.mark.parametrize("offset", [-2, 60 * 32_000])
def test_part_outside_of_the_longest_recording_is_refused(hosts, offset):
    recordings = Recordings(folder=hosts[1], max_seconds=60)
    with pytest.raises(EngineFailed):
        recordings.take({"recording": "r", "number": 0, "offset": offset}, [b"12"])


def test_no_client_can_name_a_path(hosts, tmp_path):
    ask = engine_process(lambda *_: pytest.fail("a model read it"), hosts[1])
    secret = tmp_path / "secret"
    question = {"recording": str(secret), "path": str(secret), "parts": 0, "options": {}}
    assert ask(question, []) == {"is_missing": True}


def test_failure_of_the_model_means_the_neural_diarizer(hosts):
    def find(path, options, should_stop):
        raise EngineFailed

    begun = diarization(engine_process(find, hosts[1]), hosts[0])
    begun.turns()
    assert begun.name == "neural"


def test_stop_is_no_failure(hosts):
    """Falling back to the neural diarizer would keep the worker busy with a canceled job."""

    def find(path, options, should_stop):
        raise Stopped

    begun = diarization(engine_process(find, hosts[1]), hosts[0])
    with pytest.raises(Stopped):
        begun.turns()
    assert begun.name == "model"


def test_missing_engine_process_is_told_to_the_caller(hosts):
    def ask(message, frames):
        raise EngineUnavailable

    with pytest.raises(EngineUnavailable):
        diarization(ask, hosts[0]).turns()


@pytest.mark.parametrize("message", [{}, {"recording": "r"}, {"recording": "r", "parts": "x", "options": {}}])
def test_broken_request_is_the_engines_failure(message):
    with pytest.raises(EngineFailed):
        Recordings(folder=None, max_seconds=60).take(message, [])


def test_option_out_of_range_is_refused(hosts):
    handler = make_handler(lambda *_: [], recordings=Recordings(folder=hosts[1], max_seconds=60))
    with pytest.raises(OptionError):
        handler({"recording": "r", "options": {"num_speakers": 99}}, [], lambda: False)
