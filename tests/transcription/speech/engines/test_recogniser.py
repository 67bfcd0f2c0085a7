"""The service that recognises batches, with a fake engine that fails as a test needs."""

from __future__ import annotations

import threading
import time

import pytest

from tests.transcription.speech.fakes import FakeBatchEngine, FakeServer
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser, is_broken_device, is_out_of_memory
from transcription.speech.engines.service import BUSY, Request
from transcription.speech.errors import EngineUnavailable, OptionError


@pytest.fixture
def serve():
    servers = []

    def make(load, sources=None, **limits):
        recogniser = Recogniser(ModelCache(sources or {"standard": "s"}, load, **limits))
        servers.append(FakeServer(recogniser))
        return servers[-1]

    yield make
    for one in servers:
        one.service.stop()
        one.service.join(60)


LENGTHS = tuple(range(101, 109))


def test_out_of_memory_halves_the_batch_and_loses_no_clip(serve):
    def trouble(batch):
        if len(batch) > 2:
            raise RuntimeError("CUDA failed with error out of memory")

    engine = FakeBatchEngine(trouble)
    asked = serve(lambda _: engine)
    asked.submit(*LENGTHS)
    assert asked.words(8) == {str(length): str(length) for length in LENGTHS}
    assert engine.batches == [8, 4, 2, 2, 4, 2, 2]
    state = asked.service.health()
    assert (state["out_of_memory"], state["failures"], state["clips"]) == (3, 0, 8)
    asked.submit(*range(201, 209))
    asked.wait(16)
    assert max(engine.batches[7:]) <= 4  # batches stay smaller for a while


def test_memory_that_runs_out_midway_repeats_no_clip(serve):
    """The words of the first clips were sent before the memory ran out."""
    calls = []

    class Halfway(FakeBatchEngine):
        def recognise_batch(self, prepared, options):
            for index, heard in super().recognise_batch(prepared, options):
                if len(calls) == 3:
                    calls.append("bang")
                    raise MemoryError
                calls.append(prepared[index])
                yield index, heard

    engine = Halfway()
    asked = serve(lambda _: engine)
    asked.submit(*LENGTHS)
    assert asked.words(8) == {str(length): str(length) for length in LENGTHS}
    assert sorted(one for one in calls if one != "bang") == list(LENGTHS)


def test_released_clips_are_in_no_batch_and_their_wait_is_told(serve):
    begun, may_end = threading.Event(), threading.Event()

    def trouble(batch):
        begun.set()
        may_end.wait(60)

    engine = FakeBatchEngine(trouble)
    asked = serve(lambda _: engine)
    asked.submit(101)
    begun.wait(60)
    asked.submit(102, 103, waited_ms=5000)
    asked.submit(104, waited_ms=-7)
    released = asked.service.release(["101", "103", "104", "unknown"])
    may_end.set()
    assert set(asked.wait(2)) == {"101", "102"}
    assert set(released) == {"103", "104"}
    assert 5000 <= released["103"] < 65_000
    assert 0 <= released["104"] < 60_000
    assert asked.service.health()["released"] == 2


def test_one_bad_clip_spoils_no_other(serve):
    def trouble(batch):
        if 104 in batch:
            raise ValueError("broken")

    asked = serve(lambda _: FakeBatchEngine(trouble))
    asked.submit(*LENGTHS)
    answers = asked.wait(8)
    assert answers.pop("104")["error"]["type"] == "engine_failed"
    assert {answer["kind"] for answer in answers.values()} == {"result"}


def test_broken_gpu_ends_the_process_after_answering(serve):
    def trouble(batch):
        raise RuntimeError("CUDA failed with error an illegal memory access was encountered")

    asked = serve(lambda _: FakeBatchEngine(trouble))
    asked.submit(101)
    assert asked.wait(1)["101"]["kind"] == "error"
    deadline = time.monotonic() + 60
    while asked.failure is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_default_model_that_does_not_load_ends_the_process(serve):
    def load(_):
        raise EngineUnavailable("no such model")

    asked = serve(load)
    asked.wait(1)
    assert str(asked.failure) == "no such model"


def test_other_model_that_does_not_load_fails_its_clips_only(serve):
    def load(source):
        if source == "p":
            raise OSError("gone")
        return FakeBatchEngine()

    asked = serve(load, {"standard": "s", "premium": "p"})
    asked.submit(101)
    asked.submit(102, model="premium")
    answers = asked.wait(2)
    assert answers["101"]["kind"] == "result"
    assert answers["102"]["error"]["type"] == "engine_unavailable"
    assert asked.service.health()["models"]["premium"]["state"] == "failed"
    assert asked.failure is None


def test_full_queue_is_busy_and_bad_requests_are_refused(serve):
    go_on = threading.Event()
    recogniser = Recogniser(ModelCache({"standard": "s"}, lambda _: go_on.wait(60) and FakeBatchEngine()), max_queued=5)
    asked = FakeServer(recogniser)
    asked.submit(101, 102, 103, 104)  # four fifths of the queue
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
    recogniser.join(60)


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
