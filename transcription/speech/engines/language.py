"""Decides in which language a recording is written. The result does not depend on batching.

The language is detected for every clip. Several clips decide on the language of the recording, and a clip that sounds
like another one is recognised again in that language: detection errs on laughter and short answers. Only when several
clips in a row surely are in another language, the recording goes on in that one. A clip whose language is named
(`StreamedClip.language`) has no vote and waits for none.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby, islice

from transcription.speech.engines.base import Engine, Recognition, StreamedClip, StreamingEngine
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples, samples_to_ms

# faster-whisper's threshold: a clip with at least this probability counts as certain.
MIN_CERTAIN_PROBABILITY = 0.5
# The recording is in the likeliest language as soon as this many certain clips agree on any, ...
AGREEING_CLIPS = 3
# ... or after this many clips with words, or this many clips in all.
MAX_VOTES = 8
MAX_CLIPS = 12
# This many successive clips, each with at least this probability, change the language from there on. Related languages
# (Norwegian and Danish) are taken for each other at lower ones.
CHANGING_CLIPS = 3
MIN_CHANGING_PROBABILITY = 0.7
BATCH_SIZE = 8


@dataclass(frozen=True, slots=True)
class Verdict:
    """The language in which a clip is to be written. number: of the clip. language: None means the one detected."""

    number: int
    language: str | None

    def accepts(self, recognition: Recognition) -> bool:
        """Tell whether the clip was recognised in this language."""
        return self.language is None or recognition.language in (None, self.language)


class LanguageChoice:
    """Decides the language of the clips of one recording. Add the recognition of each clip that votes, in order."""

    def __init__(self, options: TranscriptionOptions) -> None:
        self._is_free = options.language is not None or options.mixed_languages
        self._language: str | None = None
        self._weights: dict[str, float] = {}  # language -> milliseconds, each weighted by its probability
        self._certain: dict[str, int] = {}
        self._votes = 0
        self._open: list[int] = []  # clips without a verdict
        self._change: str | None = None  # the language to which the recording may have changed, ...
        self._change_clips = 0  # ... and the number of clips that say so

    def add(self, recognition: Recognition, *, number: int, length_ms: int) -> list[Verdict]:
        """Take the next clip into account. Returns the verdicts that are possible now, in order."""
        if self._is_free:
            return [Verdict(number, None)]
        spoken = recognition.language if recognition.words else None
        if self._language is None:
            self._open.append(number)
            return self._vote(spoken, recognition.language_probability, length_ms=length_ms)
        if spoken is None and self._change and len(self._open) < MAX_CLIPS:
            self._open.append(number)  # a clip without words waits for the next ones
            return []
        is_other = spoken not in (None, self._language) and is_sure(recognition)
        earlier = self.finish() if is_other and spoken != self._change else []
        self._open.append(number)
        if not is_other:
            return self.finish()
        self._change, self._change_clips = spoken, self._change_clips + 1
        if self._change_clips < CHANGING_CLIPS:
            return earlier
        self._language = spoken
        return earlier + self.finish()

    def finish(self) -> list[Verdict]:
        """Decide by the clips so far: return the verdicts of all that have none."""
        if self._language is None and self._weights:
            self._language = max(self._weights, key=lambda one: self._weights[one])
        verdicts = [Verdict(number, self._language) for number in self._open]
        self._open, self._change, self._change_clips = [], None, 0
        return verdicts

    def _vote(self, spoken: str | None, probability: float | None, *, length_ms: int) -> list[Verdict]:
        is_only_language = spoken is not None and probability is None  # an engine that detects none
        if spoken is not None:
            sure = 1.0 if probability is None else probability
            self._votes += 1
            self._weights[spoken] = self._weights.get(spoken, 0.0) + sure * length_ms
            if sure >= MIN_CERTAIN_PROBABILITY:
                self._certain[spoken] = self._certain.get(spoken, 0) + 1
        is_enough = self._votes == MAX_VOTES or max(self._certain.values(), default=0) == AGREEING_CLIPS
        return self.finish() if is_only_language or is_enough or len(self._open) == MAX_CLIPS else []


def is_sure(recognition: Recognition) -> bool:
    """Tell whether the clip has words that surely are in the language that was detected."""
    return bool(recognition.words) and (recognition.language_probability or 0.0) >= MIN_CHANGING_PROBABILITY


def written(first: Recognition, verdict: Verdict, again: Recognition | None = None) -> Recognition:
    """Return the final recognition of a clip. again: recognised in the language of the verdict, if first was not."""
    if again is None:
        return first if first.language is not None else replace(first, language=verdict.language)
    return replace(
        again,
        language=verdict.language,
        language_probability=round(1.0 - (first.language_probability or 0.0), 4),
        heard_language=first.language if is_sure(first) else None,
    )


def stream(
    engine: Engine | StreamingEngine, clips: Iterable[StreamedClip], *, options: TranscriptionOptions
) -> Generator[Recognition, None, None]:
    """Yield one Recognition for each clip, in order, all in one language unless it changes or may be mixed."""
    if isinstance(engine, StreamingEngine):
        yield from engine.stream(clips, options=options)
        return
    source = enumerate(clips)
    choice = LanguageChoice(options)
    waiting: dict[int, tuple[Samples, Recognition]] = {}
    final: dict[int, Recognition] = {}
    done, size = 0, 1 if options.language is None else BATCH_SIZE

    def ready(number: int, recognition: Recognition) -> Iterator[Recognition]:
        nonlocal done
        final[number] = recognition
        while done in final:
            yield final.pop(done)
            done += 1

    def follow(verdicts: Iterable[Verdict]) -> Iterator[Recognition]:
        for verdict in verdicts:
            samples, first = waiting.pop(verdict.number)
            again = None
            if not verdict.accepts(first):
                [again] = engine.recognise([samples], options=replace(options, language=verdict.language))
            yield from ready(verdict.number, written(first, verdict, again))

    while batch := list(islice(source, size)):
        heard = _recognise(engine, [clip for _, clip in batch], options=options)
        for (number, clip), recognition in zip(batch, heard, strict=True):
            if clip.language is not None:
                yield from ready(number, recognition)
                continue
            waiting[number] = (clip.samples, recognition)
            verdicts = choice.add(recognition, number=number, length_ms=samples_to_ms(len(clip.samples)))
            size = BATCH_SIZE if verdicts else size
            yield from follow(verdicts)
    yield from follow(choice.finish())


def _recognise(
    engine: Engine, clips: Iterable[StreamedClip], *, options: TranscriptionOptions
) -> Iterator[Recognition]:
    """Yield one Recognition for each clip, in order. Neighbours with the same language are recognised together."""
    for named, together in groupby(clips, key=lambda clip: clip.language):
        asked = options if named is None else replace(options, language=named)
        yield from engine.recognise([clip.samples for clip in together], options=asked)
