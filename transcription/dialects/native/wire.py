"""The native wire format: pure translation between its fields and ours. Source: CONTRACTS, "native"; VoxParse seed."""

import json
from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from accounts.errors import InvalidField
from accounts.gate.times import show_time
from transcription.speech.formats import json as json_format
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Transcript

LONGEST_PROMPT = 4000
MOST_SPEAKERS = 20
MOST_PER_PAGE = 100
DEFAULT_PER_PAGE = 20

# Field of POST /v1/transcribe -> what we do with it. All others are refused by name.
FIELDS: dict[str, str] = {
    "file": "supported",
    "model": "supported",
    "language": "supported",
    "prompt": "accepted: used by engines that take a prompt; the result's notes say when it was not",
    "diarize": "supported",
    "num_speakers": "supported",
    "min_speakers": "supported",
    "max_speakers": "supported",
}

# Our status -> the word on the wire. The seed knows queued, processing, completed and failed.
STATUS_WORDS: dict[str, str] = {
    "uploading": "queued",
    "verifying": "queued",
    "queued": "queued",
    "processing": "processing",
    "completed": "completed",
    "completed_with_errors": "completed",
    "failed": "failed",
    "canceled": "canceled",
}


class JobLike(Protocol):
    """What of a job is shown."""

    id: Any
    status: str
    kind: str
    model: str
    progress: int
    duration_ms: int
    cost_micros: int | None
    error_type: str
    error_message: str
    created_at: datetime
    finished_at: datetime | None

    @property
    def is_final(self) -> bool: ...

    @property
    def is_completed(self) -> bool: ...


def read_options(
    fields: Mapping[str, str], *, models: Collection[str], languages: Collection[str]
) -> tuple[str, TranscriptionOptions]:
    """Return (model, options) from form fields; an empty value is as good as none.

    Raises InvalidField naming the field and what it may be.
    """
    model = fields.get("model", "") or "standard"
    if model not in models:
        raise InvalidField("model", f"There is no model '{_short(model)}'. Models: {', '.join(sorted(models))}.")
    language = fields.get("language", "").strip().lower() or None
    if language is not None and language not in languages:
        raise InvalidField(
            "language",
            f"The language '{_short(language)}' is not supported. Languages: {', '.join(sorted(languages))}.",
        )
    prompt = fields.get("prompt", "")
    if "\x00" in prompt:
        # PostgreSQL cannot keep it (and no recording is about it).
        raise InvalidField("prompt", "The prompt has a NUL character in it.")
    if len(prompt) > LONGEST_PROMPT:
        raise InvalidField("prompt", f"The prompt is {len(prompt)} characters long; at most {LONGEST_PROMPT} are read.")
    fewest, most = _count(fields, "min_speakers"), _count(fields, "max_speakers")
    if fewest and most and fewest > most:
        raise InvalidField("min_speakers", "min_speakers is more than max_speakers.")
    return model, TranscriptionOptions(
        language=language,
        prompt=prompt,
        diarize=_flag(fields, "diarize", default=True),
        num_speakers=_count(fields, "num_speakers"),
        min_speakers=fewest,
        max_speakers=most,
    )


def read_page(query: Mapping[str, str]) -> tuple[int, int]:
    """Return (limit, offset). A limit above the most is cut to it, as the seed's "max 100" is commonly served."""
    limit = _whole(query, "limit", default=DEFAULT_PER_PAGE, least=1)
    return min(limit, MOST_PER_PAGE), _whole(query, "offset", default=0, least=0)


def read_status(query: Mapping[str, str]) -> list[str]:
    """Return our statuses for the word asked for; an empty list means all."""
    word = query.get("status", "")
    if not word:
        return []
    found = [status for status, shown in STATUS_WORDS.items() if shown == word]
    if not found:
        known = ", ".join(dict.fromkeys(STATUS_WORDS.values()))
        raise InvalidField("status", f"There is no status '{_short(word)}'. Statuses: {known}.")
    return found


def show_created(job: JobLike) -> dict[str, Any]:
    """Return the answer to a submission."""
    return {
        "job_id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "model": job.model,
        "message": "Job queued for processing.",
    }


def show_job(job: JobLike) -> dict[str, Any]:
    """Return one job in full."""
    error = {"type": job.error_type, "message": job.error_message} if job.error_type else None
    shown = {**show_job_line(job), "progress": job.progress, "error": error}
    if job.is_completed:
        shown["result_url"] = f"/v1/jobs/{job.id}/result"
    return shown


def show_job_line(job: JobLike) -> dict[str, Any]:
    """Return one job as it stands in the list. The cost is null until it is known, and 0 when nothing was charged."""
    cost_micros = job.cost_micros if job.cost_micros is not None else 0 if job.is_final else None
    return {
        "id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "type": job.kind,
        "model": job.model,
        "duration_seconds": _seconds(job.duration_ms),
        "cost_cents": None if cost_micros is None else (cost_micros + 5_000) // 10_000,
        "cost_dollars": None
        if cost_micros is None
        else str(Decimal(cost_micros).scaleb(-6).quantize(Decimal("0.000001"))),
        "created_at": show_time(job.created_at),
        "completed_at": show_time(job.finished_at) if job.finished_at else None,
    }


def show_event(name: str, data: dict[str, Any]) -> bytes:
    """Return one event of an SSE stream (WHATWG HTML, server-sent events)."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def show_result(transcript: Transcript, *, job: JobLike) -> dict[str, Any]:
    """Return the result document."""
    return {
        "job_id": str(job.id),
        "model": job.model,
        **json_format.document(transcript),
        "created_at": show_time(job.created_at),
    }


def _seconds(duration_ms: int) -> int | float:
    return duration_ms // 1000 if duration_ms % 1000 == 0 else duration_ms / 1000


def _short(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:40]}…"


def _flag(fields: Mapping[str, str], name: str, *, default: bool) -> bool:
    value = fields.get(name, "").strip().lower()
    if value in {"", "true", "1", "false", "0"}:
        return default if not value else value in {"true", "1"}
    raise InvalidField(name, f"{name} must be true or false.")


def _count(fields: Mapping[str, str], name: str) -> int | None:
    if not fields.get(name, "").strip():
        return None
    count = _whole(fields, name, default=0, least=1)
    if count > MOST_SPEAKERS:
        raise InvalidField(name, f"{name} must be at most {MOST_SPEAKERS}.")
    return count


def _whole(fields: Mapping[str, str], name: str, *, default: int, least: int) -> int:
    value = fields.get(name, "").strip()
    if not value:
        return default
    # isdecimal() alone takes digits of every script, and int() a thousand of them.
    if not (value.isascii() and value.isdecimal() and len(value) <= 9) or int(value) < least:
        raise InvalidField(name, f"{name} must be a whole number of at least {least}.")
    return int(value)
