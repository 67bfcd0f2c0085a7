"""Stand-ins for the two seams of the pipeline, the engine and the diarizer."""

from __future__ import annotations

from transcription.speech.engines.base import Recognition
from transcription.speech.samples import samples_to_ms
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
