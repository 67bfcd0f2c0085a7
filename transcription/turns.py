"""Speaker turns of a transcript, ready to display. Pure functions, without Django."""

from typing import Any

from transcription.speech import scripts
from transcription.speech.transcript import Segment, Transcript, join_segments, speaker_label


def speakers(transcript: Transcript) -> list[dict[str, Any]]:
    """Return the speakers in order of first appearance: position from 0 (for the color), name, milliseconds spoken."""
    return [
        {"position": position, "name": speaker_label(speaker), "ms": ms}
        for position, (speaker, ms) in enumerate(transcript.speakers)
    ]


def paragraphs(transcript: Transcript) -> list[dict[str, Any]]:
    """Return one paragraph for each turn: neighboring segments of the same speaker are joined.

    direction: "rtl" for a paragraph in a script that is written from right to left, else "ltr".
    """
    positions = {speaker: position for position, (speaker, _) in enumerate(transcript.speakers)}
    found: list[list[Segment]] = []
    for segment in transcript.segments:
        if not segment.text.strip():
            continue
        if found and segment.speaker is not None and segment.speaker == found[-1][0].speaker:
            found[-1].append(segment)
        else:
            found.append([segment])
    return [_paragraph(segments, positions=positions) for segments in found]


def _paragraph(segments: list[Segment], *, positions: dict[str, int]) -> dict[str, Any]:
    text, speaker = join_segments(segments).strip(), segments[0].speaker
    return {
        "start_ms": segments[0].start_ms,
        "text": text,
        "direction": "rtl" if scripts.is_right_to_left(text) else "ltr",
        "speaker": speaker,
        "position": positions.get(speaker or ""),
        "name": speaker_label(speaker) if speaker else "",
    }
