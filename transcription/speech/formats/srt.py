"""SubRip: numbered cues. The format has no escapes, but players read "<i>" as a tag and "-->" as a time line."""

from __future__ import annotations

from transcription.speech.formats.cues import Cue, cues, timestamp
from transcription.speech.transcript import Transcript, speaker_label


def render(transcript: Transcript) -> bytes:
    """Return the cues as UTF-8 SubRip, each with the name of its speaker first."""
    longest = max((len(_label(speaker)) for speaker, _ in transcript.speakers), default=0)
    blocks = [_block(number, cue) for number, cue in enumerate(cues(transcript, label_characters=longest), start=1)]
    return "\n".join(blocks).encode()


def _block(number: int, cue: Cue) -> str:
    text = "\n".join(_plain(line) for line in cue.lines)
    start, end = timestamp(cue.start_ms, separator=","), timestamp(cue.end_ms, separator=",")
    return f"{number}\n{start} --> {end}\n{_label(cue.speaker)}{text}\n"


def _label(speaker: str | None) -> str:
    return f"{_plain(speaker_label(speaker))}: " if speaker else ""


def _plain(text: str) -> str:
    """Return the text with single guillemets instead of angle brackets, which players take for markup."""
    return text.replace("<", "‹").replace(">", "›")  # noqa: RUF001 - they look alike on purpose
