"""The transcript as JSON, with times in seconds. Dialects add job id, model and time of creation."""

from __future__ import annotations

from json import dumps
from typing import Any

from transcription.speech.formats.options import DEFAULT, FormatOptions
from transcription.speech.transcript import Segment, Transcript


def document(transcript: Transcript) -> dict[str, Any]:
    """Return {engine, task, language, language_probability, duration_seconds, text, segments, speakers, notes}.

    segments: [{id, start, end, speaker, text, words: [{word, start, end, probability, speaker}]}], ids from 0.
    speakers: [{id, label, seconds}], empty without speaker labels.
    """
    return {
        "engine": transcript.engine,
        "task": "translate" if transcript.is_translated else "transcribe",
        "language": transcript.language,
        "language_probability": transcript.language_probability,
        "duration_seconds": _seconds(transcript.duration_ms),
        "text": transcript.text,
        "segments": [_segment(number, segment) for number, segment in enumerate(transcript.segments)],
        "speakers": [
            {"id": speaker, "label": transcript.label_of(speaker), "seconds": _seconds(spoken_ms)}
            for speaker, spoken_ms in transcript.speakers
        ],
        "notes": list(transcript.notes),
    }


def render(transcript: Transcript, *, options: FormatOptions = DEFAULT) -> bytes:
    """Return `document` as UTF-8 JSON. It has no options: programs take from it what they need."""
    return dumps(document(transcript), ensure_ascii=False, separators=(",", ":")).encode()


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    return {
        "id": number,
        "start": _seconds(segment.start_ms),
        "end": _seconds(segment.end_ms),
        "speaker": segment.speaker,
        "text": segment.text,
        "words": [
            {
                "word": word.text,
                "start": _seconds(word.start_ms),
                "end": _seconds(word.end_ms),
                "probability": word.probability,
                "speaker": word.speaker,
            }
            for word in segment.words
        ],
    }


def _seconds(milliseconds: int) -> float:
    """Return seconds, which print with at most three decimals: integers of this size divide exactly enough."""
    return milliseconds / 1000
