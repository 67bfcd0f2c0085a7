"""The transcript: words, segments and speaker turns, as frozen values with times in integer milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transcription.speech import scripts

STORAGE_VERSION = 1

# Languages written without spaces between words (Unicode Standard Annex 14, "complex context" and ideographic scripts).
SPACELESS_LANGUAGES = frozenset({"zh", "yue", "ja", "th", "lo", "km", "my", "bo"})


@dataclass(frozen=True, slots=True)
class Word:
    """One spoken word; in a language without blanks a piece of one, such as a Han character.

    text: without blanks around it. probability: from 0 to 1, as the engine states it.
    has_space_before: whether a blank separates it from the word before it in the transcript.
    """

    text: str
    start_ms: int
    end_ms: int
    probability: float
    speaker: str | None = None
    has_space_before: bool = True


@dataclass(frozen=True, slots=True)
class Segment:
    """A readable line of one speaker. Its words are in order and inside its times."""

    start_ms: int
    end_ms: int
    text: str
    words: tuple[Word, ...] = ()
    speaker: str | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A stretch of time in which one speaker talks. is_background: another speaker is louder meanwhile."""

    start_ms: int
    end_ms: int
    speaker: str
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class Transcript:
    """The result of one recording.

    language: the spoken language, an ISO 639-1 code; None without speech.
    language_probability: None when the request named the language, or the engine cannot detect it.
    duration_ms: length of the decoded audio. Billing uses it.
    diarizer: its name, or None without speaker labels.
    notes: plain English for the reader: options that were ignored, fallbacks that were used.
    is_translated: the text is English, whatever language was spoken.
    peaks: how loud it is, in bars of equal length (`waveform`). Empty without sound, and in older results.
    speaker_names: pairs (speaker id, name that a person gave), of those that have one. Not in the storage form.
    title: what the recording is called, for formats that say it. Not in the storage form.
    """

    language: str | None
    language_probability: float | None
    duration_ms: int
    segments: tuple[Segment, ...]
    engine: str
    diarizer: str | None = None
    notes: tuple[str, ...] = ()
    is_translated: bool = False
    peaks: tuple[int, ...] = ()
    speaker_names: tuple[tuple[str, str], ...] = ()
    title: str = ""

    @property
    def written_in(self) -> str | None:
        """The language of the text."""
        return "en" if self.is_translated else self.language

    @property
    def text(self) -> str:
        """The whole text as one paragraph."""
        return join_segments(self.segments)

    @property
    def words(self) -> tuple[Word, ...]:
        return tuple(word for segment in self.segments for word in segment.words)

    @property
    def speakers(self) -> list[tuple[str, int]]:
        """List of (speaker id, milliseconds spoken), in order of first appearance."""
        totals: dict[str, int] = {}
        for segment in self.segments:
            if segment.speaker is not None:
                totals[segment.speaker] = totals.get(segment.speaker, 0) + segment.end_ms - segment.start_ms
        return list(totals.items())

    def label_of(self, speaker: str) -> str:
        """Return what a speaker is called: the name that a person gave, or else the usual label."""
        return next((name for one, name in self.speaker_names if one == speaker), "") or speaker_label(speaker)

    def to_dict(self) -> dict[str, Any]:
        """Return the storage form: plain JSON values with a version number."""
        return {
            "version": STORAGE_VERSION,
            "language": self.language,
            "language_probability": self.language_probability,
            "duration_ms": self.duration_ms,
            "engine": self.engine,
            "diarizer": self.diarizer,
            "notes": list(self.notes),
            "is_translated": self.is_translated,
            "peaks": list(self.peaks),
            "segments": [
                {
                    "start_ms": segment.start_ms,
                    "end_ms": segment.end_ms,
                    "text": segment.text,
                    "speaker": segment.speaker,
                    "words": [
                        [word.text, word.start_ms, word.end_ms, word.probability, word.speaker]
                        for word in segment.words
                    ],
                    # Indexes of words without a blank before them. Releases before it ignore it.
                    "touching": [at for at, word in enumerate(segment.words) if not word.has_space_before],
                }
                for segment in self.segments
            ],
        }

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Transcript:
        """Rebuild a transcript from `to_dict()`. Raises ValueError for an unknown version."""
        if stored.get("version") != STORAGE_VERSION:
            raise ValueError(f"transcript storage version {stored.get('version')!r} is not {STORAGE_VERSION}")
        written_in = "en" if stored.get("is_translated") else stored["language"]
        return cls(
            language=stored["language"],
            language_probability=stored["language_probability"],
            duration_ms=stored["duration_ms"],
            engine=stored["engine"],
            diarizer=stored["diarizer"],
            notes=tuple(stored["notes"]),
            is_translated=stored.get("is_translated", False),  # the first stored results lack it
            peaks=tuple(stored.get("peaks", ())),
            segments=tuple(
                Segment(
                    start_ms=segment["start_ms"],
                    end_ms=segment["end_ms"],
                    text=segment["text"],
                    speaker=segment["speaker"],
                    words=_read_words(segment, written_in=written_in),
                )
                for segment in stored["segments"]
            ),
        )


def _read_words(segment: dict[str, Any], *, written_in: str | None) -> tuple[Word, ...]:
    """Return the words of a stored segment. Older ones do not tell of blanks: the language of the text decided."""
    words = tuple(Word(*word) for word in segment["words"])
    touching = segment.get("touching")
    if touching is None:
        touching = range(len(words)) if written_in in SPACELESS_LANGUAGES else ()
    without = frozenset(touching)
    return tuple(replace(word, has_space_before=at not in without) for at, word in enumerate(words))


def speaker_id(index: int) -> str:
    """Return the id of the speaker with this index: "S1" for 0, "S2" for 1, ..."""
    return f"S{index + 1}"


def speaker_label(speaker: str) -> str:
    """Return the label of a speaker id, "Speaker 1" for "S1". Any other name is its own label."""
    return f"Speaker {speaker[1:]}" if speaker[:1] == "S" and speaker[1:].isdigit() else speaker


def number_by_appearance(turns: Sequence[Turn]) -> list[Turn]:
    """Return the turns sorted by time, with speakers renamed "S1", "S2", ... in order of first appearance."""
    names: dict[str, str] = {}
    renamed = []
    for turn in sorted(turns, key=lambda one: (one.start_ms, one.end_ms)):
        name = names.setdefault(turn.speaker, speaker_id(len(names)))
        renamed.append(replace(turn, speaker=name))
    return renamed


def join_words(words: Iterable[Word]) -> str:
    """Return the words as running text, without the blank before the first one."""
    said = [word for word in words if word.text]
    return "".join(part for word in said for part in (" " * word.has_space_before, word.text)).lstrip()


def join_segments(segments: Iterable[Segment]) -> str:
    """Return the texts of successive segments as running text. Segments without text are left out."""
    joined = ""
    for segment in segments:
        if not segment.text:
            continue
        is_apart = segment.words[0].has_space_before if segment.words else scripts.needs_blank(joined, segment.text)
        joined += f" {segment.text}" if joined and is_apart else segment.text
    return joined
