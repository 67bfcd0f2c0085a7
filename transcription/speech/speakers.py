"""Assigns speakers to words and groups words into readable segments. Pure: knows no engine and no diarizer."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise

from transcription.speech import scripts
from transcription.speech.transcript import Segment, Turn, Word, join_words

# A change of speaker found by clustering is off by at most this. The longest pause between words nearby is more exact.
BOUNDARY_TOLERANCE_MS = 800
# Turns that are closer together than this count as touching.
TOUCH_MS = 50

MAX_SEGMENT_MS = 15_000
PAUSE_MS = 700
# A sentence shorter than this does not end the segment: very short lines are hard to read.
MIN_SENTENCE_MS = 3_000


def assign(words: Sequence[Word], turns: Sequence[Turn], *, tolerance_ms: int = BOUNDARY_TOLERANCE_MS) -> list[Word]:
    """Return the words, each with a speaker: the one whose turns overlap it most, else the one with the nearest turn.

    words, turns: sorted by time; turns may overlap. Without turns the words are returned unchanged.
    tolerance_ms: how far the changes of speaker may be off (`Diarization.boundary_tolerance_ms`).
    A background turn gets only words that no other turn touches: of two speakers at once, the louder one gets the
    words, and a diarizer marks the turns of the other (`Turn.is_background`). Where two foreground turns overlap
    equally, the speaker of the previous word continues, so that lines are not broken up.
    """
    if not turns:
        return list(words)
    in_front = [turn for turn in turns if not turn.is_background]
    front = _TurnIndex(snap_to_pauses(in_front, words, tolerance_ms=tolerance_ms)) if in_front else None
    everybody = _TurnIndex(turns)
    assigned: list[Word] = []
    for word in words:
        before = assigned[-1].speaker if assigned else None
        speaker = front.speaker_in(word, before=before) if front else None
        speaker = speaker or everybody.speaker_in(word, before=before) or (front or everybody).nearest(word)
        assigned.append(replace(word, speaker=speaker))
    return assigned


class _TurnIndex:
    """Finds the turns that overlap a word, or the turn nearest to it, by binary search."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self._turns = sorted(turns, key=lambda turn: (turn.start_ms, turn.end_ms))
        self._starts = [turn.start_ms for turn in self._turns]
        # The turn with the latest end so far: overlapping turns need not end in the order in which they start.
        self._last = list(accumulate(self._turns, _later_end))
        self._ends = [turn.end_ms for turn in self._last]

    def speaker_in(self, word: Word, *, before: str | None) -> str | None:
        """Return the speaker whose turns overlap the word most (`before` among equals), None if no turn overlaps it."""
        shared: dict[str, int] = {}
        first = bisect_right(self._ends, word.start_ms)
        for turn in self._turns[first : bisect_left(self._starts, max(word.end_ms, word.start_ms + 1))]:
            if turn.end_ms > word.start_ms:
                shared[turn.speaker] = shared.get(turn.speaker, 0) + _overlap_ms(word, turn)
        return max(shared, key=lambda speaker: (shared[speaker], speaker == before)) if shared else None

    def nearest(self, word: Word) -> str:
        """Return the speaker of the nearest turn to a word that no turn touches; of two equals the earlier turn."""
        after = bisect_left(self._starts, word.end_ms)
        sides = [*self._last[max(0, after - 1) : after], *self._turns[after : after + 1]]
        return max(sides, key=lambda turn: _overlap_ms(word, turn)).speaker


def snap_to_pauses(
    turns: Sequence[Turn], words: Sequence[Word], *, tolerance_ms: int = BOUNDARY_TOLERANCE_MS
) -> list[Turn]:
    """Return the turns, each change of speaker between touching turns moved into the longest pause nearby."""
    snapped = list(turns)
    ends = [word.end_ms for word in words]
    for index in range(len(snapped) - 1):
        left, right = snapped[index], snapped[index + 1]
        if left.speaker == right.speaker or abs(right.start_ms - left.end_ms) > TOUCH_MS:
            continue
        earliest, latest = (
            max(left.start_ms, left.end_ms - tolerance_ms),
            min(right.end_ms, left.end_ms + tolerance_ms),
        )
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


def segments(words: Sequence[Word]) -> tuple[Segment, ...]:
    """Return the words as readable segments of at most MAX_SEGMENT_MS, split at speakers, pauses and sentences."""
    groups: list[list[Word]] = []
    for word in words:
        if not groups or _starts_new_segment(groups[-1], word):
            groups.append([])
        groups[-1].append(word)
    return tuple(_segment(part) for group in groups for part in _split_long(group))


def _starts_new_segment(group: list[Word], word: Word) -> bool:
    last = group[-1]
    is_sentence = last.text.endswith(scripts.SENTENCE_ENDS) and last.end_ms - group[0].start_ms >= MIN_SENTENCE_MS
    return word.speaker != last.speaker or word.start_ms - last.end_ms >= PAUSE_MS or is_sentence


def _split_long(group: list[Word]) -> list[list[Word]]:
    """Return the group, split at its longest pauses until no part is longer than MAX_SEGMENT_MS."""
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


def _segment(words: list[Word]) -> Segment:
    return Segment(
        start_ms=words[0].start_ms,
        end_ms=max(word.end_ms for word in words),
        text=join_words(words),
        words=tuple(words),
        speaker=words[0].speaker,
    )


def _later_end(one: Turn, other: Turn) -> Turn:
    return other if other.end_ms > one.end_ms else one


def _overlap_ms(word: Word, turn: Turn) -> int:
    """Return the overlap in milliseconds; a negative number is the distance between both."""
    return min(word.end_ms, turn.end_ms) - max(word.start_ms, turn.start_ms)
