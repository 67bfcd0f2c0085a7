"""What became of a job, as TranscribeAPI tells it: its status, its result document and its webhook.

A result document is read at a signed address, which needs no key and lives for RESULT_LIFETIME.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.core.files.storage import default_storage
from django.db.models import BigIntegerField, ExpressionWrapper, F, Sum

from billing import statements
from transcription.dialects.transcribeapi import answers, statuses
from transcription.dialects.transcribeapi.answers import Bill
from transcription.dialects.transcribeapi.wire import TRANSCRIPT_FIELDS, View
from transcription.jobs import archives
from transcription.models import EventType, Job, JobItem, Status
from transcription.recordings import signing
from transcription.speech.transcript import Transcript
from transcription.webhooks import delivery

logger = logging.getLogger(__name__)

DIALECT = "transcribeapi"
RESULT_LIFETIME = timedelta(days=7)
EVENTS: Mapping[str, str] = {
    EventType.JOB_COMPLETED: "transcription.completed",
    EventType.JOB_FAILED: "transcription.failed",
    EventType.JOB_CANCELED: "transcription.failed",
}


def view_of(job: Job) -> View:
    """Return what the caller of a job wants to see."""
    return View.from_dict(job.answer_options)


def status_of(job: Job) -> str:
    """Return `status` of a job. Looks for its result and its webhook once it has completed."""
    if not job.is_completed:
        return _status_in_row(job)
    if not _has_result(job):
        return statuses.RESULT_MISSING
    webhook_was_lost = bool(job.webhook_url) and delivery.was_lost(job)
    return statuses.completed_status(is_whole=job.status == Status.COMPLETED, webhook_was_lost=webhook_was_lost)


def _status_in_row(job: Job) -> str:
    """Return `status` by the job's row alone."""
    if not job.is_final:
        return statuses.open_status(job.status)
    if job.is_completed:
        return statuses.completed_status(is_whole=job.status == Status.COMPLETED, webhook_was_lost=False)
    error_type = "" if job.status == Status.CANCELED else job.error_type
    return statuses.failed_status(error_type, is_batch=job.item_count > 1)


def bill_of(job: Job) -> Bill:
    """Return what a job costs. Each recording is billed by its own started seconds."""
    seconds = ExpressionWrapper((F("duration_ms") + 999) / 1000, output_field=BigIntegerField())
    billed = job.items.filter(status=Status.COMPLETED).aggregate(seconds=Sum(seconds))["seconds"] or 0
    return Bill(
        duration_ms=1000 * billed,
        rate_micros=job.rate_micros,
        cost_micros=job.cost_micros or 0,
        available_micros=statements.available_micros(job.organization, api_key=job.api_key),
    )


def show_job(job: Job, *, site_url: str, now: datetime) -> dict[str, Any]:
    """Return the answer of a status request. It has the address of the result once there is one."""
    return _show_job(job, status=status_of(job), site_url=site_url, now=now)


def _show_job(job: Job, *, status: str, site_url: str, now: datetime) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "job_id": str(job.pk),
        **answers.both(status),
        "type": "batch" if job.item_count > 1 else "big_file",
        "model": job.model,
        "progress": job.progress,
        "total_files": job.item_count,
        "completed_files": job.item_count - job.items_left - job.items_failed,
        "failed_files": job.items_failed,
    }
    if not job.is_final:
        return {**shown, "billed_seconds": 0, "cost": 0}
    shown |= bill_of(job).shown()
    if job.items_failed or status.startswith("failed_"):
        shown |= {"error": job.error_message or _SENTENCES.get(status, ""), "error_type": job.error_type}
    if job.is_completed and status != statuses.RESULT_MISSING:
        shown |= _result_address(job, site_url=site_url, now=now)
    return shown


