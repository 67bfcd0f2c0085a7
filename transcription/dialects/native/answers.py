"""The native wire format: what it answers. Pure translation from our fields. Source: VoxParse's published API."""

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from accounts.gate.times import show_time, show_time_or_null
from transcription.dialects.native import job_fields
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.formats import json as json_format
from transcription.speech.transcript import Transcript
from transcription.webhooks import payloads

if TYPE_CHECKING:
    # For annotations only. At run time this module imports no Django models.
    from transcription.models import Delivery, Job, Media, Upload

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


def show_created(job: "Job") -> dict[str, Any]:
    """Return the answer to a submission."""
    return {
        "job_id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "model": job.model,
        "message": "Job queued for processing.",
    }


def show_file_of_url(upload: "Upload") -> dict[str, Any]:
    """Return a file that is fetched from a URL, as `show_file` does. Nothing is known of it yet."""
    return {
        "file_id": str(upload.id),
        "name": upload.name,
        "duration": None,
        "size": None,
        "format": None,
        "channels": None,
        "created_at": show_time(upload.created_at),
        "expires_at": show_time(upload.expires_at),
    }


def show_file(media: "Media") -> dict[str, Any]:
    """Return a file that was sent without a job."""
    assert media.orderable_until is not None, "the file was just made orderable"
    return {
        "file_id": str(media.id),
        "name": media.name,
        "duration": media.duration_ms / 1000,
        "size": media.size_bytes,
        "format": media.container,
        "channels": media.channels,
        "created_at": show_time(media.created_at),
        "expires_at": show_time(media.orderable_until),
    }


def show_status(job: "Job", *, transcript: Transcript | None) -> dict[str, Any]:
    """Return how far a job is, and its plain text once it has completed: VoxScriber's answer, with our error."""
    return {
        "job_id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "progress": job.progress,
        "transcript": None if transcript is None else transcript.text,
        "error": _error_of(job),
    }


def show_job(job: "Job", *, waits_for: str = "") -> dict[str, Any]:
    """Return one job in full. waits_for: a sentence on what all jobs wait for, "" for nothing but their turn."""
    shown = {**show_job_line(job), "progress": job.progress, "error": _error_of(job), **show_counters(job)}
    if waits_for and shown["status"] == "queued":
        shown["message"] = waits_for
    if job.is_completed:
        shown["result_url"] = f"/v1/jobs/{job.id}/result"
    return shown


def show_delivery(job: "Job", delivery: "Delivery | None") -> dict[str, Any]:
    """Return what became of the `webhook_url` of a job, as a field beside those of `show_job`. {} for a job without."""
    if not job.webhook_url:
        return {}
    if delivery is None:
        # Its log is deleted after a while, and with it what became of it.
        waiting = {"status": "pending", "attempts": 0, "last_status": None, "next_attempt_at": None}
        return {"webhook": None if job.is_final else {**waiting, "delivered_at": None}}
    return {
        "webhook": {
            "status": delivery.state,
            "attempts": delivery.attempt,
            "last_status": delivery.last_status,
            "next_attempt_at": show_time_or_null(delivery.next_attempt_at),
            "delivered_at": show_time_or_null(delivery.delivered_at),
        }
    }


def show_webhook(job: "Job", *, event: str, site_url: str) -> dict[str, Any]:
    """Return the body of a webhook about a job that has ended: the job in full, without its text."""
    assert job.finished_at is not None, "webhooks tell of the end"
    shown = show_job(job)
    if "result_url" in shown:
        # A receiver may serve several sites, and knows no base URL.
        shown["result_url"] = f"{site_url}{shown['result_url']}"
    return payloads.envelope(event=event, at=job.finished_at, organization_id=job.organization_id, data=shown)


def show_job_line(job: "Job") -> dict[str, Any]:
    """Return one job as it stands in the list. The cost is null until it is known, and 0 when nothing was charged."""
    cost_micros = job.cost_micros if job.cost_micros is not None else 0 if job.is_final else None
    return {
        "id": str(job.id),
        "status": STATUS_WORDS[job.status],
        "type": "transcribe",
        "model": job.model,
        "duration_seconds": _seconds(job.duration_ms),
        "cost_cents": None if cost_micros is None else (cost_micros + 5_000) // 10_000,
        "cost_dollars": None if cost_micros is None else show_dollars(cost_micros),
        "created_at": show_time(job.created_at),
        "completed_at": show_time_or_null(job.finished_at),
        "metadata": job.metadata,
        "retention": job_fields.show_retention(job),
        "expires_at": show_time_or_null(job.delete_at),
        "token_id": str(job.token_id) if job.token_id else None,
    }


def show_event(name: str, data: dict[str, Any]) -> bytes:
    """Return one event of an SSE stream (WHATWG HTML, server-sent events)."""
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


def show_counters(job: "Job") -> dict[str, int]:
    """Return how many recordings a job has, how many of them have not ended, and how many have failed."""
    return {"item_count": job.item_count, "items_left": job.items_left, "items_failed": job.items_failed}


def show_result(transcript: Transcript, *, job: "Job") -> dict[str, Any]:
    """Return the result document; its segments have no words when the job was not to give any."""
    return {
        "job_id": str(job.id),
        "model": job.model,
        **show_transcript(transcript, job=job),
        "metadata": job.metadata,
        "created_at": show_time(job.created_at),
    }


def show_transcript(transcript: Transcript, *, job: "Job") -> dict[str, Any]:
    """Return what was said; segments have no words when the job was not to give any."""
    document = json_format.document(transcript)
    if not job.options.get("word_timestamps", True):
        document["segments"] = [{**segment, "words": []} for segment in document["segments"]]
    return document


def show_models(
    offers: Mapping[str, ModelCapabilities], *, rates_micros: Mapping[str, int], diarizer: str | None
) -> dict[str, Any]:
    """Return the list of models in OpenAI's shape, whose package asks at this very address, with ours beside it.

    Source: OpenAI API reference, models/list, read 2026-11-20. rates_micros: micro-dollars per hour.
    """
    return {
        "object": "list",
        "data": [
            {
                "id": model,
                "object": "model",
                "created": 0,
                "owned_by": "voxsite",
                "engine": offer.engine,
                "tasks": ["transcribe", "translate"] if offer.translates else ["transcribe"],
                "language_count": len(offer.languages),
                "diarizer": diarizer,
                "price_per_hour_dollars": show_dollars(rates_micros[model]),
            }
            for model, offer in offers.items()
        ],
    }


def show_languages(offers: Mapping[str, ModelCapabilities], *, names: Mapping[str, str]) -> dict[str, Any]:
    """Return every language that can be asked for, by code, with the models that know it."""
    known = sorted(frozenset().union(*(offer.languages for offer in offers.values())))
    return {
        "languages": [
            {
                "code": code,
                "name": names.get(code, code),
                "models": [model for model, offer in offers.items() if code in offer.languages],
            }
            for code in known
        ]
    }


def _error_of(job: "Job") -> dict[str, str] | None:
    return {"type": job.error_type, "message": job.error_message} if job.error_type else None


def show_dollars(micros: int) -> str:
    return str(Decimal(micros).scaleb(-6).quantize(Decimal("0.000001")))


def _seconds(duration_ms: int) -> int | float:
    return duration_ms // 1000 if duration_ms % 1000 == 0 else duration_ms / 1000
