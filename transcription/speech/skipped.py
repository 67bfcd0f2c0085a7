"""Speech that the engine skipped: stretches of a clip without any word, which are recognised again by themselves.

Whisper now and then writes the words of one voice of a clip and nothing for another (docs/decisions/0037).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from transcription.speech import cutting, scripts
from transcription.speech.transcript import Word

# A stretch of speech of this length without a word is recognised again, without those of its clip that have words.
MIN_UNHEARD_MS = 1_000
# Words that are found then count from this mean probability on. Others were mostly laughter and noise.
MIN_FOUND_PROBABILITY = 0.5


@dataclass(slots=True)
class HeardClip:
    """A clip with its words.

    language: in which its stretches without words are recognised again; None means that it is detected for them.
    is_open: stretches without words are recognised again, and may add some.
    """

    clip: cutting.Clip
    words: list[Word]
    language: str | None = None
    is_open: bool = False

    def open(self) -> cutting.Clip | None:
        """Return what is to be recognised again, if there is anything, and expect `add`.

        Whole clips are not: they would sound the same again.
        """
        unheard = self.clip.without([(word.start_ms, word.end_ms) for word in self.words], min_ms=MIN_UNHEARD_MS)
        if unheard is None or len(unheard.starts) == len(self.clip.starts):
            return None
        self.is_open = True
        return unheard

    def add(self, found: list[Word]) -> None:
        """Add the words of stretches that had none, unless they are unlikely or were said in the clip already."""
        self.is_open = False
        if not found or sum(word.probability for word in found) < MIN_FOUND_PROBABILITY * len(found):
            return
        if not (said := _plain(found)) or f" {said} " in f" {_plain(self.words)} ":
            return
        joined = sorted([*self.words, *found], key=lambda word: word.start_ms)
        self.words = joined[:1] + [
            word if (before in found) == (word in found) else spaced([word], before=before.text)[0]
            for before, word in pairwise(joined)
        ]


def _plain(words: list[Word]) -> str:
    """Return the letters and digits of words. A word without any, such as a dash, is none here."""
    plain = ("".join(filter(str.isalnum, word.text)).casefold() for word in words)
    return " ".join(filter(None, plain))


def spaced(words: list[Word], *, before: str) -> list[Word]:
    """Return the words of a clip, the first of them with or without a blank before it.

    before: the word before the clip. The model does not know it, so it cannot say whether a blank follows.
    """
    if not words or not before:
        return words
    return [replace(words[0], has_space_before=scripts.needs_blank(before, words[0].text)), *words[1:]]
