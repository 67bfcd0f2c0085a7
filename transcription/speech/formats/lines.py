"""Breaks text into lines of limited width, in every script. Pure.

Width is counted in columns of a fixed-width font (`scripts.columns`). A line is broken at a blank, or beside a Han
character or kana, but not before a closing mark or after an opening one, and never inside a Latin word or a number.
Only what is wider than a line is broken elsewhere. Source: Unicode Standard Annex 14, line breaking, read 2026-11-28;
dictionaries, which Thai or Khmer would need, are left out: the caller marks the words that it knows with `BREAK`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from transcription.speech import scripts

# Small kana, length and repetition marks do not begin a line (JIS X 4051, by UAX 14's classes CJ and NS).
_NO_LINE_START = frozenset(
    "ぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶー々〻ゝゞヽヾ・：；！？‼⁇⁈⁉…‥、。，．％℃°!?,.:;%"
)
_QUOTES = frozenset("\"'")  # they may open or close
_CLOSING = ("Pe", "Pf")
_OPENING = ("Ps", "Pi")
_TIBETAN_TSHEG = "\u0f0b"
# A place to break a line where nothing is seen, as Khmer is written. It is not in the lines.
BREAK = "\N{ZERO WIDTH SPACE}"
# Addresses of web pages are broken behind these if they are too long for a line.
_JOINTS = frozenset("/?&=-_")


def wrap(text: str, *, width: int) -> list[str]:
    """Return the text as the fewest lines of at most `width` columns, all about equally long."""
    if not text.replace(BREAK, "").strip():
        return []
    if scripts.columns(text) <= width:
        return [" ".join(text.replace(BREAK, "").split())]
    pieces = _pieces(text, width=width)
    lines = _fill(pieces, width=width)
    # The narrowest width that takes no more lines: one short last line looks lost.
    low = max(-(-scripts.columns(text) // len(lines)), *(min(width, scripts.columns(piece)) for piece, _ in pieces), 1)
    high = width
    while low < high:
        middle = (low + high) // 2
        if len(_fill(pieces, width=middle)) <= len(lines):
            high = middle
        else:
            low = middle + 1
    return _fill(pieces, width=high)


def fits(text: str, *, width: int, lines: int) -> bool:
    """Tell whether the text takes at most so many lines."""
    columns = scripts.columns(text)
    return columns <= width or (
        columns <= width * lines + lines and len(_fill(_pieces(text, width=width), width=width)) <= lines
    )


def split(text: str) -> list[tuple[str, bool]]:
    """Return the parts of the text between which a line may be broken: (part, whether a blank stands before it)."""
    parts: list[tuple[str, bool]] = []
    for word in text.split():
        start = 0
        for index in range(1, 1 if word.isascii() else len(word)):
            if may_break(word[index - 1], word[index]):
                parts.append((word[start:index].replace(BREAK, ""), start == 0))
                start = index
        parts.append((word[start:].replace(BREAK, ""), start == 0))
    joined: list[tuple[str, bool]] = []
    for part, has_blank in parts:
        if not part:
            continue
        # A French blank before "?" and those inside « » are no place to break.
        if joined and has_blank and (_is_closing(part) or _is_opening(joined[-1][0])):
            joined[-1] = (f"{joined[-1][0]} {part}", joined[-1][1])
        else:
            joined.append((part, has_blank and bool(joined)))
    return joined


def _pieces(text: str, *, width: int) -> list[tuple[str, bool]]:
    """Return the parts of the text, a number at its end together with the word before it, if a line can hold both.

    pysubs2 takes a last line of digits for the number of the next subtitle (findings/pysubs2-number-is-lost.sh).
    """
    *before, (last, has_blank) = split(text)
    if before and last.isdecimal():
        both = before[-1][0] + " " * has_blank + last
        if scripts.columns(both) <= width:
            return [*before[:-1], (both, before[-1][1])]
    return [*before, (last, has_blank)]


def may_break(before: str, after: str) -> bool:
    """Tell whether a line may be broken between two characters without a blank between them."""
    if not _may_begin(after) or unicodedata.category(before) in _OPENING or _QUOTES & {before, after}:
        return False
    return scripts.is_east_asian(before) or scripts.is_east_asian(after) or before in (_TIBETAN_TSHEG, BREAK)


def may_part(before: str, after: str, *, has_blank: bool) -> bool:
    """Tell whether two successive words may be in different subtitles. has_blank: whether one is between them.

    That is where a line may be broken, and between syllables of Thai, whose words are not marked.
    """
    if has_blank:
        return not (_is_closing(after) or _is_opening(before))
    if may_break(before[-1], after[0]):
        return True
    is_phrase_script = scripts.has_phrase_blanks(before[-1]) or scripts.has_phrase_blanks(after[0])
    return is_phrase_script and _may_begin(after[0]) and not scripts.is_inside_syllable(before[-1], after[0])


def chop(text: str, *, width: int) -> list[str]:
    """Return the text in parts of at most `width` columns, without regard to words."""
    parts = []
    while scripts.columns(text) > width:
        end, used = 0, 0
        while end == 0 or used + scripts.columns(text[end]) <= width:
            used += scripts.columns(text[end])
            end += 1
        # Combining marks stay with their letter, and syllables whole if the line is not too short for one.
        ends = [at for at in range(end, max(0, end - 8), -1) if not scripts.is_inside_syllable(text[at - 1], text[at])]
        joints = [at for at in range(end, end // 2, -1) if text[at - 1] in _JOINTS]
        end = (joints or ends or [end])[0]
        parts.append(text[:end])
        text = text[end:]
    return [*parts, text]


def _fill(pieces: Sequence[tuple[str, bool]], *, width: int) -> list[str]:
    """Return lines, each as long as possible."""
    lines: list[str] = []
    used = width  # columns of the last line
    for piece, has_blank in pieces:
        columns = scripts.columns(piece)
        if lines and used + has_blank + columns <= width:
            lines[-1] += f" {piece}" if has_blank else piece
            used += has_blank + columns
        else:
            lines += chop(piece, width=width)
            used = columns if columns <= width else scripts.columns(lines[-1])
    return lines


def _may_begin(char: str) -> bool:
    """Tell whether a line may begin with this character."""
    category = unicodedata.category(char)
    return char not in _NO_LINE_START and category not in _CLOSING and category[0] != "M"


def _is_closing(part: str) -> bool:
    return not any(char.isalnum() for char in part) and not _may_begin(part[0])


def _is_opening(part: str) -> bool:
    return unicodedata.category(part[-1]) in _OPENING
