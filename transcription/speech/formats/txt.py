"""Plain text: one paragraph for each turn of a speaker, or for each segment without speaker labels.

On request each has the time at which it begins, as in "[1:02:03] Speaker 1: Good morning.".
"""

from __future__ import annotations

from itertools import groupby

from transcription.speech import scripts, turns
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript, join_segments

# Editors take the direction of a paragraph from its first letter, which may be that of "Speaker 1".
_RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT MARK}"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return UTF-8 text that ends in a line break. Empty for a transcript without segments."""
    paragraphs = []
    for speaker, turn in groupby(transcript.segments, key=lambda segment: segment.speaker):
        segments = list(turn)
        name = f"{transcript.label_of(speaker)}: " if speaker is not None and options.speaker_labels else ""
        parts = [(one.start_ms, one.text) for one in segments]
        if speaker is not None:
            parts = [(segments[0].start_ms, join_segments(segments))]
        for start_ms, text in parts:
            at = f"[{turns.clock(start_ms)}] " if options.timestamps else ""
            paragraphs.append(f"{_RIGHT_TO_LEFT if scripts.is_right_to_left(text) else ''}{at}{name}{text}\n")
    return "".join(paragraphs).encode()
