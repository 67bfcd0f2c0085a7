"""WebVTT, with speakers as voice tags (W3C, "WebVTT: The Web Video Text Tracks Format", read 2026-11-20)."""

from __future__ import annotations

from transcription.speech.formats.cues import Cue, cues, timestamp
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript, speaker_label

# "<" would start a tag and "&" a character reference. Escaping ">" keeps "-->" out of the text.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# A browser takes the direction of each line from its first letter, which may be that of a Latin name.
_RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT MARK}"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return the cues as UTF-8 WebVTT."""
    blocks = [_block(cue, has_voice=options.speaker_labels) for cue in cues(transcript, options=options)]
    return "\n".join(["WEBVTT\n", *blocks]).encode()


def _block(cue: Cue, *, has_voice: bool) -> str:
    mark = _RIGHT_TO_LEFT if cue.is_right_to_left else ""
    text = "\n".join(f"{mark}{line.translate(_ESCAPES)}" for line in cue.lines)
    voice = f"<v {speaker_label(cue.speaker).translate(_ESCAPES)}>" if cue.speaker and has_voice else ""
    start, end = timestamp(cue.start_ms, separator="."), timestamp(cue.end_ms, separator=".")
    return f"{start} --> {end}\n{voice}{text}\n"
