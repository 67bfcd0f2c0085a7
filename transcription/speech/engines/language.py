"""Settles on one language per recording, by its first clips: the same however the clips were batched."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import replace
from itertools import islice

from transcription.speech.engines.base import Engine, Recognition, StreamingEngine
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples

# faster-whisper's own threshold: a clip that is surer than this decides alone.
MIN_CERTAIN_PROBABILITY = 0.5
# Else the likeliest language of so many clips with words.
MAX_VOTES = 3
# A recording that begins with so many clips without words is not waited for any longer.
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

    def add(self, heard: Recognition) -> None:
        """Count the next clip. Clips without words say nothing."""
        self._clips += 1
        if self.is_decided:
            return
        if heard.words and heard.language is not None:
            self._vote(heard.language, heard.language_probability)
        if not self.is_decided and (self._count == MAX_VOTES or self._clips == MAX_CLIPS):
            self.decide()

    def _vote(self, language: str, sure: float | None) -> None:
        if sure is None or sure >= MIN_CERTAIN_PROBABILITY:
            self.is_decided, self.language, self.probability = True, language, sure
            return
        self._votes[language] = self._votes.get(language, 0.0) + sure
        self._count += 1

    def decide(self) -> None:
        """Decide by what was heard so far, if anything was."""
        if self.is_decided:
            return
        self.is_decided = True
        if self._votes:
            self.language = max(self._votes, key=lambda one: self._votes[one])
            self.probability = round(self._votes[self.language] / self._count, 4)

    def accepts(self, heard: Recognition) -> bool:
        """Tell whether the clip was heard in the language that was chosen."""
        return self.language is None or heard.language in (None, self.language)

    def with_language(self, heard: Recognition) -> Recognition:
        """Return the recognition with the recording's own language and probability."""
        if self.language is None:
            return heard
        return replace(heard, language=self.language, language_probability=self.probability)


def stream(
    engine: Engine | StreamingEngine, clips: Iterable[Samples], *, options: TranscriptionOptions
) -> Generator[Recognition, None, None]:
    """Yield one Recognition per clip, in order, all in one language unless `options.mixed_languages`."""
    if isinstance(engine, StreamingEngine):
        yield from engine.stream(clips, options=options)
        return
    source = iter(clips)
    choice = LanguageChoice(options)
    undecided: list[tuple[Samples, Recognition]] = []
    while not choice.is_decided and (clip := next(source, None)) is not None:
        [heard] = engine.recognise([clip], options=options)
        choice.add(heard)
        undecided.append((clip, heard))
    choice.decide()
    told = replace(options, language=choice.language)
    for clip, heard in undecided:
        yield choice.with_language(heard if choice.accepts(heard) else engine.recognise([clip], options=told)[0])
    while batch := list(islice(source, BATCH_SIZE)):
        yield from (choice.with_language(heard) for heard in engine.recognise(batch, options=told))
