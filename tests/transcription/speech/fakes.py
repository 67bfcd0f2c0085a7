"""Fakes of the two interfaces below the pipeline, the engine and the diarizer, with behaviour that tests choose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from transcription.speech.engines import server
from transcription.speech.engines.base import Recognition
from transcription.speech.engines.model_cache import ModelCache
from transcription.speech.engines.recogniser import Recogniser
from transcription.speech.engines.service import Request
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import Turn, Word


class FakeEngine:
    """An engine that recognises "word" once a second, or `words`. Implements `Engine` and `BatchEngine`.

    words: the words of every clip; None means "word" once a second.
    before_clip: called before each clip. It may wait or raise.
    """

    name = "fake"
    languages: frozenset[str] | None = None
    max_clip_ms = 30_000
    pause_ms = 600
    packed_ms = 0
    notes: tuple[str, ...] = ()
    supported_options: frozenset[str] = frozenset()
    max_batch = 1

    def __init__(self, *, language: str | None = "en", probability: float | None = 0.9) -> None:
        self.language, self.probability = language, probability
        self.words: tuple[Word, ...] | None = None
        self.before_clip: Callable[[], Any] = lambda: None
        self.clip_lengths_ms: list[int] = []
        self.batch_sizes: list[int] = []

    def say(self, text: str) -> None:
        """Recognise these words in every clip from now on."""
        self.words = tuple(Word(word, at * 400, at * 400 + 300, 0.5) for at, word in enumerate(text.split()))

    def fail(self, error: Exception) -> None:
        """Raise this error at every clip from now on."""

        def before_clip() -> None:
            raise error

        self.before_clip = before_clip

    def recognise(self, clips: Sequence[Samples], *, options: Any) -> list[Recognition]:
        self.batch_sizes.append(len(clips))
        return [self._recognise(clip) for clip in clips]

    def prepare(self, clip: Samples) -> Samples:
        return clip

    def bucket(self, prepared: Samples, options: Any) -> int:
        return 0

    def figures(self) -> dict[str, Any]:
        return {}

    def recognise_batch(self, prepared: Sequence[Samples], options: Any) -> Iterator[tuple[int, Recognition]]:
        yield from enumerate(self.recognise(prepared, options=options))

    def _recognise(self, clip: Samples) -> Recognition:
        length_ms = samples_to_ms(len(clip))
        self.clip_lengths_ms.append(length_ms)
        self.before_clip()
        made_up = tuple(Word("word", at, at + 400, 0.5) for at in range(0, max(1, length_ms - 400), 1000))
        words = made_up if self.words is None else self.words
        return Recognition(words=words, language=self.language, language_probability=self.probability)


@contextmanager
def serving(models: ModelCache, *, address: str) -> Iterator[None]:
    """Serve engines at a real socket, as an engine process does, but in a thread of this process."""
    engine_server = server.EngineServer(Recogniser(models), (), address=address)
    thread = threading.Thread(target=engine_server.run, name="engine server")
    thread.start()
    try:
        yield
    finally:
        engine_server.stop()
        thread.join()


class FakeBatchEngine:
    """An engine that recognises the length of a clip as its word. `trouble` is called with each batch and may raise."""

    name, languages, notes, supported_options = "fake", None, (), frozenset[str]()
    max_clip_ms, pause_ms, packed_ms, max_batch = 30_000, 600, 30_000, 8

    def __init__(self, trouble: Callable[[Sequence[int]], Any] = lambda batch: None) -> None:
        self.trouble = trouble
        self.batches: list[int] = []

    def prepare(self, clip: Samples) -> int:
        return len(clip)

    def bucket(self, prepared: int, options: Any) -> int:
        return len(options.prompt)

    def figures(self) -> dict[str, Any]:
        return {"batches": len(self.batches)}

    def recognise_batch(self, prepared: Sequence[int], options: Any) -> Iterator[tuple[int, Recognition]]:
        self.batches.append(len(prepared))
        self.trouble(prepared)
        for index, length in enumerate(prepared):
            yield index, Recognition((Word(str(length), 0, 1, 0.5),), "en")


class FakeServer:
    """Starts a service as the server of an engine process does, and keeps its answers."""

    def __init__(self, service: Any) -> None:
        self.service = service
        self.answers: dict[str, Any] = {}
        self.failure: BaseException | None = None
        service.start(self.answers.__setitem__, lambda error: setattr(self, "failure", error))

    def submit(self, *lengths: int, job: str = "", model: str = "standard", **message: Any) -> None:
        """Send a request for a clip of zeros of each length. The length is the request id."""
        for length in lengths:
            fields = {"job": job, "model": model, "options": {}, **message}
            assert self.service.submit(Request(f"{length}", "recognise", b"", fields, [bytes(4 * length)])) is None

    def wait(self, count: int) -> dict[str, Any]:
        """Wait for this number of answers, or a failure of the service, and return the answers."""
        deadline = time.monotonic() + 60
        while len(self.answers) < count and self.failure is None:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.005)
        return self.answers

    def words(self, count: int) -> dict[str, str]:
        """Wait for this number of answers and return request id -> word."""
        return {one: answer["recognition"][2][0][0] for one, answer in self.wait(count).items()}


class FakeDiarizer:
    """Gives every clip to one speaker, alternating between two."""

    name = "fake"

    def begin(self, *, options: Any) -> FakeDiarization:
        return FakeDiarization()


class FakeDiarization:
    name = "fake"
    notes: tuple[str, ...] = ()
    boundary_tolerance_ms = 800

    def __init__(self) -> None:
        self._turns: list[Turn] = []
        self.heard_ms = 0

    def hear(self, start_ms: int, samples: Samples) -> None:
        self.heard_ms = start_ms + samples_to_ms(len(samples))

    def add(self, start_ms: int, samples: Samples) -> None:
        end_ms = start_ms + samples_to_ms(len(samples))
        assert end_ms <= self.heard_ms, "the clip came before its window"
        self._turns.append(Turn(start_ms, end_ms, f"S{len(self._turns) % 2 + 1}"))

    def turns(self) -> list[Turn]:
        return self._turns
