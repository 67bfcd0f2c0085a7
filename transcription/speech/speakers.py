"""Gives turns to words and words to readable segments. Pure; knows no engine and no diarizer."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from transcription.speech.transcript import Segment, Turn, Word, join_words

# A diarizer's change of speaker is this far off at most; the longest pause between words nearby is the better guess.
SNAP_MS = 800
# Turns closer than this touch each other.
TOUCH_MS = 50

MAX_SEGMENT_MS = 15_000
PAUSE_MS = 700
# A sentence that ends earlier than this goes on in the same segment: very short lines are hard to read.
MIN_SENTENCE_MS = 3_000
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "۔", "।")  # noqa: RUF001 - full-width on purpose


def assign(words: Sequence[Word], turns: Sequence[Turn]) -> list[Word]:
    """Return the words with a speaker each: whose turn they overlap most, else whose turn is nearest.

    words, turns: sorted by time. Without turns, the words come back as they are.
    """
    if not turns:
        return list(words)
    snapped = snap(turns, words)
    assigned = []
    first = 0
    for word in words:
        while first < len(snapped) - 1 and snapped[first].end_ms <= word.start_ms:
            first += 1
        # The turn before `first` ended before the word, but may still be the nearest.
        last = first
        while last < len(snapped) - 1 and snapped[last + 1].start_ms < word.end_ms:
            last += 1
        nearest = max(snapped[max(0, first - 1) : last + 1], key=lambda turn: _overlap_ms(word, turn))
        assigned.append(replace(word, speaker=nearest.speaker))
    return assigned


def snap(turns: Sequence[Turn], words: Sequence[Word]) -> list[Turn]:
    """Return the turns with each touching change of speaker moved into the longest pause between words nearby."""
    snapped = list(turns)
    ends = [word.end_ms for word in words]
    for index in range(len(snapped) - 1):
        left, right = snapped[index], snapped[index + 1]
        if left.speaker == right.speaker or right.start_ms - left.end_ms > TOUCH_MS:
            continue
        earliest, latest = max(left.start_ms, left.end_ms - SNAP_MS), min(right.end_ms, left.end_ms + SNAP_MS)
        pauses = [
            (after.start_ms - before.end_ms, (before.end_ms + after.start_ms) // 2)
            for before, after in pairwise(words[bisect_left(ends, earliest) : bisect_left(ends, latest) + 2])
            if earliest <= before.end_ms <= after.start_ms <= latest
        ]
        if pauses:
            _, change_ms = max(pauses, key=lambda pause: (pause[0], -abs(pause[1] - left.end_ms)))
            snapped[index] = replace(left, end_ms=change_ms)
            snapped[index + 1] = replace(right, start_ms=change_ms)
    return snapped


def segments(words: Sequence[Word], *, language: str | None) -> tuple[Segment, ...]:
    """Return the words as segments that one can read: a new one per speaker, pause or sentence, at most 15 s long."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or _starts_anew(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    return tuple(_segment(part, language=language) for group in groups for part in _short(group))


def _starts_anew(group: list[Word], word: Word) -> bool:
    last = group[-1]
    is_sentence = last.text.endswith(SENTENCE_ENDS) and last.end_ms - group[0].start_ms >= MIN_SENTENCE_MS
    return word.speaker != last.speaker or word.start_ms - last.end_ms >= PAUSE_MS or is_sentence


def _short(group: list[Word]) -> list[list[Word]]:
    """Return the group cut at its longest pauses until no part is over MAX_SEGMENT_MS."""
    waiting, short = [group], []
    while waiting:
        part = waiting.pop()
        if len(part) < 2 or part[-1].end_ms - part[0].start_ms <= MAX_SEGMENT_MS:
            short.append(part)
            continue
        middle_ms = (part[0].start_ms + part[-1].end_ms) // 2
        cut = max(
            range(1, len(part)),
            key=lambda i: (part[i].start_ms - part[i - 1].end_ms, -abs(part[i].start_ms - middle_ms)),
        )
        waiting += [part[cut:], part[:cut]]
    return short


def _segment(words: list[Word], *, language: str | None) -> Segment:
    return Segment(
        start_ms=words[0].start_ms,
        end_ms=max(word.end_ms for word in words),
        text=join_words((word.text for word in words), language=language),
        words=tuple(words),
        speaker=words[0].speaker,
    )


def _overlap_ms(word: Word, turn: Turn) -> int:
    """Milliseconds that both share; negative: the distance between them."""
    return min(word.end_ms, turn.end_ms) - max(word.start_ms, turn.start_ms)
