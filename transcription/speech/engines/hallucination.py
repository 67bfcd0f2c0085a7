"""Detects text that Whisper hallucinates: silence read as words, and endless repetition. Pure arithmetic."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

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


def is_silence(*, no_speech: float, mean_log_probability: float) -> bool:
    """Tell whether the clip contains no speech. Both figures must agree, because either alone drops real speech."""
    return no_speech > NO_SPEECH_THRESHOLD and mean_log_probability < LOG_PROBABILITY_THRESHOLD


def is_doubtful(text: str, *, mean_log_probability: float) -> bool:
    """Tell whether a clip should be decoded again at a higher temperature."""
    return (
        mean_log_probability < LOG_PROBABILITY_THRESHOLD
        or compression_ratio(text) > COMPRESSION_RATIO_THRESHOLD
        or loop(text.split()) is not None
    )


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
    kept = list(words)
    while (found := loop([word.text for word in kept])) is not None:
        index, length, repeats = found
        del kept[index + length * _REPEATS_KEPT : index + length * repeats]
    return tuple(kept)
