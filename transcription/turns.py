"""Speaker turns of a transcript, ready to display. Pure functions, without Django."""

from typing import Any

from transcription.speech.transcript import Transcript, join_words, speaker_label


def speakers(transcript: Transcript) -> list[dict[str, Any]]:
    """Return the speakers in order of first appearance: position from 0 (for the color), name, milliseconds spoken."""
    return [
        {"position": position, "name": speaker_label(speaker), "ms": ms}
        for position, (speaker, ms) in enumerate(transcript.speakers)
    ]


def paragraphs(transcript: Transcript) -> list[dict[str, Any]]:
    """Return one paragraph for each turn: neighboring segments of the same speaker are joined."""
    positions = {speaker: position for position, (speaker, _) in enumerate(transcript.speakers)}
    found: list[dict[str, Any]] = []
    for segment in transcript.segments:
        text = segment.text.strip()
        if not text:
            continue
        if found and segment.speaker is not None and segment.speaker == found[-1]["speaker"]:
            found[-1]["text"] = join_words([found[-1]["text"], text], language=transcript.written_in)
            continue
        found.append(
            {
                "start_ms": segment.start_ms,
                "text": text,
                "speaker": segment.speaker,
                "position": positions.get(segment.speaker or ""),
                "name": speaker_label(segment.speaker) if segment.speaker else "",
            }
        )
    return found
