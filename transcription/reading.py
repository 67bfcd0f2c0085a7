"""A transcript as it is read: who speaks, and one paragraph per turn. Pure: pages and editors share it."""

from typing import Any

from transcription.speech.transcript import Transcript, join_words, speaker_label


def speakers_of(result: Transcript) -> list[dict[str, Any]]:
    """Return the speakers in order of first appearance: position from 0 (for the color), name, milliseconds spoken."""
    return [
        {"position": position, "name": speaker_label(speaker), "ms": ms}
        for position, (speaker, ms) in enumerate(result.speakers)
    ]


def turns_of(result: Transcript) -> list[dict[str, Any]]:
    """Return the text as it is read: one paragraph for as long as the same person speaks."""
    positions = {speaker: position for position, (speaker, _) in enumerate(result.speakers)}
    turns: list[dict[str, Any]] = []
    for segment in result.segments:
        text = segment.text.strip()
        if not text:
            continue
        if turns and segment.speaker is not None and segment.speaker == turns[-1]["speaker"]:
            turns[-1]["text"] = join_words([turns[-1]["text"], text], language=result.written_in)
            continue
        turns.append(
            {
                "start_ms": segment.start_ms,
                "text": text,
                "speaker": segment.speaker,
                "position": positions.get(segment.speaker or ""),
                "name": speaker_label(segment.speaker) if segment.speaker else "",
            }
        )
    return turns
