"""Words of Whisper from the times at which faster-whisper aligned their tokens.

The engine process only: faster-whisper is imported here.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from faster_whisper.transcribe import merge_punctuations

from transcription.speech.engines import spacing
from transcription.speech.transcript import Word

_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"
_SENTENCE_ENDS = ".。!！?？"
# A word longer than twice the median extends over a pause. The median counts as at most this.
_MAX_MEDIAN_SECONDS = 0.7


def repaired_words(
    alignment: list[dict[str, Any]], *, duration_ms: int, language: str | None = None
) -> tuple[Word, ...]:
    """Return the aligned words, whole, with punctuation attached, not extended over pauses, and inside the clip.

    The repairs of time are those of faster-whisper's `add_word_timestamps`, for one clip. language: of the text.
    """
    lengths = [word["end"] - word["start"] for word in alignment if word["end"] > word["start"]]
    median = min(_MAX_MEDIAN_SECONDS, float(np.median(lengths))) if lengths else 0.0
    for before, word in pairwise(alignment):
        if lengths and word["end"] - word["start"] > 2 * median:
            if word["word"] in _SENTENCE_ENDS:
                word["end"] = word["start"] + 2 * median
            elif before["word"] in _SENTENCE_ENDS:
                word["start"] = word["end"] - 2 * median
    merge_punctuations(alignment, _PREPENDED, _APPENDED)
    words = [
        Word(
            text=word.text,
            start_ms=min(round(word.start * 1000), duration_ms),
            end_ms=min(round(word.end * 1000), duration_ms),
            probability=round(min(1.0, max(0.0, word.probability)), 4),
            has_space_before=word.has_space_before,
        )
        for word in spacing.words_of(alignment, language=language)
    ]
    if words and lengths and words[0].end_ms - words[0].start_ms > 2000 * median:
        words[0] = replace(words[0], start_ms=words[0].end_ms - round(2000 * median))
    return tuple(words)
