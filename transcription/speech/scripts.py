"""Facts about writing systems that text in any language needs: blanks between words, width, direction.

Python has no table of scripts, so the scripts that matter are named by their ranges (Unicode 17, Blocks.txt, read
2026-11-28). Width and direction are in `unicodedata`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Latin, Han and kana, Urdu and Arabic, Devanagari, Tibetan.
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "۔", "؟", "।", "།")
# Han, kana and bopomofo, with their punctuation and full-width forms: written without blanks.
_EAST_ASIAN = re.compile(
    "[\u2e80-\u2fdf\u3000-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\ufe30-\ufe4f\uff01-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
)
# Thai, Lao, Tibetan, Myanmar and Khmer: blanks stand between phrases and not between words.
_PHRASE_BLANKS = re.compile("[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u19e0-\u19ff\ua9e0-\ua9ff\uaa60-\uaa7f]")


# Thai and Lao vowels that are written before their consonant, and signs that make one letter of two consonants:
# Myanmar, Khmer; Devanagari, Bengali, Gujarati, Odia, Telugu, Malayalam (Unicode Standard Annex 29, rule GB9c).
_BINDS_NEXT = frozenset("เแโใไເແໂໃໄ\u1039\u17d2\u094d\u09cd\u0acd\u0b4d\u0c4d\u0d4d")
# Thai and Lao vowels and signs that follow a consonant.
_BINDS_BEFORE = frozenset("ะาำๅๆฯະາຳໆ")
_JOINER = "\N{ZERO WIDTH JOINER}"


def is_east_asian(char: str) -> bool:
    """Tell whether the character is Han or kana, or punctuation that stands between them."""
    return _EAST_ASIAN.match(char) is not None


def has_phrase_blanks(char: str) -> bool:
    """Tell whether the character is of a script with blanks between phrases only, such as Thai or Khmer."""
    return _PHRASE_BLANKS.match(char) is not None


def has_word_blanks(char: str) -> bool:
    """Tell whether the character is of a script with blanks between words. Digits and ASCII punctuation are."""
    return not is_east_asian(char) and not has_phrase_blanks(char)


def needs_blank(before: str, after: str) -> bool:
    """Tell whether a blank belongs between two texts that were written apart, such as two clips or speakers.

    It does unless both meet in Han or kana, whatever punctuation lies between. In Thai or Khmer it ends a phrase.
    """
    return not (_is_east_asian_letter(reversed(before)) and _is_east_asian_letter(after))


def is_inside_syllable(before: str, after: str) -> bool:
    """Tell whether the second of two successive characters cannot stand without the first, such as an accent."""
    is_bound = before in _BINDS_NEXT or after in _BINDS_BEFORE or _JOINER in (before, after)
    return is_bound or unicodedata.category(after)[0] == "M"


def columns(text: str) -> int:
    """Return the width of the text in columns of a fixed-width font: 2 for a Han character, 0 for a combining mark."""
    return len(text) if text.isascii() else sum(map(_width, text))


def is_right_to_left(text: str) -> bool:
    """Tell whether most letters of the text are of a script that is written from right to left."""
    if text.isascii():
        return False
    directions = [unicodedata.bidirectional(char) for char in text]
    return sum(one in ("R", "AL") for one in directions) > directions.count("L")


@lru_cache(maxsize=10_000)
def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def _is_east_asian_letter(chars: Iterable[str]) -> bool:
    """Tell whether the first letter or digit is East Asian; without one, whether any character is."""
    marks = []
    for char in chars:
        if char.isalnum():
            return is_east_asian(char)
        marks.append(char)
    return any(map(is_east_asian, marks))
