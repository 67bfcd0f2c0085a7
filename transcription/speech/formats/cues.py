"""Makes subtitle cues of a whole transcript: in order, long enough to be read, in lines of limited width.

Cues follow segments, since these end where a sentence, a pause or a speaker ends. A long segment is split at its
pauses. A cue that nobody could read is shown longer while nobody speaks, or joined to its neighbour.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest

from transcription.speech import scripts
from transcription.speech.formats import lines as line_breaks
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Segment, Transcript, Word

# Netflix, English Timed Text Style Guide (20 characters a second for adults, two frames between cues), read 2026-11-28.
COLUMNS_PER_SECOND = 20
GAP_MS = 84
# A cue is only joined to one of the same speaker that follows within this time.
MAX_JOIN_PAUSE_MS = 1_000
# The name of a speaker is left out where it leaves less space than this for the text.
MIN_TEXT_COLUMNS = 8
# How much a mark before a cut weighs, as if it were a pause.
_SENTENCE_MS, _CLAUSE_MS = 1_000, 400
_CLAUSE_ENDS = (",", ";", ":", "，", "、", "；", "：", "،", "؛")

NameOf = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Cue:
    """A subtitle. lines: unescaped; the first begins with the name of the speaker if names were asked for."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]
    speaker: str | None
    is_right_to_left: bool = False


def cues(transcript: Transcript, *, options: FormatOptions = DEFAULT, name_of: NameOf | None = None) -> list[Cue]:
    """Return the transcript as cues, sorted by their start.

    name_of: returns what stands before the text of a speaker, such as "Speaker 1: ". None: no names in the lines.
    Cues of different speakers overlap where these speak at the same time.
    """
    layout = _Layout(options, name_of)
    groups = [group for segment in transcript.segments for group in _groups(_whole(segment), layout)]
    groups.sort(key=lambda group: (group.start_ms, group.end_ms))
    groups = _spread(_joined(groups, layout), layout)
    return [_cue(group, layout, after=after) for group, after in zip_longest(groups, groups[1:])]


