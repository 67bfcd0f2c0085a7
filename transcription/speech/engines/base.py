"""What an engine is. An engine knows clips and options; it knows no files, jobs or speakers."""

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
    """What an engine heard in one clip.

    words: in order; times in milliseconds from the start of the clip; no speaker.
    language_probability: None when the engine was told the language or cannot tell it.
    """

    words: tuple[Word, ...]
    language: str | None = None
    language_probability: float | None = None


class EngineInfo(Protocol):
    """What an engine says of itself.

    name: short, shown to customers in the result.
    languages: ISO 639-1 codes that it accepts, None for "any".
    max_clip_ms, pause_ms, packs_clips: how it wants recordings cut (see `cutting.clips`).
    notes: what a reader of its results should know, in plain English.
    supported_options: names of the options among "prompt", "hotwords" and "translate" that it acts on.
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
    def packs_clips(self) -> bool: ...

    @property
    def notes(self) -> tuple[str, ...]: ...

    @property
    def supported_options(self) -> frozenset[str]: ...


class Engine(EngineInfo, Protocol):
    """Recognises speech. Clips are independent of each other: an engine may batch those of many recordings."""

    def recognise(self, clips: Sequence[Samples], *, options: TranscriptionOptions) -> list[Recognition]:
        """Return one Recognition per clip, in the same order.

        clips: float32 arrays, 16 kHz mono, -1 to 1, each at most `max_clip_ms` long (a little more is tolerated).
        The same clip gives the same words whatever was recognised before it. Without `options.language`, each clip
        is heard in its own language; `language.stream` settles on one per recording.
        Raises UnknownLanguage, EngineFailed or EngineUnavailable.
        """
        ...


@runtime_checkable
class StreamingEngine(EngineInfo, Protocol):
    """An engine that works while its caller makes the next clip ready."""

    def stream(self, clips: Iterable[Samples], *, options: TranscriptionOptions) -> Iterator[Recognition]:
        """Yield one Recognition per clip, in order, taking clips from the iterator a bounded number ahead.

        Raises what `Engine.recognise` raises, and what the iterator raises.
        """
        ...


@runtime_checkable
class BatchEngine(EngineInfo, Protocol):
    """An engine that takes clips of several recordings at once, each with its own options.

    max_batch: how many clips it takes at once.
    Two threads use it: one calls `prepare`, the other all else.
    """

    @property
    def max_batch(self) -> int: ...

    def prepare(self, clip: Samples) -> Any:
        """Return what `recognise_batch` takes for this clip. Safe beside a running `recognise_batch`."""
        ...

    def bucket(self, options: TranscriptionOptions) -> Hashable:
        """Return a value that is equal for options that can share a batch. Raises OptionError for unusable ones."""
        ...

    def recognise_batch(
        self, prepared: Sequence[Any], options: Sequence[TranscriptionOptions]
    ) -> Iterator[tuple[int, Recognition]]:
        """Yield (index, recognition) once for each clip, the quick ones first. All clips are of one bucket."""
        ...


def check_language(language: str | None, *, languages: frozenset[str] | None, engine: str) -> None:
    """Raise UnknownLanguage if an engine that accepts `languages` cannot take `language`; None means find out."""
    if language is not None and languages is not None and language not in languages:
        known = ", ".join(sorted(languages))
        raise UnknownLanguage(
            f"The language {language!r} is not supported: this engine ({engine}) knows {known}.",
            param="language",
            languages=sorted(languages),
        )
