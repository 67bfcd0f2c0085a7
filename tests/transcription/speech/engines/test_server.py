"""The server of the engine process, over the real socket."""

from __future__ import annotations

import signal
import stat
import threading
import time

import numpy as np
import pytest
import zmq

from tests.fixtures import recordings, tiny_whisper
from tests.transcription.speech.conftest import EngineProcess
from tests.transcription.speech.engines.recognising import OPTIONS, heard, in_threads, load
from transcription.speech import errors
from transcription.speech.engines import protocol, remote, server
from transcription.speech.engines.base import StreamedClip
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import ms_to_samples


@pytest.mark.long
def test_life_of_an_engine_process(sphinx_process, address, clip):
    """All of it with one process, since a start takes most of a second."""
    engine = remote.RemoteEngine(address, timeout_seconds=30)
    assert (engine.name, engine.languages, engine.supported_options) == ("pocketsphinx", frozenset({"en"}), frozenset())
    assert engine.notes

    text = recordings.named("sentence-slt.wav").text
    assert heard(engine, [clip, np.zeros(1600, dtype=np.float32), clip]) == [text, "", text]
    assert heard(engine, []) == []

    with pytest.raises(errors.UnknownLanguage):
        engine.recognise([clip], options=TranscriptionOptions(language="fr"))
    with pytest.raises(errors.EngineFailed):
        engine.recognise([np.zeros(ms_to_samples(36_000), dtype=np.float32)], options=OPTIONS)
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine(address, model="huge", timeout_seconds=30).recognise([clip], options=OPTIONS)
    assert heard(engine, [clip]) == [text]

    state = sphinx_process.health()
    assert (state["pid"], state["clips"], state["waiting"]) == (sphinx_process.process.pid, 4, 0)
    assert state["batch_sizes"] == {"1": 4}

    path = protocol.socket_path(address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    sphinx_process.process.send_signal(signal.SIGTERM)
    assert sphinx_process.process.wait(timeout=60) == 0
    assert not path.exists()
    assert remote.health(address, 0.2) is None


@pytest.mark.slow
def test_clips_of_many_jobs_share_batches(whisper_process, spoken):
    before = whisper_process.health()
    calls = [
        lambda pair=pair, number=number: heard(
            remote.RemoteEngine(whisper_process.address, job_id=str(number)), [pair[1]]
        )
        for number, pair in enumerate(spoken * 4)
    ]
    assert in_threads(*calls) == [[text] for text, _ in spoken * 4]
    after = whisper_process.health()
    assert after["clips"] - before["clips"] == 16
    assert sum(after["batch_sizes"].values()) - sum(before["batch_sizes"].values()) <= 8


@pytest.mark.long
def test_pings_are_answered_while_it_computes(whisper_process, spoken):
    long_one = load(tiny_whisper.SAMPLES / "en-long.flac")[: ms_to_samples(30_000)]
    slowest = 0.0
    is_over = threading.Event()

    def watch():
        nonlocal slowest
        while not is_over.is_set():
            started = time.monotonic()
            whisper_process.health()
            slowest = max(slowest, time.monotonic() - started)

    def work():
        heard(remote.RemoteEngine(whisper_process.address), [long_one] * 4)
        is_over.set()

    in_threads(watch, work)
    assert slowest < 0.7


@pytest.mark.slow
def test_one_job_does_not_hold_up_another(whisper_process, spoken):
    """While a bulk job of many long clips runs, an interactive job is answered with its first batches."""
    long_one = load(tiny_whisper.SAMPLES / "en-long.flac")[: ms_to_samples(30_000)]
    done = []

    def bulk():
        engine = remote.RemoteEngine(whisper_process.address, job_id="bulk", priority="bulk")
        done.extend("bulk" for _ in engine.stream([StreamedClip(long_one)] * 24, options=OPTIONS))

    def interactive():
        time.sleep(0.5)
        engine = remote.RemoteEngine(whisper_process.address, job_id="interactive", priority="interactive")
        assert heard(engine, [spoken[0][1]]) == [spoken[0][0]]
        done.append("interactive")

    in_threads(bulk, interactive)
    assert len(done) == 25
    assert done.index("interactive") < 20


@pytest.mark.long
def test_requests_of_a_vanished_client_are_dropped(sphinx_process, address, clip, monkeypatch):
    """Here the client cancels its requests. `test_silent_client_is_taken_for_gone` has a client that cannot."""
    engine = remote.RemoteEngine(address, timeout_seconds=30)
    stream = engine.stream([StreamedClip(clip)] * 50, options=OPTIONS)
    next(stream)
    stream.close()
    engine.close()
    deadline = time.monotonic() + 10
    while sphinx_process.health()["waiting"]:
        assert time.monotonic() < deadline
    assert sphinx_process.health()["clips"] < 10


def test_silent_client_is_taken_for_gone(clip):
    dropped = []

    class Recogniser:
        kind = "recognise"

        def cancel(self, ids):
            dropped.extend(ids)

    served = server.EngineServer(Recogniser(), (), address="ipc:///nowhere", client_timeout_seconds=60)
    for number, identity in enumerate((b"\0a", b"\0b")):
        served._requests[str(number)] = server.Request(str(number), "recognise", identity, {})
        served._last_heard_at[identity] = time.monotonic()
    served._last_heard_at[b"\0a"] -= 61
    served._drop_silent_clients()
    assert dropped == ["0"]
    assert list(served._requests) == ["1"]


def test_released_requests_are_forgotten_and_no_others():
    class Recogniser:
        kind = "recognise"

        def release(self, ids):
            return dict.fromkeys(set(ids) & {"1"}, 70)

    served = server.EngineServer(Recogniser(), (), address="ipc:///nowhere")
    served._requests.update((one, server.Request(one, "recognise", b"\0a", {})) for one in "012")
    answer = served._handle(b"\0a", [protocol.pack({"kind": "release", "id": "", "ids": ["1", "2", "3"]})])
    assert answer == {"id": "", "kind": "released", "waited_ms": {"1": 70}}
    assert list(served._requests) == ["0", "2"]


def test_garbage_does_not_stop_the_process(whisper_process, spoken):
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 500
        socket.connect(whisper_process.address)
        for frames in ([b""], [b"\xc1"], [b"\x80"], [protocol.pack({"kind": "recognise"})], [b"x"] * 80):
            socket.send_multipart(frames)
        socket.send_multipart([protocol.pack({"kind": "recognise", "id": "1", "options": {"task": "sing"}}), b"1234"])
        socket.send_multipart([protocol.pack({"kind": "recognise", "id": "2", "options": {}}), b"odd"])
        socket.send_multipart([protocol.pack({"kind": "recognise", "id": "3", "options": 7}), b"1234"])
        socket.send_multipart([protocol.pack({"kind": "ping", "id": "4", "about": 7})])
        socket.send_multipart([protocol.pack({"kind": "cancel", "id": "5", "ids": 7})])
        assert heard(remote.RemoteEngine(whisper_process.address), [spoken[0][1]]) == [spoken[0][0]]


@pytest.mark.long
def test_second_process_does_not_take_the_socket(sphinx_process, address):
    second = EngineProcess(address, "pocketsphinx").start()
    assert second.process.wait(timeout=60) != 0
    assert sphinx_process.health()["pid"] == sphinx_process.process.pid