def show_webhook(job: Job, *, event: str, site_url: str) -> dict[str, Any]:
    """Return the body of the webhook of a job that has ended."""
    assert job.finished_at is not None, "webhooks tell of the end"
    # By its row: it has just ended, in the transaction of the caller.
    shown = _show_job(job, status=_status_in_row(job), site_url=site_url, now=job.finished_at)
    # All organizations share the keys that sign. So a receiver can tell its own webhooks from those that another
    # customer got and passed on.
    return {**shown, "type": EVENTS[event], "organization_id": str(job.organization_id)}


def show_one(job: Job, transcript: Transcript) -> Any:
    """Return the result document of a job of one recording."""
    return answers.show_result(
        transcript,
        job_id=str(job.pk),
        model=job.model,
        status=status_of(job),
        bill=bill_of(job),
        view=view_of(job),
    )


def batch_document(job: Job) -> Iterator[bytes]:
    """Yield the result document of a batch: what `show_job` says, and under `files` each recording in order."""
    return archives.pieces(_parts_of_batch(job))


def _parts_of_batch(job: Job) -> Iterator[bytes]:
    view = view_of(job)
    yield json.dumps(_batch_head(job), ensure_ascii=False)[:-1].encode() + b', "files": ['
    separator = b""
    for item, transcript in archives.results(job):
        yield separator + json.dumps(_show_item(item, transcript, view=view), ensure_ascii=False).encode()
        separator = b", "
    yield b"]}"


def _batch_head(job: Job) -> dict[str, Any]:
    head = {
        "job_id": str(job.pk),
        **answers.both(status_of(job)),
        "model": job.model,
        "total_files": job.item_count,
        "completed_files": job.item_count - job.items_left - job.items_failed,
        "failed_files": job.items_failed,
        **bill_of(job).shown(),
    }
    shown = answers.without(head, view_of(job).excluded - frozenset(TRANSCRIPT_FIELDS))
    assert isinstance(shown, dict), "a head has no transcript"
    return shown or {"job_id": str(job.pk)}


def _show_item(item: JobItem, transcript: Transcript | None, *, view: View) -> dict[str, Any]:
    """Return one recording of a batch. It keeps its reference and status whatever is excluded."""
    named = {"reference_id": item.reference, "filename": item.name}
    if item.status != Status.COMPLETED:
        error_type = "" if item.status == Status.CANCELED else item.error_type
        status = statuses.failed_status(error_type, is_batch=True)
        return {**named, "status": status, "error": item.error_message, "error_type": item.error_type}
    if transcript is None:
        missing = statuses.RESULT_MISSING
        return {**named, "status": missing, "error": _SENTENCES[missing], "error_type": "result_not_found"}
    assert item.duration_ms is not None, "a completed item has its length"
    shown = {
        "billed_seconds": -(-item.duration_ms // 1000),
        "cost": answers.dollars(item.cost_micros or 0),
        **answers.show_transcript(transcript, granularity=view.granularity),
    }
    # Not `without`, which may leave a bare value: a result must stay with its reference.
    return {**named, "status": "completed", **answers.kept(shown, view.excluded)}


def _has_result(job: Job) -> bool:
    """Tell whether the result of a completed job is still stored. Each recording of a batch says so by itself."""
    if job.item_count > 1:
        return True
    try:
        return default_storage.exists(job.items.get().result_key)
    except Exception:  # Every storage has its own errors, and one of them must not end a customer's polling.
        logger.exception("Storage does not say whether the result of job %s is there.", job.pk)
        return True


def _result_address(job: Job, *, site_url: str, now: datetime) -> dict[str, str]:
    expires_at = now + RESULT_LIFETIME
    path = signing.signed_path(f"/transcribeapi/v1/results/{job.pk}", expires_at=expires_at)
    return {"result_url": f"{site_url}{path}", "expires_at": answers.show_time(expires_at)}


_SENTENCES: Mapping[str, str] = {
    statuses.CANCELED: "The job was canceled.",
    statuses.RESULT_MISSING: "The result is no longer stored.",
}
