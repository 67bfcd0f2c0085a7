"""The engine process and its client, over the real socket."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import zmq

from tests.fixtures import recordings
from transcription.speech import audio, errors
from transcription.speech.engines import host, protocol, remote
from transcription.speech.options import TranscriptionOptions

OPTIONS = TranscriptionOptions()


def start(address):
    command = [sys.executable, "-m", "transcription.speech.engines.host", "pocketsphinx", address]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_until_ready(address):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        state = remote.health(address, 1)
        if state and state["state"] == "ready":
            return state
        time.sleep(0.05)
    raise AssertionError("the engine process did not start")


@pytest.fixture
def address(tmp_path_factory):
    return f"ipc://{tmp_path_factory.mktemp('e')}/s/engine.sock"


@pytest.fixture
def process(address):
    started = start(address)
    wait_until_ready(address)
    yield started
    started.kill()
    started.wait()


@pytest.fixture
def clip():
    return np.concatenate(list(audio.windows(recordings.named("sentence-slt.wav").path, max_duration_ms=60_000)))


def heard(engine, clips, options=OPTIONS):
    return [" ".join(word.text for word in one.words) for one in engine.recognise(clips, options=options)]


def test_life_of_an_engine_process(process, address, clip):
    """One process, since a start takes most of a second: description, words, errors, statistics, access, clean stop."""
    engine = remote.RemoteEngine(address, timeout_seconds=30)
    assert (engine.name, engine.languages, engine.honours) == ("pocketsphinx", frozenset({"en"}), frozenset())
    assert engine.notes

    text = recordings.named("sentence-slt.wav").text
    assert heard(engine, [clip, np.zeros(1600, dtype=np.float32), clip]) == [text, "", text]
    assert heard(engine, []) == []

    with pytest.raises(errors.UnknownLanguage):
        engine.recognise([clip], options=TranscriptionOptions(language="fr"))
    with pytest.raises(errors.EngineFailed):
        engine.recognise([np.zeros(100, dtype=np.float32)] * (protocol.MAX_CLIPS + 1), options=OPTIONS)
    assert heard(engine, [clip]) == [text]

    state = remote.health(address, 5)
    assert state is not None
    assert (state["pid"], state["clips"], state["failures"], state["waiting"]) == (process.pid, 4, 1, 0)

    path = protocol.socket_path(address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 0
    assert not path.exists()
    assert remote.health(address, 0.2) is None


@pytest.mark.parametrize("delay", [0.2, 1.0], ids=["before-the-first-ping", "between-pings"])
def test_killed_process_loses_no_request(delay, process, address, clip):
    engine = remote.RemoteEngine(address, timeout_seconds=30)
    before = remote.health(address, 5)
    results = []
    asking = threading.Thread(target=lambda: results.append(heard(engine, [clip] * 6)))
    asking.start()
    time.sleep(delay)
    process.kill()
    process.wait()
    second = start(address)
    try:
        asking.join(timeout=30)
        assert results == [[recordings.named("sentence-slt.wav").text] * 6]
        after = remote.health(address, 5)
        assert before is not None
        assert after is not None
        assert after["instance"] != before["instance"]
    finally:
        second.kill()
        second.wait()


def test_several_workers_are_served(process, address, clip):
    results = []
    workers = [
        threading.Thread(target=lambda: results.append(heard(remote.RemoteEngine(address, 30), [clip])))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=30)
    assert results == [[recordings.named("sentence-slt.wav").text]] * 4


def test_garbage_does_not_stop_the_process(process, address, clip):
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.linger = 500
        socket.connect(address)
        for frames in ([b""], [b"\xc1"], [b"\x80"], [protocol.pack({"kind": "recognise"})], [b"x"] * 80):
            socket.send_multipart(frames)
        socket.send_multipart([protocol.pack({"kind": "recognise", "id": "1", "options": {"task": "sing"}})])
        socket.send_multipart([protocol.pack({"kind": "recognise", "id": "2", "options": {}}), b"odd"])
        assert heard(remote.RemoteEngine(address, 30), [clip])


def test_second_process_does_not_take_the_socket(process, address):
    second = start(address)
    assert second.wait(timeout=10) != 0
    state = remote.health(address, 5)
    assert state is not None
    assert state["pid"] == process.pid


def test_nobody_there_is_said_at_the_deadline(address, clip):
    engine = remote.RemoteEngine(address, timeout_seconds=0.3)
    begun = time.monotonic()
    with pytest.raises(errors.EngineUnavailable):
        engine.recognise([clip], options=OPTIONS)
    with pytest.raises(errors.EngineUnavailable):
        _ = engine.name
    assert time.monotonic() - begun < 3
    engine.close()


def test_full_queue_asks_to_come_again(address, clip, monkeypatch):
    """A small server that is busy twice stands in for a full queue."""
    path = protocol.socket_path(address)
    path.parent.mkdir(parents=True)
    answered = []
    is_over = threading.Event()

    def serve():
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.bind(address)
            while not is_over.is_set():
                if not router.poll(100):
                    continue
                client, packed, *_ = router.recv_multipart()
                message = protocol.unpack(packed)
                if message["kind"] == "recognise":
                    answered.append(message["id"])
                    done = {"kind": "result", "recognitions": [["en", None, [["yes", 0, 10, 0.5]]]]}
                    answer = done if len(answered) == 3 else {"kind": "busy"}
                    router.send_multipart([client, protocol.pack({"id": message["id"], **answer})])

    monkeypatch.setattr(remote, "BUSY_SECONDS", 0.05)
    server = threading.Thread(target=serve)
    server.start()
    engine = remote.RemoteEngine(address, timeout_seconds=10)
    try:
        assert heard(engine, [clip]) == ["yes"]
    finally:
        is_over.set()
        server.join(timeout=5)
    assert len(answered) == 3
    assert len(set(answered)) == 1
    engine.close()


def test_unusable_addresses_are_refused():
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine("tcp://127.0.0.1:5555")
    with pytest.raises(errors.EngineUnavailable):
        remote.RemoteEngine("ipc:///" + "x" * 120)
    with pytest.raises(errors.EngineUnavailable):
        host.serve("pocketsphinx", address="tcp://127.0.0.1:5555")


def test_longest_path_works(tmp_path_factory, clip):
    folder = str(tmp_path_factory.mktemp("l"))
    path = folder + "/" + "x" * (protocol.MAX_PATH_BYTES - len(folder) - 1)
    assert len(os.fsencode(path)) == protocol.MAX_PATH_BYTES
    process = start(f"ipc://{path}")
    try:
        assert wait_until_ready(f"ipc://{path}")["pid"] == process.pid
    finally:
        process.terminate()
        assert process.wait(timeout=10) == 0
