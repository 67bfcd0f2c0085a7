"""The engine process and its client, over the real socket."""

from __future__ import annotations

import os
import signal
import stat
import threading
import time
from contextlib import closing

import numpy as np
import pytest
import zmq

from tests.fixtures import recordings, tiny_whisper
from tests.transcription.speech.conftest import EngineProcess, running
from transcription.speech import audio, errors
from transcription.speech.engines import client, protocol, remote, server
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import ms_to_samples

OPTIONS = TranscriptionOptions()


def load(path):
    return np.concatenate(list(audio.windows(path, max_duration_ms=600_000)))


@pytest.fixture
def clip():
    return load(recordings.named("sentence-slt.wav").path)


@pytest.fixture(scope="module")
def spoken():
    """(text, clip) of short recordings in two languages that the tiny Whisper hears without an error."""
    names = ("en-hello.wav", "es-hola.wav", "en-meeting.flac", "es-reunion.flac")
    return [(tiny_whisper.samples()[name].text, load(tiny_whisper.SAMPLES / name)) for name in names]


def heard(engine, clips, options=OPTIONS):
    return [" ".join(word.text for word in one.words) for one in engine.recognise(clips, options=options)]


def in_threads(*calls):
    """Run the calls at the same time and return their results."""
    results = [None] * len(calls)

    def run(index, call):
        results[index] = call()

    threads = [threading.Thread(target=run, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    return results


def test_life_of_an_engine_process(sphinx_process, address, clip):
    """One process, since a start takes most of a second: description, words, errors, statistics, access, clean stop."""
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
    assert sphinx_process.process.wait(timeout=10) == 0
    assert not path.exists()
    assert remote.health(address, 0.2) is None


@pytest.mark.parametrize("delay", [0.05, 0.7], ids=["before-the-first-ping", "between-pings"])
def test_killed_process_loses_no_request(delay, new_whisper_process, address, spoken):
    """Four jobs at once, in two languages; the process is killed and another one takes its place."""
    jobs = [remote.RemoteEngine(address, job_id=str(number), timeout_seconds=30) for number in range(4)]
    clips = [clip for _, clip in spoken] * 2

    def kill():
        time.sleep(delay)
        before = first.health()["instance"]
        first.kill()
        first.start()
        return before

    with new_whisper_process() as first:
        *results, instance = in_threads(*(lambda job=job: heard(job, clips) for job in jobs), kill)
        assert results == [[text for text, _ in spoken] * 2] * 4
        after = first.health()
        assert after["instance"] != instance
        assert after["waiting"] == 0


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


def test_one_job_does_not_hold_up_another(whisper_process, spoken):
    """A bulk job of many long clips is under way; an interactive one is answered among its first batches."""
    long_one = load(tiny_whisper.SAMPLES / "en-long.flac")[: ms_to_samples(30_000)]
    done = []

    def bulk():
        engine = remote.RemoteEngine(whisper_process.address, job_id="bulk", priority="bulk")
        done.extend("bulk" for _ in engine.stream([long_one] * 24, options=OPTIONS))

    def interactive():
        time.sleep(0.5)
        engine = remote.RemoteEngine(whisper_process.address, job_id="interactive", priority="interactive")
        assert heard(engine, [spoken[0][1]]) == [spoken[0][0]]
        done.append("interactive")

    in_threads(bulk, interactive)
    assert len(done) == 25
    assert done.index("interactive") < 20


def test_requests_of_a_vanished_client_are_dropped(sphinx_process, address, clip, monkeypatch):
    """Here the client says goodbye; one that cannot is noticed by its silence (see `test_silent_client`)."""
    engine = remote.RemoteEngine(address, timeout_seconds=30)
    stream = engine.stream([clip] * 50, options=OPTIONS)
    next(stream)
    stream.close()
    engine.close()
    deadline = time.monotonic() + 10
    while sphinx_process.health()["waiting"]:
        assert time.monotonic() < deadline
    assert sphinx_process.health()["clips"] < 10


def test_silent_client_is_taken_for_gone(clip, monkeypatch):
    dropped = []

    class Recogniser:
        kind = "recognise"

        def cancel(self, ids):
            dropped.extend(ids)

    monkeypatch.setattr(server, "CLIENT_TIMEOUT_SECONDS", 0.1)
    served = server._Server(Recogniser(), (), address="ipc:///nowhere")
    for number, identity in enumerate((b"a", b"b")):
        served._requests[str(number)] = server.Request(str(number), "recognise", identity, {})
        served._last_heard_at[identity] = time.monotonic()
    time.sleep(0.15)
    served._last_heard_at[b"b"] = time.monotonic()
    served._drop_silent_clients()
    assert dropped == ["0"]
    assert list(served._requests) == ["1"]


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


def test_second_process_does_not_take_the_socket(sphinx_process, address):
    second = EngineProcess(address, "pocketsphinx").start()
    assert second.process.wait(timeout=10) != 0
    assert sphinx_process.health()["pid"] == sphinx_process.process.pid


def test_other_process_takes_over_from_a_dead_one(new_whisper_process, whisper_process, address, spoken, monkeypatch):
    """Nobody starts the dead one again."""
    monkeypatch.setattr(client, "FAILOVER_SECONDS", 0.5)
    monkeypatch.setattr(remote.RemoteEngine, "_sort_by_load", lambda self: None)
    clips = [clip for _, clip in spoken] * 3
    with new_whisper_process() as first:
        engine = remote.RemoteEngine([address, whisper_process.address], timeout_seconds=30)
        stream = engine.stream(clips, options=TranscriptionOptions(mixed_languages=True))
        results = [next(stream)]
        first.kill()
        results += list(stream)
    assert [" ".join(word.text for word in one.words) for one in results] == [text for text, _ in spoken] * 3


def test_least_busy_process_is_asked_and_equals_are_spread(monkeypatch):
    waiting = {"ipc:///a": 5, "ipc:///b": 0, "ipc:///c": None, "ipc:///d": 0}
    asked = set()
    for job in range(20):
        engine = remote.RemoteEngine(list(waiting), job_id=str(job))
        with monkeypatch.context() as patch:
            answers = {name: None if count is None else {"waiting": count} for name, count in waiting.items()}
            patch.setattr(remote, "health", lambda address, seconds, answers=answers: answers[address])
            engine._sort_by_load()
        asked.add(engine._addresses[0])
        assert engine._addresses[2:] == ["ipc:///a", "ipc:///c"]
    assert asked == {"ipc:///b", "ipc:///d"}


def test_nobody_there_is_said_at_the_deadline(address, clip):
    engine = remote.RemoteEngine(address, timeout_seconds=0.3)
    begun = time.monotonic()
    with pytest.raises(errors.EngineUnavailable):
        engine.recognise([clip], options=OPTIONS)
    with pytest.raises(errors.EngineUnavailable):
        _ = engine.name
    assert time.monotonic() - begun < 3
    engine.close()


@pytest.fixture
def small_server(address, monkeypatch):
    """A small server that answers requests as it is told to stands in for an engine in trouble."""
    path = protocol.socket_path(address)
    path.parent.mkdir(parents=True)
    is_over = threading.Event()
    described = {
        "name": "small",
        "languages": None,
        "max_clip_ms": 30_000,
        "pause_ms": 600,
        "packs_clips": True,
        "notes": [],
        "supported_options": [],
        "in_flight": 4,
    }
    threads = []

    def start(answer):
        def serve():
            with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
                router.linger = 0
                router.bind(address)
                while not is_over.is_set():
                    if not router.poll(50):
                        continue
                    client, packed, *frames = router.recv_multipart()
                    message = protocol.unpack(packed)
                    if message["kind"] == "ping":
                        pong = {"kind": "pong", "unknown": [], "waiting": 0, "engine": described, "engines": {}}
                        router.send_multipart([client, protocol.pack({"id": message["id"], **pong})])
                    elif message["kind"] == "recognise":
                        reply = {"id": message["id"], **answer(message, frames)}
                        router.send_multipart([client, protocol.pack(reply)])

        threads.append(threading.Thread(target=serve))
        threads[-1].start()
        return remote.RemoteEngine(address, timeout_seconds=10)

    yield start
    is_over.set()
    for thread in threads:
        thread.join(timeout=5)


def test_full_queue_asks_to_come_again(small_server, clip, monkeypatch):
    monkeypatch.setattr(client, "BUSY_RETRY_SECONDS", 0.05)
    asked = []

    def answer(message, frames):
        asked.append(message["id"])
        done = {"kind": "result", "recognition": ["en", None, [["yes", 0, 10, 0.5]]]}
        return done if len(asked) >= 3 else {"kind": "busy"}

    assert heard(small_server(answer), [clip]) == ["yes"]
    assert len(asked) == 3
    assert len(set(asked)) == 1


def test_recording_keeps_to_the_language_of_its_first_clear_clip(small_server, clip):
    """The first clip is unclear, the second clear, the third is heard in another language: it is asked again."""
    by_length = {1000: ("nn", 0.2), 2000: ("en", 0.9), 3000: ("de", 0.95), 4000: ("en", 0.8)}

    def answer(message, frames):
        told = message["options"]["language"]
        language, sure = by_length[len(frames[0]) // 4]
        word = f"{language}-in-{told}"
        return {"kind": "result", "recognition": [told or language, None if told else sure, [[word, 0, 10, 0.5]]]}

    engine = small_server(answer)
    clips = [clip[:1000], clip[:2000], clip[:3000], clip[:4000], clip[:2000], clip[:3000]]
    results = list(engine.stream(iter(clips), options=OPTIONS))
    assert {(one.language, one.language_probability) for one in results} == {("en", 0.9)}
    texts = [one.words[0].text for one in results]
    assert texts[0] == "nn-in-en"
    assert texts[2] == "de-in-en"
    assert texts[5] == "de-in-en"
    assert texts[1] in ("en-in-None", "en-in-en")

    mixed = TranscriptionOptions(mixed_languages=True)
    assert [one.language for one in engine.stream(iter(clips), options=mixed)] == ["nn", "en", "de", "en", "en", "de"]


def test_clips_are_taken_only_a_few_ahead(small_server, clip):
    taken = []

    def clips():
        for number in range(20):
            taken.append(number)
            yield clip

    def answer(message, frames):
        time.sleep(0.02)
        return {"kind": "result", "recognition": ["en", 0.9, [["yes", 0, 10, 0.5]]]}

    ahead = []
    for done, _ in enumerate(small_server(answer).stream(clips(), options=OPTIONS)):
        ahead.append(len(taken) - done)
    assert len(ahead) == 20
    assert max(ahead) <= 6


def test_one_question_of_any_kind(whisper_process, spoken, address):
    message = {"kind": "recognise", "options": OPTIONS.to_dict()}
    with closing(client.EngineClient([whisper_process.address], timeout_seconds=30)) as asker:
        answer = asker.ask(message, [protocol.pack_clip(spoken[0][1])])
        assert [word[0] for word in answer["recognition"][2]] == spoken[0][0].split()
        with pytest.raises(errors.OptionError):
            asker.ask({**message, "options": {"task": "sing"}}, [b"1234"])
    with (
        closing(client.EngineClient([address], timeout_seconds=0.2)) as asker,
        pytest.raises(errors.EngineUnavailable),
    ):
        asker.ask(message)


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
