"""What a job costs: admission before it, one charge at its end. The ledger decides; this module only computes."""

from django.db import transaction
from django.utils import timezone

from accounts.models import Organization
from billing import ledger, pricing, tariff
from billing.models import Hold
from transcription.jobs import events
from transcription.models import FINAL_STATUSES, Job, Media, Status
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Transcript

# Decoders add or trim a few milliseconds at the edges. Within this, the length that was quoted is billed.
PROBE_TOLERANCE_MS = 1000


def require_funds(organization: Organization, *, model: str) -> None:
    """Raise PaymentRequired when not even the shortest recording is covered: before one is probed and stored."""
    ledger.require(organization, amount_micros=tariff.price_of(model, 1))


def track_count(media: Media, *, options: TranscriptionOptions) -> int:
    """Return how many recordings the work is worth: one, or one for each channel that is transcribed apart."""
    return media.channels if options.channels == "split" else 1


def billed_ms(recording: Media, *, transcript: Transcript) -> int:
    is_as_probed = abs(transcript.duration_ms - recording.duration_ms) <= PROBE_TOLERANCE_MS
    return recording.duration_ms if is_as_probed else transcript.duration_ms


def _description(job: Job, *, channels: int) -> str:
    """Return the line of the statement. A customer must see why a recording cost twice its length."""
    apart = f" ({channels} channels)" if channels > 1 else ""
    return f"Transcription of {job.name}"[: 200 - len(apart)] + apart


def finish_job(job: Job | None) -> None:
    """End the job if all its items have ended: settle or release its promise. The caller holds its row."""
    assert job is not None, "an item that was just changed has a job"
    items = list(job.items.select_related("media"))
    if job.is_final or any(item.status not in FINAL_STATUSES for item in items):
        return
    completed = [item for item in items if item.status == Status.COMPLETED]
    hold = Hold.objects.get(reference=job.hold_reference)
    if completed:
        job.status = Status.COMPLETED if len(completed) == len(items) else Status.COMPLETED_WITH_ERRORS
        job.progress = 100
        job.duration_ms = sum(item.duration_ms or 0 for item in completed)
        options = TranscriptionOptions.from_dict(job.options)
        tracks = {item.pk: track_count(item.media, options=options) for item in completed}
        # At the quoted rate: a price that changed meanwhile is for the next job.
        price_micros = sum(
            tracks[item.pk]
            * pricing.transcription_price_micros(
                duration_ms=item.duration_ms or 0, rate_micros_per_hour=job.rate_micros
            )
            for item in completed
        )
        # The file may be a little longer than probed. What the wallet can bear of that is charged, the rest is ours.
        hold = ledger.extend_as_far_as_possible(hold, to_micros=price_micros)
        entry = ledger.settle(
            hold,
            actual_micros=price_micros,
            description=_description(job, channels=max(tracks.values())),
            details={
                "job_id": str(job.pk),
                "api_key_id": str(job.api_key_id) if job.api_key_id else None,
                "model": job.model,
                "duration_ms": job.duration_ms,
                # Channels that were transcribed apart, each at the price of the recording.
                "channels": max(tracks.values()),
            },
        )
        job.cost_micros = -entry.amount_micros if entry else 0
    else:
        job.status = Status.CANCELED if all(item.status == Status.CANCELED for item in items) else Status.FAILED
        ledger.release(hold)
    first_error = next((item for item in items if item.status == Status.FAILED), None)
    if first_error is not None:
        job.error_type, job.error_message = first_error.error_type, first_error.error_message
    job.finished_at = timezone.now()
    job.save(
        update_fields=["status", "progress", "duration_ms", "cost_micros", "error_type", "error_message", "finished_at"]
    )
    transaction.on_commit(lambda: events.publish(job.pk, events.END))
