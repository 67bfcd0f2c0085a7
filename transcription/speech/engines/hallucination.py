"""What tells words that were said from words that Whisper made up. Pure arithmetic on one decoding."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from transcription.speech.transcript import Word

# Whisper's own thresholds (openai/whisper, transcribe.py, read 2026-11-20).
NO_SPEECH_ABOVE = 0.6
UNSURE_BELOW = -1.0
REPETITIVE_ABOVE = 2.4
# A phrase of up to this many words ...
_LONGEST_PHRASE = 12
# ... said this often in a row, and making up this many words, is a decoder that turns in circles. People do say
# "no no no no" and read out "zero zero zero zero".
_FEWEST_TURNS = 5
_FEWEST_WORDS = 8
_TURNS_KEPT = 2


def is_silence(*, no_speech: float, mean_log_probability: float) -> bool:
    """Tell whether nobody speaks. Both figures must say so: either alone drops real speech."""
    return no_speech > NO_SPEECH_ABOVE and mean_log_probability < UNSURE_BELOW


def is_doubtful(text: str, *, mean_log_probability: float) -> bool:
    """Tell whether a decoding is worth another try at a higher temperature."""
    return (
        mean_log_probability < UNSURE_BELOW
        or compression_ratio(text) > REPETITIVE_ABOVE
        or loop(text.split()) is not None
    )


def compression_ratio(text: str) -> float:
    """Return how many times smaller the text is when compressed; repeated text compresses well."""
    packed = text.encode()
    return len(packed) / len(zlib.compress(packed)) if packed else 0.0


def loop(words: Sequence[str]) -> tuple[int, int, int] | None:
    """Return (index, length of the phrase in words, turns) of the first phrase said over and over, None without one."""
    folded = [word.strip(".,!?;:… ").casefold() for word in words]
    for length in range(1, min(_LONGEST_PHRASE, len(folded) // _FEWEST_TURNS) + 1):
        run = 0  # how many words in a row equal the word one phrase earlier
        for index in range(length, len(folded) + 1):
            if index < len(folded) and folded[index] == folded[index - length]:
                run += 1
                continue
            turns = run // length + 1
            if turns >= _FEWEST_TURNS and turns * length >= _FEWEST_WORDS:
                return index - run - length, length, turns
            run = 0
    return None


def without_loops(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words with each endless repetition cut to its first two turns."""
    kept = list(words)
    while (found := loop([word.text for word in kept])) is not None:
        index, length, turns = found
        del kept[index + length * _TURNS_KEPT : index + length * turns]
    return tuple(kept)
