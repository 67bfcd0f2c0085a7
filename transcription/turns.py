"""Speaker turns of a transcript, ready to display. Pure functions, without Django."""

from collections.abc import Sequence
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
    return [_paragraph(segments, positions=positions) for segments in turns_of(transcript)]


def turns_of(transcript: Transcript) -> list[list[Segment]]:
    """Return the segments with text, those of one turn together: neighbors of the same speaker."""
    found: list[list[Segment]] = []
    for segment in transcript.segments:
        if not segment.text.strip():
            continue
        if found and segment.speaker is not None and segment.speaker == found[-1][0].speaker:
            found[-1].append(segment)
        else:
            found.append([segment])
    return found


def text_of(turn: Sequence[Segment]) -> str:
    """Return the text of the segments of a turn."""
    return join_segments(turn).strip()


def _paragraph(segments: Sequence[Segment], *, positions: dict[str, int]) -> dict[str, Any]:
    text, speaker = text_of(segments), segments[0].speaker
    return {
        "start_ms": segments[0].start_ms,
        "text": text,
        "direction": "rtl" if scripts.is_right_to_left(text) else "ltr",
        "speaker": speaker,
        "position": positions.get(speaker or ""),
        "name": speaker_label(speaker) if speaker else "",
    }
