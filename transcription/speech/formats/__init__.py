"""The export formats of a transcript, one module each. API dialects and pages offer those in `FORMATS`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from transcription.speech.formats import docx, json, srt, tsv, txt, vtt
from transcription.speech.formats.options import BOUNDS, DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript


class Render(Protocol):
    """Returns a transcript as bytes, UTF-8 for text."""

    def __call__(self, transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Format:
    """A format. content_type: with charset for text. extension: without a dot. options: names of those that it has."""

    content_type: str
    extension: str
    render: Render
    options: tuple[str, ...] = ()


_TEXT = ("speaker_labels", "timestamps")
_SUBTITLES = (*BOUNDS, "speaker_labels")

FORMATS: dict[str, Format] = {
    "json": Format("application/json", "json", json.render),
    "txt": Format("text/plain; charset=utf-8", "txt", txt.render, _TEXT),
    "srt": Format("application/x-subrip; charset=utf-8", "srt", srt.render, _SUBTITLES),
    "tsv": Format("text/tab-separated-values; charset=utf-8", "tsv", tsv.render),
    "docx": Format(
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "docx", docx.render, _TEXT
    ),
    "vtt": Format("text/vtt; charset=utf-8", "vtt", vtt.render, _SUBTITLES),
}
