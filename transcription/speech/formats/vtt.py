"""WebVTT, with speakers as voice tags (W3C, "WebVTT: The Web Video Text Tracks Format", read 2026-11-20)."""

from __future__ import annotations

from transcription.speech.formats.cues import Cue, cues, timestamp
from transcription.speech.transcript import Transcript, speaker_label

# "<" would start a tag and "&" a character reference. Escaping ">" keeps "-->" out of the text.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def render(transcript: Transcript) -> bytes:
    """Return the cues as UTF-8 WebVTT."""
    return "\n".join(["WEBVTT\n", *(_block(cue) for cue in cues(transcript))]).encode()


def _block(cue: Cue) -> str:
    text = "\n".join(line.translate(_ESCAPES) for line in cue.lines)
    voice = f"<v {speaker_label(cue.speaker).translate(_ESCAPES)}>" if cue.speaker else ""
    start, end = timestamp(cue.start_ms, separator="."), timestamp(cue.end_ms, separator=".")
    return f"{start} --> {end}\n{voice}{text}\n"
