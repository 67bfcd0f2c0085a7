"""The interfaces of engines. An engine knows clips and options; it knows no files, jobs or speakers."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from transcription.speech.errors import UnknownLanguage
from transcription.speech.options import TranscriptionOptions
from transcription.speech.samples import Samples
from transcription.speech.transcript import Word


@dataclass(frozen=True, slots=True)
class Recognition:
    """The result of one clip.

    words: in order, with times in milliseconds from the start of the clip, without speakers.
    language: in which the words were recognised.
    language_probability: None when the request named the language, or the engine cannot detect it.
    heard_language: the language that surely was detected, where the words were recognised in another one.
    """

    words: tuple[Word, ...]
    language: str | None = None
    language_probability: float | None = None
    heard_language: str | None = None


@dataclass(frozen=True, slots=True)
class StreamedClip:
    """A clip of a stream.

    language: in which it is recognised. It then has no vote on the language of the recording. None: the options and the
        clips of the stream decide.
    """

    samples: Samples
    language: str | None = None


class EngineInfo(Protocol):
    """The properties of an engine.

    name: short, shown to customers in results.
    languages: ISO 639-1 codes that it accepts; None means any.
    max_clip_ms, pause_ms, packed_ms: arguments for `cutting.clips`.
    notes: plain English for the readers of its results.
    supported_options: the options that it supports, of "prompt", "hotwords" and "translate".
    """

    @property
    def name(self) -> str: ...

    @property
    def languages(self) -> frozenset[str] | None: ...

    @property
    def max_clip_ms(self) -> int: ...

    @property
    def pause_ms(self) -> int: ...

    @property
    def packed_ms(self) -> int: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def supported_options(self) -> frozenset[str]: ...


class Engine(EngineInfo, Protocol):
    """Recognises speech in clips, each independently of the others."""

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """Return one Recognition for each clip, in the same order.

        clips: each at most `max_clip_ms` long (a little more is tolerated).
        The words of a clip do not depend on earlier clips. Without `options.language` the language is detected for each
        clip, among `options.languages` if there are any; `language.stream` decides on one language for a recording.
        Raises UnknownLanguage, EngineFailed or EngineUnavailable.
        """
        ...


@runtime_checkable
class StreamingEngine(EngineInfo, Protocol):
    """An engine that works while its caller prepares the next clips."""

    def stream(self, clips: Iterable[StreamedClip], *, options: TranscriptionOptions) -> Iterator[Recognition]:
        """Yield one Recognition for each clip, in order. Reads the iterator a bounded number of clips ahead.

        Raises the errors of `Engine.recognise`, and those of the iterator.
        """
        ...


@runtime_checkable
class BatchEngine(EngineInfo, Protocol):
    """An engine that recognises clips of several recordings in one batch, each with its own options.

    max_batch: the largest batch.
    Two threads use it: one calls `prepare`, the other all other methods.
    """

    @property
    def max_batch(self) -> int: ...

    def prepare(self, clip: Samples) -> Any:
        """Return the clip in the form that `recognise_batch` takes. May run at the same time as `recognise_batch`."""
        ...

    def bucket(self, prepared: Any, options: TranscriptionOptions) -> Hashable:
        """Return a value that is equal for clips that can share a batch. Raises OptionError for invalid options.

        prepared: what `prepare` returned.
        """
        ...

    def figures(self) -> dict[str, Any]:
        """Return what operators may want to know of its work so far: plain JSON values."""
        ...

    def recognise_batch(
        self, prepared: Sequence[Any], options: Sequence[TranscriptionOptions]
    ) -> Iterator[tuple[int, Recognition]]:
        """Yield (index, recognition) for each clip, in any order. All clips are of one bucket."""
        ...


def check_languages(options: TranscriptionOptions, *, languages: frozenset[str] | None, engine: str) -> None:
    """Raise UnknownLanguage unless the engine accepts the language of the options and all candidates."""
    for language in (options.language, *options.languages):
        check_language(language, languages=languages, engine=engine)


def check_language(language: str | None, *, languages: frozenset[str] | None, engine: str) -> None:
    """Raise UnknownLanguage unless the engine accepts the language. language: None means that it is detected."""
    if language is not None and languages is not None and language not in languages:
        known = ", ".join(sorted(languages))
        raise UnknownLanguage(
            f"The language {language!r} is not supported: this engine ({engine}) knows {known}.",
            param="language",
            languages=sorted(languages),
        )
