from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from tests.fixtures import recordings
from transcription.speech import audio, cutting
from transcription.speech.diarizers.background import MAX_WAITING, BackgroundDiarization
from transcription.speech.diarizers.neural import NeuralDiarizer
from transcription.speech.errors import EngineUnavailable
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import samples_to_ms
from transcription.speech.transcript import Turn

SECOND = np.zeros(16_000, dtype=np.float32)


class Recorder:
    """A diarizer, and its diarization, that keeps its calls. before: called first in each of them, in its thread."""

    name, notes, boundary_tolerance_ms = "recorder", ("one",), 7

    def __init__(self, before=lambda: None):
        self.before, self.calls, self.threads = before, [], set()

    def begin(self, *, options):
        self._take("begin", options.num_speakers)
        return self

    def hear(self, start_ms, samples):
        self._take("hear", start_ms)

    def add(self, start_ms, samples):
        self._take("add", start_ms)

    def turns(self):
        return [Turn(0, 1, "S1")]

    def _take(self, *call):
        self.before()
        self.threads.add(threading.current_thread())
        self.calls.append(call)


@pytest.fixture
def begin():
    """Return a function that begins a diarization, which is closed after the test."""
    begun = []

    def make(diarizer, **options):
        begun.append(BackgroundDiarization(diarizer, options=TranscriptionOptions(**options)))
        return begun[-1]

    yield make
    for one in begun:
        one.close()


def test_calls_come_in_order_in_one_other_thread(begin):
    recorder = Recorder()
    background = begin(recorder, num_speakers=2)
    for number in range(3 * MAX_WAITING):
        background.hear(number, SECOND)
        background.add(number, SECOND)
    assert background.turns() == [Turn(0, 1, "S1")]
    expected = [(kind, number) for number in range(3 * MAX_WAITING) for kind in ("hear", "add")]
    assert recorder.calls == [("begin", 2), *expected]
    assert len(recorder.threads) == 1
    assert threading.current_thread() not in recorder.threads


def test_what_it_says_of_itself_is_what_the_diarizer_says(begin):
    background = begin(Recorder())
    assert (background.name, background.notes, background.boundary_tolerance_ms) == ("recorder", ("one",), 7)


def test_caller_does_not_wait_for_the_diarizer(begin):
    may_go_on = threading.Event()
    recorder = Recorder(before=may_go_on.wait)
    background = begin(recorder)
    for number in range(MAX_WAITING):
        background.hear(number, SECOND)
    assert recorder.calls == []
    may_go_on.set()
    background.turns()
    assert len(recorder.calls) == 1 + MAX_WAITING


def test_no_more_than_a_few_windows_wait(begin):
    given, waited = [], []
    recorder = Recorder(before=lambda: (time.sleep(0.005), waited.append(len(given) - len(recorder.calls))))
    background = begin(recorder)
    for number in range(6 * MAX_WAITING):
        given.append(number)
        background.hear(number, SECOND)
    background.turns()
    assert max(waited) <= MAX_WAITING + 1


@pytest.mark.parametrize("number", [0, 1, 5])
def test_error_of_the_diarizer_reaches_the_caller(number, begin):
    """number: of the call that fails; the first is `begin`."""

    def fail():
        if len(recorder.calls) == number:
            raise EngineUnavailable("not there")

    recorder = Recorder(before=fail)
    background = begin(recorder)

    def run():
        for at in range(10):
            background.hear(at, SECOND)
        background.turns()

    with pytest.raises(EngineUnavailable, match="not there"):
        run()


def test_closing_drops_what_waits_and_ends_the_thread():
    has_begun, may_go_on = threading.Event(), threading.Event()

    def wait():
        if recorder.calls:
            has_begun.set()
            may_go_on.wait()

    recorder = Recorder(before=wait)
    background = BackgroundDiarization(recorder, options=TranscriptionOptions())
    for number in range(MAX_WAITING):
        background.hear(number, SECOND)
    assert has_begun.wait(60)
    closing = threading.Thread(target=background.close)
    closing.start()
    deadline = time.monotonic() + 10
    while not background._waiting[-1].cancelled():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    may_go_on.set()
    closing.join(60)
    assert recorder.calls == [("begin", None), ("hear", 0)]
    assert not any(thread.is_alive() for thread in recorder.threads)
    assert background.name == "recorder"


@pytest.mark.long
def test_turns_are_those_without_a_thread(begin):
    samples = np.concatenate(list(audio.windows(recordings.named("dialogue.flac").path, max_duration_ms=60_000)))

    def turns(diarization):
        for at in range(0, len(samples), 80_000):
            diarization.hear(samples_to_ms(at), samples[at : at + 80_000])
        for clip in cutting.clips([samples], pause_ms=400):
            diarization.add(clip.start_ms, clip.samples)
        return diarization.turns()

    assert turns(begin(NeuralDiarizer())) == turns(NeuralDiarizer().begin(options=TranscriptionOptions()))
