"""Plain text: one paragraph for each turn of a speaker, or for each segment without speaker labels."""

from __future__ import annotations

from itertools import groupby

from transcription.speech.transcript import Transcript, join_segments, speaker_label


def render(transcript: Transcript) -> bytes:
    """Return UTF-8 text that ends in a line break. Empty for a transcript without segments."""
    paragraphs = []
    for speaker, segments in groupby(transcript.segments, key=lambda segment: segment.speaker):
        turn = list(segments)
        if speaker is None:
            paragraphs.extend(segment.text for segment in turn)
        else:
            paragraphs.append(f"{speaker_label(speaker)}: {join_segments(turn)}")
    return "".join(f"{paragraph}\n" for paragraph in paragraphs).encode()