def timestamp(milliseconds: int, *, separator: str) -> str:
    """Return "HH:MM:SS<separator>mmm"; hours may have more than two digits."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{separator}{rest:03}"


@dataclass(frozen=True, slots=True)
class _Piece:
    """A word, or a part of a very long one. may_begin: whether a cue may begin with it."""

    word: Word
    may_begin: bool


@dataclass(frozen=True, slots=True)
class _Group:
    """The words of one cue. delay_ms: how much later than spoken it is shown."""

    pieces: tuple[_Piece, ...]
    speaker: str | None
    delay_ms: int = 0

    @property
    def start_ms(self) -> int:
        return self.pieces[0].word.start_ms + self.delay_ms

    @property
    def end_ms(self) -> int:
        return max(self.start_ms, *(piece.word.end_ms for piece in self.pieces))

    @property
    def text(self) -> str:
        """The words, with a mark where a line may be broken between two that touch."""
        text = ""
        for piece in self.pieces:
            between = " " if piece.word.has_space_before else line_breaks.BREAK if piece.may_begin else ""
            text += between + piece.word.text
        return " ".join(text.strip(f" {line_breaks.BREAK}").split())


class _Layout:
    """What a cue may be."""

    def __init__(self, options: FormatOptions, name_of: NameOf | None) -> None:
        self.options = options
        self._name_of = name_of
        self._columns = options.max_chars_per_line * options.max_lines

    def name(self, speaker: str | None) -> str:
        name = self._name_of(speaker) if self._name_of is not None and speaker else ""
        return name if scripts.columns(name) <= self._columns - MIN_TEXT_COLUMNS else ""

    def lines(self, group: _Group) -> list[str]:
        return line_breaks.wrap(self.name(group.speaker) + group.text, width=self.options.max_chars_per_line)

    def fits(self, group: _Group) -> bool:
        return group.end_ms - group.start_ms <= self.options.max_ms and self.has_lines_for(group)

    def has_lines_for(self, group: _Group) -> bool:
        text = self.name(group.speaker) + group.text
        return line_breaks.fits(text, width=self.options.max_chars_per_line, lines=self.options.max_lines)

    def reading_ms(self, group: _Group) -> int:
        """Return how long the cue should be shown."""
        reading_ms = scripts.columns(group.text) * 1000 // COLUMNS_PER_SECOND
        return min(max(self.options.min_ms, reading_ms), self.options.max_ms)


def _whole(segment: Segment) -> _Group | None:
    """Return all words of a segment as one group, None for a segment without text."""
    pieces: list[_Piece] = []
    for word in segment.words or _words_of(segment):
        if not word.text.strip(line_breaks.BREAK):
            continue
        may_begin = not pieces or line_breaks.may_part(pieces[-1].word.text, word.text, has_blank=word.has_space_before)
        pieces.append(_Piece(word, may_begin))
    return _Group(tuple(pieces), segment.speaker) if pieces else None


def _words_of(segment: Segment) -> Iterable[Word]:
    """Yield the words of a segment that has only text, with times in proportion to their width."""
    found = line_breaks.split(segment.text)
    total = sum(scripts.columns(text) for text, _ in found)
    done, length_ms = 0, segment.end_ms - segment.start_ms
    for text, has_blank in found:
        start_ms = segment.start_ms + length_ms * done // max(1, total)
        done += scripts.columns(text)
        end_ms = segment.start_ms + length_ms * done // max(1, total)
        yield Word(text, start_ms, end_ms, 1.0, segment.speaker, has_blank)


def _parts(word: Word, *, may_begin: bool, width: int) -> tuple[_Piece, ...]:
    """Return a word that is too long for a cue in parts of one line, with times in equal parts."""
    texts = line_breaks.chop(word.text, width=width)
    length_ms = word.end_ms - word.start_ms
    return tuple(
        _Piece(
            replace(
                word,
                text=text,
                start_ms=word.start_ms + length_ms * number // len(texts),
                end_ms=word.start_ms + length_ms * (number + 1) // len(texts),
                has_space_before=word.has_space_before and number == 0,
            ),
            may_begin=may_begin or number > 0,
        )
        for number, text in enumerate(texts)
    )


def _groups(whole: _Group | None, layout: _Layout) -> list[_Group]:
    """Return the words in groups that fit a cue. They are split near the middle, so that no word is left alone."""
    waiting, groups = [whole] if whole is not None else [], []
    while waiting:
        group = waiting.pop()
        cut = None if layout.fits(group) else _cut(group.pieces)
        if cut is not None:
            waiting += [replace(group, pieces=group.pieces[cut:]), replace(group, pieces=group.pieces[:cut])]
        elif layout.has_lines_for(group):
            groups.append(group)
        else:
            word = replace(group.pieces[0].word, text=group.text, end_ms=group.end_ms)
            parts = _parts(word, may_begin=group.pieces[0].may_begin, width=layout.options.max_chars_per_line)
            waiting.append(replace(group, pieces=parts))
    return groups


def _cut(pieces: tuple[_Piece, ...]) -> int | None:
    """Return where to split, None if nowhere: at the longest pause near the middle, best after a sentence."""
    middle = len(pieces) // 2
    around = max(1, len(pieces) // 6)
    near = [at for at in range(1, len(pieces)) if pieces[at].may_begin and abs(at - middle) <= around]
    possible = near or [at for at in range(1, len(pieces)) if pieces[at].may_begin]
    if not possible:
        return None

    def weight(at: int) -> tuple[bool, int, int]:
        before, after = pieces[at - 1].word, pieces[at].word
        pause_ms = after.start_ms - before.end_ms
        if before.text.endswith(scripts.SENTENCE_ENDS):
            pause_ms += _SENTENCE_MS
        elif before.text.endswith(_CLAUSE_ENDS):
            pause_ms += _CLAUSE_MS
        return after.has_space_before or not scripts.has_phrase_blanks(after.text[0]), pause_ms, -abs(at - middle)

    return max(possible, key=weight) if near else min(possible, key=lambda at: abs(at - middle))


def _joined(groups: list[_Group], layout: _Layout) -> list[_Group]:
    """Return the groups, those that have too little time joined to a neighbour of the same speaker."""
    joined: list[_Group] = []
    for group, after in zip_longest(groups, groups[1:]):
        before = joined[-1] if joined else None
        if before is not None and before.speaker == group.speaker:
            both = replace(before, pieces=before.pieces + group.pieces)
            is_short = group.start_ms - before.start_ms < layout.options.min_ms or (
                after is not None and after.start_ms - group.start_ms < layout.options.min_ms
            )
            if is_short and group.start_ms - before.end_ms <= MAX_JOIN_PAUSE_MS and layout.fits(both):
                joined[-1] = both
                continue
        joined.append(group)
    return joined


def _spread(groups: list[_Group], layout: _Layout) -> list[_Group]:
    """Return the groups, those of one speaker that begin at once one after another, in the time up to the next group.

    The last words of a clip often have no time of their own, and neither have the parts of a word that is too long.
    """
    spread: list[_Group] = []
    while len(spread) < len(groups):
        run = [groups[len(spread)]]
        for group in groups[len(spread) + 1 :]:
            if group.speaker != run[-1].speaker or group.start_ms - run[-1].start_ms >= GAP_MS:
                break
            run.append(group)
        times_ms = [layout.reading_ms(group) for group in run]
        after = groups[len(spread) + len(run) :][:1]
        if after and run[0].start_ms + sum(times_ms) > after[0].start_ms:
            times_ms = [(after[0].start_ms - run[0].start_ms) // len(run)] * len(run)
        at_ms = run[0].start_ms
        for group, time_ms in zip(run, times_ms, strict=True):
            spread.append(replace(group, delay_ms=max(0, at_ms - group.start_ms)))
            at_ms = spread[-1].start_ms + time_ms
    return spread


def _cue(group: _Group, layout: _Layout, *, after: _Group | None) -> Cue:
    """Return the cue. It is shown until it can be read, but not into the next one."""
    start_ms, end_ms = group.start_ms, group.end_ms
    until_ms = start_ms + layout.reading_ms(group)
    if after is not None:
        # The gap shows that the text changes, but being readable matters more.
        until_ms = min(until_ms, max(after.start_ms - GAP_MS, min(after.start_ms, start_ms + layout.options.min_ms)))
        if after.speaker == group.speaker:
            end_ms = min(end_ms, after.start_ms)
    end_ms = min(max(end_ms, until_ms), start_ms + layout.options.max_ms)
    return Cue(
        start_ms=start_ms,
        end_ms=max(end_ms, start_ms + 1),  # WebVTT does not allow a cue that ends when it starts
        lines=tuple(layout.lines(group)),
        speaker=group.speaker,
        is_right_to_left=scripts.is_right_to_left(group.text),
    )
