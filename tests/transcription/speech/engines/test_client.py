"""The client of engine processes, over the real socket."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing

import numpy as np
import pytest
import zmq

from tests.transcription.speech.engines.recognising import OPTIONS, heard, in_threads
from transcription.speech import errors
from transcription.speech.engines import client, protocol, remote
from transcription.speech.engines.base import StreamedClip
from transcription.speech.options import TranscriptionOptions


@pytest.mark.slow
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


@pytest.mark.slow
def test_other_process_takes_over_from_a_dead_one(new_whisper_process, whisper_process, address, spoken):
    """The dead process is not started again."""
    clips = [clip for _, clip in spoken] * 3
    with new_whisper_process() as first:
        engine = remote.RemoteEngine([address, whisper_process.address], timeout_seconds=30, failover_seconds=0.5)
        stream = engine.stream(map(StreamedClip, clips), options=TranscriptionOptions(mixed_languages=True))
        results = [next(stream)]
        first.kill()
        results += list(stream)
    assert [" ".join(word.text for word in one.words) for one in results] == [text for text, _ in spoken] * 3


def test_full_queue_asks_to_come_again(small_server, clip):
    asked = []

    def answer(message, frames):
        asked.append(message["id"])
        done = {"kind": "result", "recognition": ["en", None, [["yes", 0, 10, 0.5]]]}
        return done if len(asked) >= 3 else {"kind": "busy"}

    assert heard(small_server(answer), [clip]) == ["yes"]
    assert len(asked) == 3
    assert len(set(asked)) == 1


@pytest.mark.long
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


class Simulated:
    """Stands at several addresses for engine processes that answer each clip after some time, one after the other.

    states: of the model "premium" at each address. One that is "not loaded" loads it when it is asked to; one that is
    "failed" says so, and one that is "broken" says so only when it gets a clip. queued: requests of others there.
    """

    def __init__(self, folder, *, count, seconds, states=None, queued=0):
        self.addresses = [f"ipc://{folder}/{number}" for number in range(count)]
        self.answered = dict.fromkeys(self.addresses, 0)
        self.waited_ms = {address: [] for address in self.addresses}  # of each clip, as the client says
        self.states, self._queued = dict(zip(self.addresses, states or ["loaded"] * count, strict=True)), queued
        self._seconds, self._is_over = seconds, {address: threading.Event() for address in self.addresses}
        self._threads = [threading.Thread(target=self._serve, args=(address,)) for address in self.addresses]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for address in self.addresses:
            self.stop(address)

    def stop(self, address):
        """Let it say nothing more, as a host that was unplugged."""
        self._is_over[address].set()
        self._threads[self.addresses.index(address)].join()

    def _serve(self, address):
        waiting = []
        described = {
            "name": "simulated",
            "languages": None,
            "max_clip_ms": 30_000,
            "pause_ms": 600,
            "packed_ms": 30_000,
            "notes": [],
            "supported_options": [],
            "max_batch": 4,
            "in_flight": 6,
        }
        with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
            router.linger = 0
            router.bind(address)
            done_at = 0.0
            while not self._is_over[address].is_set():
                if waiting and time.monotonic() >= done_at:
                    identity, request_id, frame = waiting.pop(0)
                    words = [[str(len(frame)), 0, 10, 0.5]]
                    result = {"id": request_id, "kind": "result", "recognition": ["en", 0.9, words]}
                    # Before the answer, after which a test looks at it.
                    self.answered[address] += 1
                    router.send_multipart([identity, protocol.pack(result)])
                    done_at = time.monotonic() + self._seconds
                if not router.poll(5):
                    continue
                identity, packed, *frames = router.recv_multipart()
                message = protocol.unpack(packed)
                if message["kind"] == "ping":
                    known = [one[1] for one in waiting]
                    if message["model"]:
                        self._load(address)
                    state = self.states[address].replace("broken", "loaded")
                    report = {
                        "id": "",
                        "kind": "pong",
                        "unknown": [one for one in message["about"] if one not in known],
                        "waiting": len(waiting) + (self._queued if state == "loaded" else 0),
                        "engine": described,
                        "engines": {"premium": described if state == "loaded" else None},
                        "models": {"premium": {"state": state, "message": "It did not load."}},
                    }
                    router.send_multipart([identity, protocol.pack(report)])
                elif message["kind"] == "release":
                    released = [one for one in waiting[1:] if one[1] in message["ids"]]
                    waiting = [one for one in waiting if one not in released]
                    answer = {"id": "", "kind": "released", "waited_ms": {one[1]: 7000 for one in released}}
                    router.send_multipart([identity, protocol.pack(answer)])
                elif self.states[address] == "broken" and message["kind"] == "recognise":
                    error = errors.EngineUnavailable("It did not load.").to_dict()
                    answer = {"id": message["id"], "kind": "error", "error": error}
                    router.send_multipart([identity, protocol.pack(answer)])
                elif message["kind"] == "recognise":
                    self._load(address)
                    self.waited_ms[address].append(message.get("waited_ms", 0))
                    if not waiting:
                        done_at = time.monotonic() + self._seconds
                    waiting.append((identity, message["id"], frames[0]))

    def _load(self, address):
        if self.states[address] == "not loaded":
            self.states[address] = "loaded"


def premium(members, **limits):
    return closing(remote.RemoteEngine(members, model="premium", **{"timeout_seconds": 30, **limits}))


def texts(engine, count):
    """Return the texts of clips of different lengths, which the simulated engines say back."""
    clips = (StreamedClip(np.zeros(100 + number, dtype=np.float32)) for number in range(count))
    return [one.words[0].text for one in engine.stream(clips, options=TranscriptionOptions(language="en"))]


def expected(count):
    return [str(4 * (100 + number)) for number in range(count)]


@pytest.mark.long
def test_clips_of_one_recording_go_to_all_engines_and_come_back_in_order(tmp_path):
    with Simulated(tmp_path, count=4, seconds=0.04) as engines:
        with closing(remote.RemoteEngine(engines.addresses, timeout_seconds=30)) as engine:
            assert texts(engine, 96) == expected(96)
        # A quarter each, if they are equally fast.
        assert min(engines.answered.values()) >= 8


@pytest.mark.long
def test_clips_that_wait_in_line_move_to_an_engine_without_work_and_keep_their_turn(tmp_path):
    with Simulated(tmp_path, count=2, seconds=0.3) as engines:
        first, second = (client.Member(address, batch=4) for address in engines.addresses)
        members = [first]
        asker = client.EngineClient(lambda: list(members), timeout_seconds=10, spread=4, draw=lambda: 0.0)
        with closing(asker):
            for _ in range(10):
                asker.submit({"kind": "recognise"}, [b"1234"])
            while len(asker) == 10:  # all of them are at the first one
                asker.receive(wait_seconds=0.1)
            members.append(second)
            asker._refresh_at = 0.0
            while len(asker):
                asker.receive(wait_seconds=0.1)
        assert list(engines.answered.values()) in ([6, 4], [7, 3])
        assert set(engines.waited_ms[second.address]) == {7000}


@pytest.mark.parametrize(("others", "wanted"), [(0, [5, 6, 7, 8, 9]), (20, [8, 9]), (590, [])])
def test_clients_of_one_busy_engine_move_their_newest_clips_and_only_their_part(others, wanted, tmp_path):
    """The other engine has nothing to do, and needs its half, or two batches, from all clients together."""
    members = [
        client.Member(f"ipc://{tmp_path}/busy", waiting=others, batch=4),
        client.Member(f"ipc://{tmp_path}/idle", batch=4),
    ]
    asked = []

    class Connection:
        pid = os.getpid()

        def send(self, frames, *, wait_seconds):
            asked.extend(protocol.unpack(frames[0])["ids"])
            return True

    asker = client.EngineClient(lambda: members, timeout_seconds=10, spread=4, draw=lambda: 0.0)
    asker._refresh(time.monotonic())
    busy = asker._links[members[0].address]
    busy.connection, busy.sent = Connection(), dict.fromkeys(map(str, range(10)))
    idle = asker._links[members[1].address]
    # A moment after it was left, before it has said a word: its rest is over, and nobody knows that it is there.
    idle.rest(0.0)
    asker._balance(time.monotonic())
    assert asked == []
    asker._handle(idle, {"kind": "late", "id": "of nobody"})
    asker._balance(time.monotonic() + client.BALANCE_SECONDS)
    assert asked == list(map(str, wanted))


@pytest.mark.long
def test_clips_of_a_lost_engine_go_to_the_others_once_each(tmp_path):
    with Simulated(tmp_path, count=3, seconds=0.02) as engines:
        with closing(remote.RemoteEngine(engines.addresses, timeout_seconds=30, failover_seconds=0.5)) as engine:
            killer = threading.Timer(0.3, engines.stop, [engines.addresses[0]])
            killer.start()
            assert texts(engine, 90) == expected(90)
            killer.join()
        assert engines.answered[engines.addresses[0]] < 40


@pytest.mark.long
def test_engine_that_leaves_the_list_gets_nothing_new_and_one_that_comes_gets_work(tmp_path):
    with Simulated(tmp_path, count=2, seconds=0.02) as engines:
        first, second = (client.Member(address, batch=4) for address in engines.addresses)
        members = [first]
        asker = client.EngineClient(lambda: list(members), timeout_seconds=10, spread=4)
        with closing(asker):
            message = {"kind": "recognise"}
            asker.ask(message, [b"1234"])
            members[:] = [second]
            asker._refresh_at = 0.0
            for _ in range(5):
                asker.ask(message, [b"1234"])
        assert [engines.answered[address] for address in engines.addresses] == [1, 5]


@pytest.mark.long
def test_engine_whose_model_does_not_load_fails_no_recording_of_a_fleet(tmp_path):
    with Simulated(tmp_path, count=3, seconds=0.01, states=["broken", "loaded", "broken"]) as engines:
        with premium(engines.addresses) as engine:
            assert texts(engine, 40) == expected(40)
        assert list(engines.answered.values()) == [0, 40, 0]
        with (
            premium([engines.addresses[0], engines.addresses[2]]) as engine,
            pytest.raises(errors.EngineUnavailable, match="It did not load"),
        ):
            texts(engine, 4)


@pytest.mark.parametrize("is_list", [True, False])
def test_next_engine_is_asked_if_the_model_did_not_load_at_the_first(is_list, tmp_path):
    with Simulated(tmp_path, count=2, seconds=0.0, states=["failed", "not loaded"]) as engines:
        members = [client.Member(address, has_model=False) for address in engines.addresses]
        with premium(engines.addresses if is_list else lambda: members) as engine:
            assert texts(engine, 4) == expected(4)
        with (
            premium(engines.addresses[:1]) as engine,
            pytest.raises(errors.EngineUnavailable, match="It did not load"),
        ):
            texts(engine, 4)


@pytest.mark.long
@pytest.mark.parametrize("has_model", [None, False])
def test_long_recording_makes_no_other_engine_load_its_model(has_model, tmp_path):
    """It goes to all engines that have the model, or to one that has not, if none has."""
    states = ["not loaded", "loaded", "not loaded", "loaded"]
    with Simulated(tmp_path, count=4, seconds=0.02, states=states) as engines:
        told = {"loaded": True, "not loaded": has_model}
        members = [client.Member(address, has_model=told[engines.states[address]]) for address in engines.addresses]
        with premium(lambda: members) as engine:
            assert texts(engine, 60) == expected(60)
        assert list(engines.states.values()) == states
        assert [count > 10 for count in engines.answered.values()] == [False, True, False, True]
        cold = [member for member in members if not member.has_model]
        with premium(lambda: cold) as engine:
            assert texts(engine, 30) == expected(30)
        assert sorted(engines.states.values()) == ["loaded"] * 3 + ["not loaded"]


@pytest.mark.long
def test_one_more_engine_loads_a_model_that_many_wait_for(tmp_path):
    states = ["loaded", "not loaded", "not loaded"]
    with Simulated(tmp_path, count=3, seconds=0.02, states=states, queued=40) as engines:
        members = [
            client.Member(address, waiting=40 * (state == "loaded"), batch=4, has_model=state == "loaded")
            for address, state in engines.states.items()
        ]
        with premium(lambda: members) as engine:
            assert texts(engine, 60) == expected(60)
        assert sorted(engines.states.values()) == ["loaded", "loaded", "not loaded"]


def crowded(engines):
    """Return what leases say of simulated engines where others wait at those that have the model."""
    return [
        client.Member(address, waiting=40 * (state == "loaded"), batch=4, has_model=state == "loaded")
        for address, state in engines.states.items()
    ]


def work_until(asker, engines, is_true):
    """Keep asking, a few clips at a time, until something is so."""
    deadline = time.monotonic() + 60
    while not is_true():
        assert time.monotonic() < deadline, engines.states
        while len(asker) < 4:
            asker.submit({"kind": "recognise"}, [b"1234"])
        asker.receive(wait_seconds=0.1)


@pytest.mark.long
def test_engine_that_cannot_load_a_model_keeps_no_other_one_from_loading_it(tmp_path):
    """It was the first that was told to."""
    states = ["loaded", "failed", "not loaded"]
    with Simulated(tmp_path, count=3, seconds=0.02, states=states, queued=40) as engines:
        members = crowded(engines)
        with closing(client.EngineClient(lambda: members, timeout_seconds=30, model="premium", spread=3)) as asker:
            work_until(asker, engines, lambda: list(engines.states.values()) == ["loaded", "failed", "loaded"])


@pytest.mark.long
def test_engine_whose_model_did_not_load_is_tried_again_while_others_have_it(tmp_path):
    with Simulated(tmp_path, count=2, seconds=0.02, states=["loaded", "failed"], queued=40) as engines:
        members, failed = crowded(engines), engines.addresses[1]
        with closing(
            client.EngineClient(lambda: members, timeout_seconds=30, model="premium", spread=2, failed_rest_seconds=1)
        ) as asker:
            work_until(asker, engines, lambda: failed in asker._links and asker._links[failed]._load_again_at > 0)
            engines.states[failed] = "not loaded"  # its files are back
            work_until(asker, engines, lambda: engines.states[failed] == "loaded")
            # And it gets clips again.
            work_until(asker, engines, lambda: engines.answered[failed] >= 4)


@pytest.mark.long
def test_lost_engine_is_noticed_while_others_are_busy(tmp_path):
    """An answer of another one is there at each look."""
    with Simulated(tmp_path, count=2, seconds=0.0) as engines:
        asker = client.EngineClient(engines.addresses, timeout_seconds=30, failover_seconds=0.5, spread=2)
        with closing(asker):
            lost = engines.addresses[0]
            asker.ask({"kind": "recognise"}, [b"1234"])
            engines.stop(lost)
            asker._links[lost].sent["1"] = None
            asker._pending["1"] = [protocol.pack({"kind": "recognise", "id": "1"}), b"1234"]
            deadline = time.monotonic() + 10
            while "1" in asker._pending:
                assert time.monotonic() < deadline
                while len(asker) < 9:
                    asker.submit({"kind": "recognise"}, [b"1234"])
                asker.receive(wait_seconds=1)
