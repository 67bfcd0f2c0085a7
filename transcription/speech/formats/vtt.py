"""WebVTT, with speakers as voice tags (W3C, "WebVTT: The Web Video Text Tracks Format", read 2026-11-20)."""

from __future__ import annotations

from collections.abc import Iterable

from transcription.speech import scripts
from transcription.speech.formats.cues import Cue, NameOf, cues, timestamp
from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Transcript

# "<" would start a tag and "&" a character reference. Escaping ">" keeps "-->" out of the text.
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# A browser takes the direction of each line from its first letter, which may be that of a Latin name.
_RIGHT_TO_LEFT = "\N{RIGHT-TO-LEFT MARK}"


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return the cues as UTF-8 WebVTT."""
    return _document(
        cues(transcript, options=options), label_of=transcript.label_of if options.speaker_labels else None
    )


def render_words(transcript: Transcript) -> bytes:
    """Return a cue for each word, at its own time and without speakers, as UTF-8 WebVTT."""
    return _document(
        (
            Cue(
                start_ms=word.start_ms,
                # WebVTT does not allow a cue that ends when it starts.
                end_ms=max(word.end_ms, word.start_ms + 1),
                lines=(" ".join(word.text.split()),),
                speaker=None,
                is_right_to_left=scripts.is_right_to_left(word.text),
            )
            for word in transcript.words
            if word.text.strip()
        ),
        label_of=None,
    )


def _document(made: Iterable[Cue], *, label_of: NameOf | None) -> bytes:
    return "\n".join(["WEBVTT\n", *(_block(cue, label_of=label_of) for cue in made)]).encode()


def _block(cue: Cue, *, label_of: NameOf | None) -> str:
    mark = _RIGHT_TO_LEFT if cue.is_right_to_left else ""
    text = "\n".join(f"{mark}{line.translate(_ESCAPES)}" for line in cue.lines)
    voice = f"<v {label_of(cue.speaker).translate(_ESCAPES)}>" if cue.speaker and label_of else ""
    start, end = timestamp(cue.start_ms, separator="."), timestamp(cue.end_ms, separator=".")
    return f"{start} --> {end}\n{voice}{text}\n"
