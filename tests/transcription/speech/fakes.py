"""Stand-ins for the two seams of the pipeline, the engine and the diarizer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from transcription.speech.engines.base import Recognition
from transcription.speech.engines.service import Request
from transcription.speech.samples import Samples, samples_to_ms
from transcription.speech.transcript import Turn, Word


class FakeEngine:
    """Hears "word" once a second; remembers how long each clip was."""

    name = "fake"
    languages: frozenset[str] | None = None
    max_clip_ms = 30_000
    pause_ms = 600
    packs_clips = False
    notes: tuple[str, ...] = ()
    supported_options: frozenset[str] = frozenset()

    def __init__(self, *, language: str | None = "en", probability: float | None = 0.9) -> None:
        self.language, self.probability = language, probability
        self.clip_lengths_ms: list[int] = []
        self.batch_sizes: list[int] = []

    def recognise(self, clips, *, options):
        self.batch_sizes.append(len(clips))
        return [self._hear(samples_to_ms(len(clip))) for clip in clips]

    def _hear(self, length_ms: int) -> Recognition:
        self.clip_lengths_ms.append(length_ms)
        words = tuple(Word("word", at, at + 400, 0.5) for at in range(0, max(1, length_ms - 400), 1000))
        return Recognition(words=words, language=self.language, language_probability=self.probability)


class FakeDiarizer:
    """Gives every clip to one speaker, alternating between two."""

    name = "fake"

    def begin(self, *, options):
        return FakeDiarization()


class FakeDiarization:
    name = "fake"
    notes: tuple[str, ...] = ()
    boundary_tolerance_ms = 800

    def __init__(self) -> None:
        self._turns: list[Turn] = []

    def add(self, start_ms, samples):
        self._turns.append(Turn(start_ms, start_ms + samples_to_ms(len(samples)), f"S{len(self._turns) % 2 + 1}"))

    def turns(self):
        return self._turns


class FakeBatchEngine:
    """An engine that recognises the length of a clip as its word. `trouble` is called with each batch and may raise."""

    name, languages, notes, supported_options = "fake", None, (), frozenset[str]()
    max_clip_ms, pause_ms, packs_clips, max_batch = 30_000, 600, True, 8

    def __init__(self, trouble: Callable[[Sequence[int]], Any] = lambda batch: None) -> None:
        self.trouble = trouble
        self.batches: list[int] = []

    def prepare(self, clip: Samples) -> int:
        return len(clip)

    def bucket(self, options: Any) -> int:
        return len(options.prompt)

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
        """Request clips of so many zeros, with the length as request id."""
        for length in lengths:
            fields = {"job": job, "model": model, "options": {}, **message}
            assert self.service.submit(Request(f"{length}", "recognise", b"", fields, [bytes(4 * length)])) is None

    def wait(self, count: int) -> dict[str, Any]:
        """Return the answers when there are so many, or the service has failed."""
        deadline = time.monotonic() + 10
        while len(self.answers) < count and self.failure is None:
            assert time.monotonic() < deadline, self.answers
            time.sleep(0.005)
        return self.answers

    def words(self, count: int) -> dict[str, str]:
        """Return request id -> word, when there are so many answers."""
        return {one: answer["recognition"][2][0][0] for one, answer in self.wait(count).items()}
