"""Words as they are searched for: of texts and of queries, and where a query's words stand in a text. Pure."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from transcription.speech import scripts

# Nobody says or searches a longer one. With it, no stretch comes near the megabyte that a tsvector may have.
MAX_WORD_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a phrase stands: in which text, and from which to which character of it."""

    text: int
    first: int
    end: int


def normalized(text: str) -> str:
    """Return the words of a text in lower case, with a blank between any two, and nothing else.

    A character of a script without blanks between words, such as Han or Thai, is a word of its own here.
    """
    lowered = unicodedata.normalize("NFKC", text).casefold()
    if lowered.isascii():
        spaced = "".join(char if char.isalnum() else " " for char in lowered)
    else:
        spaced = "".join(map(_spaced, lowered))
    return " ".join(word[:MAX_WORD_CHARACTERS] for word in spaced.split())


def phrases_of(query: str) -> list[str]:
    """Return what is searched: what stands in quotation marks, and each other word. Each has a letter or a digit."""
    found = [quoted or word for quoted, word in re.findall(r'"([^"]*)"|([^\s"]+)', query)]
    return [phrase for phrase in found if any(map(str.isalnum, phrase))]


def places(texts: Sequence[str], phrases: Sequence[str]) -> list[list[Place]]:
    """Return every place of every phrase in texts that follow each other, in their order.

    A place is a list, since a phrase may begin in one text and go on in the next ones: a `Place` for each of them.
    """
    wanted: dict[str, list[list[str]]] = {}
    for words_of_one in filter(None, (normalized(phrase).split() for phrase in phrases)):
        wanted.setdefault(words_of_one[0], []).append(words_of_one)
    if not wanted:
        return []
    words = [word for number, text in enumerate(texts) for word in _words(text, number)]
    found: list[list[Place]] = []
    for first, (text, _) in enumerate(words):
        for phrase in wanted.get(text, ()):
            run = words[first : first + len(phrase)]
            if [word for word, _ in run] == phrase:
                found.append(_joined([place for _, place in run]))
    return found


def readable(words: str) -> str:
    """Return normalized words without the blanks that scripts without them do not have."""
    shown = ""
    for word in words.split():
        is_apart = shown and (scripts.has_word_blanks(shown[-1]) or scripts.has_word_blanks(word[0]))
        shown += f" {word}" if is_apart else word
    return shown


def _words(text: str, number: int) -> Iterator[tuple[str, Place]]:
    """Yield the normalized words of a text, each with where it stands."""
    word, first, end = "", 0, 0
    for start, stop in _clusters(text):
        # One character may be several words, such as "½", which is "1" and "2".
        spaced = "".join(map(_spaced, unicodedata.normalize("NFKC", text[start:stop]).casefold()))
        for part in re.findall(r"\s+|\S+", spaced):
            if not part.isspace():
                first = first if word else start
                word, end = word + part, stop
            elif word:
                yield word[:MAX_WORD_CHARACTERS], Place(number, first, end)
                word = ""
    if word:
        yield word[:MAX_WORD_CHARACTERS], Place(number, first, end)


def _clusters(text: str) -> Iterator[tuple[int, int]]:
    """Yield the (first, end) of each character with the marks that combine with it."""
    start = 0
    for at in range(1, len(text) + 1):
        if at == len(text) or not (text[at] > "\u02ff" and unicodedata.category(text[at])[0] == "M"):
            yield start, at
            start = at


def _joined(run: Sequence[Place]) -> list[Place]:
    """Return the words of a phrase as one place for each text that they are in."""
    joined: list[Place] = []
    for place in run:
        if joined and joined[-1].text == place.text:
            joined[-1] = Place(place.text, joined[-1].first, place.end)
        else:
            joined.append(place)
    return joined


def _spaced(char: str) -> str:
    if not char.isalnum() and unicodedata.category(char)[0] != "M":
        return " "
    return char if scripts.has_word_blanks(char) else f" {char} "
