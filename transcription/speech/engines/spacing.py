"""Joins the units of Whisper's alignment to words, by the blanks that the model wrote. Pure.

A leading blank is the model's only mark of where a word begins. Without one, a unit continues the unit before it
(" 3", ".14"), unless one of both is of a script without blanks between words (Han, kana, Thai), whose units stay apart.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transcription.speech import scripts

# These languages have no blank between Han characters, but Whisper writes some there, also as a unit of its own.
_LANGUAGES_WITHOUT_BLANKS = frozenset({"zh", "yue"})
# Unicode calls them punctuation, and people say them: "50 percent", "john at example".
_SPOKEN = frozenset("%&@#*/\\§")
_OPENING = ("Ps", "Pi")
# A token may be a part of a letter (of Amharic or Burmese most are), and the decoder may stop between two of them: at
# its limit, in the middle of a text.
_HALF_CHARACTER = "\N{REPLACEMENT CHARACTER}"


@dataclass(slots=True)
class SpacedWord:
    """A word without blanks around it. start, end: seconds. tokens: how many of them its probability is the mean of."""

    text: str
    start: float
    end: float
    probability: float
    tokens: int
    has_space_before: bool


def words_of(alignment: Iterable[dict[str, Any]], *, language: str | None) -> list[SpacedWord]:
    """Return the words of an alignment: dicts with word, tokens, start, end and probability, as faster-whisper's.

    language: of the text, which is English after a translation.
    """
    words: list[SpacedWord] = []
    held: SpacedWord | None = None  # an opening bracket or quotation mark, which belongs to the next word
    has_blank = False
    for unit in alignment:
        text = unit["word"].replace(_HALF_CHARACTER, "").strip()
        has_blank = has_blank or unit["word"][:1].isspace()
        if text:
            word = SpacedWord(
                text=text,
                start=unit["start"],
                end=unit["end"],
                probability=float(unit["probability"]),
                tokens=max(1, len(unit["tokens"])),
                has_space_before=has_blank,
            )
            if held is not None and has_blank:
                _close(words, held)
                held = None
            if held is not None:
                word.text, word.has_space_before = held.text + word.text, held.has_space_before
                held = None
            if words and not word.has_space_before and _continues(words[-1].text, word.text):
                _append(words[-1], word)
            elif _is_opening(word.text):
                held = word
            else:
                word.has_space_before = _keeps_blank(words[-1].text if words else "", word, language=language)
                words.append(word)
            has_blank = False
        has_blank = has_blank or unit["word"][-1:].isspace()
    if held is not None:
        _close(words, held)
    return words


def _continues(before: str, text: str) -> bool:
    """Tell whether a unit without a blank before it belongs to the word before it."""
    if _is_silent(text):
        return not _is_opening(text)
    if scripts.is_inside_syllable(before[-1], text[0]):  # the tokenizer cuts Thai between a letter and its vowel
        return True
    return scripts.has_word_blanks(before[-1]) and scripts.has_word_blanks(text[0])


def _close(words: list[SpacedWord], held: SpacedWord) -> None:
    """Add a mark that opened nothing: in German the sign “ closes a quotation."""
    if words and not held.has_space_before:
        _append(words[-1], held)
    else:
        words.append(held)


def _append(word: SpacedWord, unit: SpacedWord) -> None:
    """Add a unit to a word. Punctuation takes no time: its unit often lasts as long as the pause behind it."""
    if _is_silent(word.text):
        word.start, word.end, word.probability, word.tokens = unit.start, unit.end, unit.probability, unit.tokens
    elif not _is_silent(unit.text):
        total = word.tokens + unit.tokens
        word.probability = (word.probability * word.tokens + unit.probability * unit.tokens) / total
        word.end, word.tokens = unit.end, total
    word.text += unit.text


def _keeps_blank(before: str, word: SpacedWord, *, language: str | None) -> bool:
    if not before or not word.has_space_before or language not in _LANGUAGES_WITHOUT_BLANKS:
        return word.has_space_before
    return not (scripts.is_east_asian(before[-1]) and (scripts.is_east_asian(word.text[0]) or _is_silent(word.text)))


def _is_silent(text: str) -> bool:
    """Tell whether nobody says this text: it is punctuation only."""
    return all(unicodedata.category(char)[0] == "P" and char not in _SPOKEN for char in text)


def _is_opening(text: str) -> bool:
    return all(unicodedata.category(char) in _OPENING for char in text)
