"""Splits segments into subtitle cues of at most two lines of 42 characters and seven seconds, as broadcasters require.

Source: Netflix, English Timed Text Style Guide (42 characters per line, two lines, 7 s), read 2026-11-20.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from transcription.speech.transcript import Segment, Transcript, Word, join_words

LINE_CHARACTERS = 42
LINES = 2
MAX_CUE_MS = 7_000
MIN_CUE_MS = 1


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle. lines: one or two, unescaped, without the name of the speaker."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None


def cues(transcript: Transcript, *, label_characters: int = 0) -> list[Cue]:
    """Return the transcript as cues in order. label_characters: space to reserve in the first line of each cue."""
    return [cue for segment in transcript.segments for cue in _segment_cues(segment, label_characters=label_characters)]


def timestamp(milliseconds: int, *, separator: str) -> str:
    """Return "HH:MM:SS<separator>mmm"; hours may have more than two digits."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"


def _segment_cues(segment: Segment, *, label_characters: int) -> list[Cue]:
    if not segment.words:
        text = " ".join(segment.text.split())
        return [_cue(segment, segment.start_ms, segment.end_ms, text, label_characters)] if text else []
    return [
        _cue(segment, group[0].start_ms, group[-1].end_ms, _text(group), label_characters)
        for group in _groups(list(segment.words), label_characters=label_characters)
    ]


def _groups(words: list[Word], *, label_characters: int) -> list[list[Word]]:
    """Return the words in groups that fit a cue. They are split near the middle, so that no word is left alone."""
    if len(words) == 1 or _fits(words, label_characters=label_characters):
        return [words]
    middle = len(words) // 2
    around = max(1, len(words) // 6)
    cut = max(
        range(max(1, middle - around), min(len(words), middle + around + 1)),
        key=lambda i: (words[i].start_ms - words[i - 1].end_ms, -abs(i - middle)),
    )
    return [group for part in (words[:cut], words[cut:]) for group in _groups(part, label_characters=label_characters)]


def _fits(words: list[Word], *, label_characters: int) -> bool:
    is_short = words[-1].end_ms - words[0].start_ms <= MAX_CUE_MS
    return is_short and len(_wrap(_text(words), label_characters)) <= LINES


def _text(words: list[Word]) -> str:
    return " ".join(join_words(words).split())


def _cue(segment: Segment, start_ms: int, end_ms: int, text: str, label_characters: int) -> Cue:
    # WebVTT does not allow a cue that ends when it starts.
    return Cue(start_ms, max(end_ms, start_ms + MIN_CUE_MS), _wrap(text, label_characters), segment.speaker)


def _wrap(text: str, label_characters: int) -> tuple[str, ...]:
    """Return the lines. Longer words than a line are broken. NUL characters reserve the space of the label."""
    lines = textwrap.wrap(
        text,
        width=LINE_CHARACTERS,
        initial_indent="\0" * label_characters,
        break_on_hyphens=False,
    )
    return tuple(line.lstrip("\0") for line in lines)
