"""Plain text: one paragraph for each turn of a speaker, or for each segment without speaker labels."""

from __future__ import annotations

from itertools import groupby

from transcription.speech import scripts
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript, join_segments

# Editors take the direction of a paragraph from its first letter, which may be that of "Speaker 1".
_RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT MARK}"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return UTF-8 text that ends in a line break. Empty for a transcript without segments."""
    paragraphs = []
    for speaker, turn in groupby(transcript.segments, key=lambda segment: segment.speaker):
        segments = list(turn)
        texts = [segment.text for segment in segments] if speaker is None else [join_segments(segments)]
        name = f"{transcript.label_of(speaker)}: " if speaker is not None and options.speaker_labels else ""
        paragraphs += [(name, text) for text in texts]
    return "".join(
        f"{_RIGHT_TO_LEFT if scripts.is_right_to_left(text) else ''}{name}{text}\n" for name, text in paragraphs
    ).encode()
