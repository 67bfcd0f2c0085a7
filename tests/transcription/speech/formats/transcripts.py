"""Transcripts for the tests of formats."""

from __future__ import annotations

from transcription.speech import formats, speakers
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Transcript, Word


def transcript(*segments, language="en"):
    return Transcript(
        language=language,
        language_probability=None,
        duration_ms=61_234,
        segments=tuple(segments),
        engine="pocketsphinx",
        diarizer="clustering",
    )


def said(text, *, start_ms=0, speaker="S1", step_ms=300):
    words = [
        Word(word, start_ms + number * step_ms, start_ms + number * step_ms + step_ms - 20, 0.5, speaker)
        for number, word in enumerate(text.split())
    ]
    return speakers.segments(words)[0]


def render(name, *segments, **options):
    return formats.FORMATS[name].render(transcript(*segments), options=FormatOptions(**options)).decode()


DIALOGUE = (said("hello there"), said("good morning", start_ms=3_661_500, speaker="S2"))
