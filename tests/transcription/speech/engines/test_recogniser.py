"""The service that batches, with a made-up engine at its seam: trouble can be had on order."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from transcription.speech.engines import protocol
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser, is_broken_device, is_out_of_memory
from transcription.speech.engines.service import BUSY, Request, SerialService
from transcription.speech.errors import EngineUnavailable, OptionError, Stopped
from transcription.speech.transcript import Word


class MadeUpEngine:
    """Hears the length of a clip. `trouble` is called with each batch and may raise."""

    name, languages, notes, supported_options = "made-up", None, (), frozenset()
    max_clip_ms, pause_ms, packs_clips, max_batch = 30_000, 600, True, 8

    def __init__(self, trouble=lambda batch: None):
        self.trouble, self.batches = trouble, []

    def prepare(self, clip):
        return len(clip)

    def bucket(self, options):
        return len(options.prompt)

    def recognise_batch(self, prepared, options):
        self.batches.append(len(prepared))
        self.trouble(prepared)
        for index, length in enumerate(prepared):
            yield index, Recognition((Word(str(length), 0, 1, 0.5),), "en")


class Desk:
    """What the host is to the service."""

    def __init__(self, service):
        self.service, self.answers, self.failure = service, {}, None
        service.start(self.answers.__setitem__, lambda error: setattr(self, "failure", error))

    def ask(self, *lengths, job="", model="standard", **message):
        for length in lengths:
            frame = np.zeros(length, dtype="<f4").tobytes()
            fields = {"job": job, "model": model, "options": {}, **message}
            assert self.service.submit(Request(f"{length}", "recognise", b"", fields, [frame])) is None

    def wait(self, count):
        deadline = time.monotonic() + 10
        while len(self.answers) < count and self.failure is None:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.005)
        return self.answers

    def words(self, count):
        heard = self.wait(count)
        return {one: answer["recognition"][2][0][0] for one, answer in heard.items()}


@pytest.fixture
def desk():
    desks = []

    def make(load, sources=None, **limits):
        recogniser = Recogniser(ModelCache(sources or {"standard": "s"}, load, **limits))
        desks.append(Desk(recogniser))
        return desks[-1]

    yield make
    for one in desks:
        one.service.stop()
        one.service.join(5)


LENGTHS = tuple(range(101, 109))


def test_out_of_memory_halves_the_batch_and_loses_no_clip(desk):
    def trouble(batch):
        if len(batch) > 2:
            raise RuntimeError("CUDA failed with error out of memory")

    engine = MadeUpEngine(trouble)
    asked = desk(lambda _: engine)
    asked.ask(*LENGTHS)
    assert asked.words(8) == {str(length): str(length) for length in LENGTHS}
    assert engine.batches == [8, 4, 2, 2, 4, 2, 2]
    state = asked.service.health()
    assert (state["out_of_memory"], state["failures"], state["clips"]) == (3, 0, 8)
    asked.ask(*range(201, 209))
    asked.wait(16)
    assert max(engine.batches[7:]) <= 4  # careful for a while


def test_memory_that_runs_out_midway_repeats_no_clip(desk):
    """The words of the first clips were sent before the memory ran out."""
    calls = []

    class Halfway(MadeUpEngine):
        def recognise_batch(self, prepared, options):
            for index, heard in super().recognise_batch(prepared, options):
                if len(calls) == 3:
                    calls.append("bang")
                    raise MemoryError
                calls.append(prepared[index])
                yield index, heard

    engine = Halfway()
    asked = desk(lambda _: engine)
    asked.ask(*LENGTHS)
    assert asked.words(8) == {str(length): str(length) for length in LENGTHS}
    assert sorted(one for one in calls if one != "bang") == list(LENGTHS)


def test_one_bad_clip_spoils_no_other(desk):
    def trouble(batch):
        if 104 in batch:
            raise ValueError("broken")

    asked = desk(lambda _: MadeUpEngine(trouble))
    asked.ask(*LENGTHS)
    answers = asked.wait(8)
    assert answers.pop("104")["error"]["type"] == "engine_failed"
    assert {answer["kind"] for answer in answers.values()} == {"result"}


def test_broken_gpu_ends_the_process_after_answering(desk):
    def trouble(batch):
        raise RuntimeError("CUDA failed with error an illegal memory access was encountered")

    asked = desk(lambda _: MadeUpEngine(trouble))
    asked.ask(101)
    assert asked.wait(1)["101"]["kind"] == "error"
    deadline = time.monotonic() + 5
    while asked.failure is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_default_model_that_does_not_load_ends_the_process(desk):
    def load(_):
        raise EngineUnavailable("no such model")

    asked = desk(load)
    asked.wait(1)
    assert str(asked.failure) == "no such model"


def test_other_model_that_does_not_load_fails_its_clips_only(desk):
    def load(source):
        if source == "p":
            raise OSError("gone")
        return MadeUpEngine()

    asked = desk(load, {"standard": "s", "premium": "p"})
    asked.ask(101)
    asked.ask(102, model="premium")
    answers = asked.wait(2)
    assert answers["101"]["kind"] == "result"
    assert answers["102"]["error"]["type"] == "engine_unavailable"
    assert asked.service.health()["models"]["premium"]["state"] == "failed"
    assert asked.failure is None


def test_full_queue_is_busy_and_bad_requests_are_refused(desk):
    go_on = threading.Event()
    recogniser = Recogniser(ModelCache({"standard": "s"}, lambda _: go_on.wait(10) and MadeUpEngine()), max_queued=5)
    asked = Desk(recogniser)
    asked.ask(101, 102, 103, 104)  # four fifths of the queue
    request = Request("105", "recognise", b"", {"options": {}}, [b"1234"])
    assert recogniser.submit(request) == BUSY
    with pytest.raises(OptionError):
        recogniser.submit(Request("106", "recognise", b"", {"options": {}, "priority": "now"}, [b"1234"]))
    with pytest.raises(EngineUnavailable):
        recogniser.submit(Request("107", "recognise", b"", {"options": {}, "model": "huge"}, [b"1234"]))
    recogniser.cancel(["101", "102"])
    go_on.set()
    assert set(asked.wait(2)) == {"103", "104"}
    recogniser.stop()
    recogniser.join(5)


def test_least_recently_used_model_makes_room():
    loaded = []

    def load(source):
        loaded.append(source)
        return MadeUpEngine()

    sources = {"a": "one", "b": "two", "c": "three", "same-as-a": "one"}
    models = ModelCache(sources, load, memory_of=lambda _: 400, memory_mb=1000)
    for model in ("a", "b", "same-as-a", "c"):
        models.get(model)
    assert loaded == ["one", "two", "three"]
    states = {model: shown["state"] for model, shown in models.health().items()}
    assert states == {"a": "loaded", "b": "not loaded", "c": "loaded", "same-as-a": "loaded"}
    assert models.describe("b") is not None
    assert models.evict_others("c")
    assert not models.evict_others("c")


def test_model_in_use_is_not_put_away():
    models = ModelCache({"a": "one", "b": "two"}, lambda _: MadeUpEngine(), memory_of=lambda _: 400, memory_mb=500)
    loading = threading.Thread(target=models.get, args=("b",))
    with models.acquire("a"):
        loading.start()
        loading.join(0.2)
        assert loading.is_alive()
        assert models.health()["a"]["state"] == "loaded"
    loading.join(5)
    assert models.health()["a"]["state"] == "not loaded"
    assert models.health()["b"]["state"] == "loaded"


def test_ready_made_service_answers_one_by_one():
    def prepare():
        def work(message, frames, should_stop):
            if message.get("bad"):
                raise OptionError("no")
            return {"length": len(frames[0]) // message["divisor"]}

        return work

    service = SerialService("measure", prepare, max_frame_bytes=100)
    asked = Desk(service)
    for number, fields in enumerate(({"divisor": 2}, {"bad": 1}, {"divisor": 0})):
        service.submit(Request(str(number), "measure", b"", fields, [b"1234"]))
    answers = asked.wait(3)
    service.stop()
    assert answers["0"] == {"kind": "result", "length": 2}
    assert answers["1"]["error"]["type"] == "invalid_option"
    assert answers["2"]["error"]["type"] == "engine_failed"


@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_ready_made_service_ends_what_nobody_waits_for(how):
    begun = threading.Event()

    def work(message, frames, should_stop):
        begun.set()
        while not should_stop():
            assert not never.wait(0.01)
        raise Stopped

    never = threading.Event()
    service = SerialService("measure", lambda: work, max_frame_bytes=100)
    asked = Desk(service)
    service.submit(Request("1", "measure", b"", {}, []))
    assert begun.wait(10)
    assert service.health()["is_working"]
    service.cancel(["another"])
    assert service.health()["is_working"]
    service.cancel(["1"]) if how == "cancel" else service.stop()
    assert asked.wait(1)["1"]["error"]["type"] == "stopped"
    assert (service.health()["stopped"], service.health()["is_working"]) == (1, False)
    service.stop()


@pytest.mark.parametrize(
    ("text", "is_memory", "is_broken"),
    [
        ("CUDA failed with error out of memory", True, False),
        ("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED", True, False),
        ("std::bad_alloc", True, False),
        ("CUDA failed with error unspecified launch failure", False, True),
        ("Invalid input features shape", False, False),
    ],
)
def test_native_errors_are_told_apart(text, is_memory, is_broken):
    error = RuntimeError(text)
    assert (is_out_of_memory(error), is_broken_device(error)) == (is_memory, is_broken)


def test_clip_frames_are_checked():
    protocol.check_clip([b"1234"])
