"""Decides on one language for a recording by its first clips. The result does not depend on batching."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import islice

from transcription.speech.engines.base import Engine, Recognition, StreamingEngine
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples

# faster-whisper's threshold: a clip with at least this probability decides alone.
MIN_CERTAIN_PROBABILITY = 0.5
# Otherwise the likeliest language of this many clips with words is taken.
MAX_VOTES = 3
# The decision is made after this many clips, with or without words.
MAX_CLIPS = 12
BATCH_SIZE = 8


class LanguageChoice:
    """Decides the language of one recording. Add the recognition of each clip, in order, until `is_decided`."""

    def __init__(self, options: TranscriptionOptions) -> None:
        self.is_decided = options.language is not None or options.mixed_languages
        self.language = options.language
        self.probability: float | None = None
        self._votes: dict[str, float] = {}
        self._count = self._clips = 0

    def add(self, recognition: Recognition) -> None:
        """Take the next clip into account. Clips without words have no vote."""
        self._clips += 1
        if self.is_decided:
            return
        if recognition.words and recognition.language is not None:
            self._vote(recognition.language, recognition.language_probability)
        if not self.is_decided and (self._count == MAX_VOTES or self._clips == MAX_CLIPS):
            self.decide()

    def _vote(self, language: str, sure: float | None) -> None:
        if sure is None or sure >= MIN_CERTAIN_PROBABILITY:
            self.is_decided, self.language, self.probability = True, language, sure
            return
        self._votes[language] = self._votes.get(language, 0.0) + sure
        self._count += 1

    def decide(self) -> None:
        """Decide by the clips so far. Without votes there is no language."""
        if self.is_decided:
            return
        self.is_decided = True
        if self._votes:
            self.language = max(self._votes, key=lambda one: self._votes[one])
            self.probability = round(self._votes[self.language] / self._count, 4)

    def accepts(self, recognition: Recognition) -> bool:
        """Tell whether the clip was recognised in the language that was chosen."""
        return self.language is None or recognition.language in (None, self.language)

    def with_language(self, recognition: Recognition) -> Recognition:
        """Return the recognition with the language and probability of the recording."""
        if self.language is None:
            return recognition
        return replace(recognition, language=self.language, language_probability=self.probability)


def stream(
    engine: Engine | StreamingEngine, clips: Iterable[Samples], *, options: TranscriptionOptions
) -> Generator[Recognition, None, None]:
    """Yield one Recognition for each clip, in order, all in one language unless `options.mixed_languages`."""
    if isinstance(engine, StreamingEngine):
        yield from engine.stream(clips, options=options)
        return
    source = iter(clips)
    choice = LanguageChoice(options)
    undecided: list[tuple[Samples, Recognition]] = []
    while not choice.is_decided and (clip := next(source, None)) is not None:
        [recognition] = engine.recognise([clip], options=options)
        choice.add(recognition)
        undecided.append((clip, recognition))
    choice.decide()
    decided = replace(options, language=choice.language)
    for clip, recognition in undecided:
        yield choice.with_language(
            recognition if choice.accepts(recognition) else engine.recognise([clip], options=decided)[0]
        )
    while batch := list(islice(source, BATCH_SIZE)):
        yield from (choice.with_language(recognition) for recognition in engine.recognise(batch, options=decided))
