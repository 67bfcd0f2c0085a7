"""Shows transcripts, and what became of a job, in TranscribeAPI's shapes. Pure: callers bring what rows say.

Sources: TranscribeAPI's documentation, and the README of @transcribe-api/sdk 0.1.10 ("Excluding outputs or features"),
read 2026-11-29.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from transcription.dialects.transcribeapi import statuses
from transcription.dialects.transcribeapi.wire import GROUPS, LANGUAGE_FIELD, TRANSCRIPT_FIELDS, View
from transcription.speech.formats import vtt
from transcription.speech.formats.options import FormatOptions
from transcription.speech.transcript import Transcript

# TranscribeAPI's subtitles name no speakers.
SUBTITLES = FormatOptions(speaker_labels=False)
# What must be excluded for an answer to be one value alone, beside all but one of TRANSCRIPT_FIELDS.
_AROUND = frozenset({"metadata", "billing", LANGUAGE_FIELD})


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What a recording or a job costs. available_micros: what the organization can spend now."""

    duration_ms: int
    rate_micros: int
    cost_micros: int
    available_micros: int

    def shown(self) -> dict[str, Any]:
        """Return the fields. `remaining_balance` is a number in every case: a package tops up at null."""
        return {
            "billed_seconds": -(-self.duration_ms // 1000),
            "price_per_hour": dollars(self.rate_micros),
            "cost": dollars(self.cost_micros),
            "remaining_balance": dollars(self.available_micros),
        }


def dollars(micros: int) -> float:
    """Return dollars as a number with at most six decimals."""
    return round(micros / 1_000_000, 6)


def show_time(at: datetime) -> str:
    """Return a time as `2026-06-04T12:00:00.000Z`."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_transcript(transcript: Transcript, *, granularity: str) -> dict[str, Any]:
    """Return text, subtitles, segments and the language of a recording."""
    subtitles = vtt.render_words(transcript) if granularity == "word" else vtt.render(transcript, options=SUBTITLES)
    return {
        "text": transcript.text,
        "vtt": subtitles.decode(),
        "segments": [
            {
                "id": number,
                "start_seconds": segment.start_ms / 1000,
                "end_seconds": segment.end_ms / 1000,
                "text": segment.text,
            }
            for number, segment in enumerate(transcript.segments)
        ],
        LANGUAGE_FIELD: transcript.language,
    }


def show_result(transcript: Transcript, *, job_id: str, model: str, status: str, bill: Bill, view: View) -> Any:
    """Return the answer about one recording: an object, or one value alone if the caller excluded all others."""
    shown = {
        "job_id": job_id,
        **both(status),
        **({"reference_id": view.reference} if view.reference else {}),
        "model": model,
        "duration_seconds": transcript.duration_ms / 1000,
        **bill.shown(),
        **show_transcript(transcript, granularity=view.granularity),
        **({"notes": list(transcript.notes)} if transcript.notes else {}),
    }
    return without(shown, view.excluded)


def without(shown: Mapping[str, Any], excluded: frozenset[str]) -> Any:
    """Return what is left of an answer. One transcript field with nothing around it is left as a bare value."""
    left = kept(shown, excluded)
    transcripts = [name for name in TRANSCRIPT_FIELDS if name in left]
    if len(transcripts) == 1 and excluded >= _AROUND:
        return left[transcripts[0]]
    return left


def kept(shown: Mapping[str, Any], excluded: frozenset[str]) -> dict[str, Any]:
    """Return the fields of an answer that the caller did not exclude, by name or by group."""
    gone = {field for name in excluded for field in (name, *GROUPS.get(name, ()))}
    return {name: value for name, value in shown.items() if name not in gone}


def both(status: str) -> dict[str, str]:
    """Return the status for both generations of the packages."""
    return {"status": status, "job_status": statuses.job_status_of(status)}
