"""Tab-separated values as Whisper writes them: one line for each segment, times in whole milliseconds, no speakers.

Source: openai/whisper, `WriteTSV` of whisper/utils.py, read 2026-11-29.
"""

from __future__ import annotations

from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript

HEADER = "start\tend\ttext\n"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return the header and the segments as UTF-8. It has no options: its three columns are what programs expect."""
    lines = (
        f"{segment.start_ms}\t{segment.end_ms}\t{' '.join(segment.text.split())}\n" for segment in transcript.segments
    )
    return (HEADER + "".join(lines)).encode()
