"""Detects text that Whisper hallucinates: silence read as words, and endless repetition. Pure arithmetic.

People repeat themselves too, so repetition alone is no fault, and its score does not tell. Whisper base, 2026-11-28:
"no" ten times, "one" eight times and "yes" twelve times, as spoken, have mean log-probabilities from -0.5 to -0.3.
Loops over the same recordings, at higher temperatures, have better ones (-0.13 to -0.05), but go on to the limit of
tokens, 28 words a second. So a repetition is bad when nobody could have said it, or when all of the text is unlikely.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import replace

from transcription.speech import scripts
from transcription.speech.transcript import Word

# Whisper's own thresholds (openai/whisper, transcribe.py, read 2026-11-20).
NO_SPEECH_THRESHOLD = 0.6
LOG_PROBABILITY_THRESHOLD = -1.0
COMPRESSION_RATIO_THRESHOLD = 2.4
# A phrase of at most this many words counts as a repetition loop ...
_MAX_PHRASE_WORDS = 12
# ... if it is repeated at least this often in a row, with at least this many words in all. People do say "no no no no"
# and read out "zero zero zero zero".
_MIN_REPEATS = 5
_MIN_REPEATED_WORDS = 8
_REPEATS_KEPT = 2
# The same without blanks between the repeats.
_LOOP_IN_WORD = re.compile(r"(.{1,40}?)\1{7,}", re.DOTALL)
# Fast speakers reach 25 letters, or 12 Han characters, in a second.
_MAX_COLUMNS_PER_SECOND = 40
# Words that were not said get no time of their own: the alignment gives them less than this ...
_MIN_WORD_MS = 60
# ... and one of them all of the speech that the text does not explain. Loops made up over 30 s of a meeting: 47 to 88 %
# of the words are that short, and one lasts 6 to 11 s. Real repetitions: at most 10 %, and 0.7 s.
_MAX_SHORT_WORDS = 0.2
_MAX_WORD_MS = 4_000


def is_silence(*, no_speech: float, mean_log_probability: float) -> bool:
    """Tell whether the clip contains no speech. Both figures must agree, because either alone drops real speech."""
    return no_speech > NO_SPEECH_THRESHOLD and mean_log_probability < LOG_PROBABILITY_THRESHOLD


def is_unlikely(*, mean_log_probability: float) -> bool:
    """Tell whether the decoding is bad by its score."""
    return mean_log_probability < LOG_PROBABILITY_THRESHOLD


def is_repetitive(text: str) -> bool:
    """Tell whether the text repeats itself, which may be a loop or be said."""
    return compression_ratio(text) > COMPRESSION_RATIO_THRESHOLD or loop(text.split()) is not None


def is_too_fast(text: str, *, duration_ms: int) -> bool:
    """Tell whether nobody can say the text in this time."""
    return scripts.columns(text) * 1000 > _MAX_COLUMNS_PER_SECOND * duration_ms


def is_collapsed(words: Sequence[Word]) -> bool:
    """Tell whether the alignment found no sound for many of the words, and one word for all of the sound."""
    lengths = [word.end_ms - word.start_ms for word in words]
    if not lengths or max(lengths) < _MAX_WORD_MS:
        return False
    return sum(length < _MIN_WORD_MS for length in lengths) > _MAX_SHORT_WORDS * len(lengths)


def compression_ratio(text: str) -> float:
    """Return the size of the text divided by its compressed size, which is high for repeated text."""
    packed = text.encode()
    return len(packed) / len(zlib.compress(packed)) if packed else 0.0


def loop(words: Sequence[str]) -> tuple[int, int, int] | None:
    """Return (index, words in the phrase, repeats) of the first phrase that is repeated too often, None without one."""
    folded = [word.strip(".,!?;:… ").casefold() for word in words]
    for length in range(1, min(_MAX_PHRASE_WORDS, len(folded) // _MIN_REPEATS) + 1):
        run = 0  # number of successive words that equal the word one phrase before
        for index in range(length, len(folded) + 1):
            if index < len(folded) and folded[index] == folded[index - length]:
                run += 1
                continue
            repeats = run // length + 1
            if repeats >= _MIN_REPEATS and repeats * length >= _MIN_REPEATED_WORDS:
                return index - run - length, length, repeats
            run = 0
    return None


def without_loops(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words, each repetition loop cut to its first _REPEATS_KEPT repeats."""
    kept = [replace(word, text=_LOOP_IN_WORD.sub(r"\1" * _REPEATS_KEPT, word.text)) for word in words]
    while (found := loop([word.text for word in kept])) is not None:
        index, length, repeats = found
        del kept[index + length * _REPEATS_KEPT : index + length * repeats]
    return tuple(kept)
