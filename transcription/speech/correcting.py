"""Applies people's corrections to a transcript: new text keeps the times of the words that stay. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from itertools import pairwise

from transcription.speech import scripts
from transcription.speech.transcript import Segment, Transcript, Word

# A person wrote it.
CORRECTED_PROBABILITY = 1.0
# Words of a segment times words of its new text that are compared, at every read. More take many milliseconds.
MAX_COMPARED = 50_000
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Revision:
    """What a segment is from its last correction on. number: counts its corrections, from 1."""

    number: int
    text: str
    speaker: str | None


@dataclass(frozen=True, slots=True)
class Corrections:
    """All corrections of a transcript.

    revisions: by the index of the segment. names: by the id of the speaker. merged: ids of speakers whose words are
    those of another one, by id.
    """

    revisions: Mapping[int, Revision] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    merged: Mapping[str, str] = field(default_factory=dict)

    def speaker_of(self, speaker: str | None) -> str | None:
        """Return the speaker whose the words of this one are."""
        seen = set()
        while speaker is not None and speaker in self.merged and speaker not in seen:
            seen.add(speaker)
            speaker = self.merged[speaker]
        return speaker


def corrected(transcript: Transcript, corrections: Corrections) -> Transcript:
    """Return the transcript with all corrections. It has as many segments: one that was emptied has no text."""
    segments = tuple(
        corrected_segment(segment, corrections.revisions.get(number), corrections)
        for number, segment in enumerate(transcript.segments)
    )
    return replace(transcript, segments=segments, speaker_names=tuple(corrections.names.items()))


def corrected_segment(segment: Segment, revision: Revision | None, corrections: Corrections) -> Segment:
    """Return a segment of the original with its last revision, if there is one, and with its speaker."""
    speaker = corrections.speaker_of(revision.speaker if revision else segment.speaker)
    if revision is not None and revision.text != segment.text:
        words = retimed(segment, revision.text)
        segment = replace(segment, text=revision.text, words=words)
    if speaker != segment.speaker:
        words = tuple(replace(word, speaker=speaker) for word in segment.words)
        segment = replace(segment, speaker=speaker, words=words)
    return segment


def without_empty(transcript: Transcript) -> Transcript:
    """Return the transcript without the segments that have no text."""
    return replace(transcript, segments=tuple(segment for segment in transcript.segments if segment.text.strip()))


def retimed(segment: Segment, text: str) -> tuple[Word, ...]:
    """Return the words of a new text of a segment. Empty if the segment has no words.

    A word that is also in the segment keeps its times, also with other case or marks. So do words that replace as many
    others. More or fewer share the time of those that they replace, by their lengths; words that replace none share the
    pause where they stand. In a segment with too many words to compare, all share its time.
    """
    old = segment.words
    if not old:
        return ()
    new = _tokens(text, like=old)
    if len(old) * len(new) > MAX_COMPARED:
        return tuple(_shared(new, start_ms=old[0].start_ms, end_ms=old[-1].end_ms, speaker=segment.speaker))
    made: list[Word] = []
    matcher = SequenceMatcher(
        None, [_key(word.text) for word in old], [_key(token) for token, _ in new], autojunk=False
    )
    for _, first, last, new_first, new_last in matcher.get_opcodes():
        if last - first == new_last - new_first:
            pairs = zip(old[first:last], new[new_first:new_last], strict=True)
            made += [_rewritten(word, token, has_blank=has_blank) for word, (token, has_blank) in pairs]
            continue
        # Replaced words have times. Inserted ones have the pause between their neighbors.
        start_ms = old[first].start_ms if last > first else old[first - 1].end_ms if first else segment.start_ms
        end_ms = old[last - 1].end_ms if last > first else old[first].start_ms if first < len(old) else segment.end_ms
        made += _shared(new[new_first:new_last], start_ms=start_ms, end_ms=end_ms, speaker=segment.speaker)
    return tuple(made)


def _key(text: str) -> str:
    """Return a word without case and marks, by which it is found again."""
    return "".join(char for char in text.casefold() if char.isalnum()) or text


def _rewritten(word: Word, text: str, *, has_blank: bool) -> Word:
    probability = word.probability if text == word.text else CORRECTED_PROBABILITY
    return replace(word, text=text, probability=probability, has_space_before=has_blank)


def _shared(tokens: Sequence[tuple[str, bool]], *, start_ms: int, end_ms: int, speaker: str | None) -> list[Word]:
    """Return words that share a stretch of time by their lengths."""
    total = sum(len(token) for token, _ in tokens)
    span_ms, before, made = max(0, end_ms - start_ms), 0, []
    for token, has_blank in tokens:
        first_ms, before = start_ms + span_ms * before // total, before + len(token)
        last_ms = start_ms + span_ms * before // total
        made.append(Word(token, first_ms, last_ms, CORRECTED_PROBABILITY, speaker, has_blank))
    return made


def _tokens(text: str, *, like: Sequence[Word]) -> list[tuple[str, bool]]:
    """Return the words of a text as (word, whether a blank stands before it).

    A stretch without blanks is one word, but Han and kana are a word each, and what the engine wrote as successive
    words without blanks, such as Thai, is parted as the engine did where the same text stands. The first word follows
    the sentence before as it did.
    """
    touching = [(one, after) for one, after in pairwise(like) if not after.has_space_before]
    known = frozenset(word.text for pair in touching for word in pair)
    longest = max(map(len, known), default=0)
    found: list[tuple[str, bool]] = []
    for match in _WORD.finditer(text):
        stretch, has_blank = match.group(), bool(found) or like[0].has_space_before
        for token in _parts(stretch, known=known, longest=longest):
            found.append((token, has_blank))
            has_blank = False
    return found


def _parts(stretch: str, *, known: frozenset[str], longest: int) -> list[str]:
    """Return the words of a stretch without blanks."""
    if all(map(scripts.has_word_blanks, stretch)):
        return [stretch]
    parts: list[str] = []
    at, is_open = 0, False
    while at < len(stretch):
        length = next((size for size in range(longest, 0, -1) if stretch[at : at + size] in known), 0)
        is_own = scripts.is_east_asian(stretch[at]) and stretch[at].isalnum()
        if length or is_own:
            length = length or 1
            parts.append(stretch[at : at + length])
            at += length
            is_open = False
        elif parts and (is_open or not stretch[at].isalnum()):
            # Letters of a word that the engine did not write stay together, and a mark with the word before it.
            parts[-1] += stretch[at]
            at += 1
        else:
            parts.append(stretch[at])
            is_open = True
            at += 1
    return parts
