"""The export formats of a transcript, one module each. API dialects and pages offer those in `FORMATS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from transcription.speech.formats import json, srt, txt, vtt
from transcription.speech.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Format:
    """A format. content_type: with charset for text. extension: without a dot. render: returns UTF-8 bytes."""

    content_type: str
    extension: str
    render: Callable[[Transcript], bytes]


FORMATS: dict[str, Format] = {
    "json": Format("application/json", "json", json.render),
    "txt": Format("text/plain; charset=utf-8", "txt", txt.render),
    "srt": Format("application/x-subrip; charset=utf-8", "srt", srt.render),
    "vtt": Format("text/vtt; charset=utf-8", "vtt", vtt.render),
}
