"""What a job costs: a look at the funds before it, one hold when it is submitted, one charge at its end.

The ledger decides what a wallet can bear. This module computes, and writes the row of the job that ends.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import Count, Max, Sum
from django.utils import timezone

from accounts.errors import InvalidField
from accounts.models import Organization
from billing import ledger, pricing, tariff
from billing.models import Hold
from transcription.jobs import events
from transcription.models import Job, JobItem, Media, Status
from transcription.speech.options import MAX_SPLIT_CHANNELS, TranscriptionOptions
from transcription.speech.transcript import Transcript

# Decoders add or trim a few milliseconds at the edges. Within this, the length that was quoted is billed.
PROBE_TOLERANCE_MS = 1000


def require_funds(organization: Organization, *, model: str) -> None:
    """Raise PaymentRequired when not even the shortest recording is covered: before one is probed and stored."""
    ledger.require(organization, amount_micros=tariff.price_of(model, 1))


def track_count(media: Media, *, options: TranscriptionOptions) -> int:
    """Return how many recordings the work is worth: one, or one for each channel that is transcribed apart."""
    return media.channels if options.channels == "split" else 1


def quote_micros(recordings: Sequence[Media], *, options: TranscriptionOptions, rate_micros: int) -> int:
    """Return the price of recordings in micro-dollars, each rounded by itself, at a rate per hour.

    Raises InvalidField for a recording with more channels than can be transcribed apart.
    """
    total_micros = 0
    for media in recordings:
        if options.channels == "split" and media.channels > MAX_SPLIT_CHANNELS:
            raise InvalidField(
                "channels",
                f"The recording has {media.channels} channels, and at most {MAX_SPLIT_CHANNELS} can be "
                "transcribed apart.",
            )
        total_micros += _price_micros(media, duration_ms=media.duration_ms, options=options, rate_micros=rate_micros)
    return total_micros


def billed_ms(recording: Media, *, transcript: Transcript) -> int:
    """Return the length that is billed, in milliseconds: as probed, unless the decoder found a different length."""
    is_as_probed = abs(transcript.duration_ms - recording.duration_ms) <= PROBE_TOLERANCE_MS
    return recording.duration_ms if is_as_probed else transcript.duration_ms


def item_cost_micros(item: JobItem, *, duration_ms: int) -> int:
    """Return an item's part of the price, in micro-dollars, for the length that is billed.

    At the rate that was quoted: a price that changed meanwhile is for the next job.
    """
    return _price_micros(
        item.recording,
        duration_ms=duration_ms,
        options=TranscriptionOptions.from_dict(item.job.options),
        rate_micros=item.job.rate_micros,
    )


def finish_job(job: Job) -> None:
    """End a job whose last item has ended: settle its hold, or release it when nothing completed.

    The caller holds the row of the job and has counted `items_left` down to 0. The database adds the items up, so the
    work in this process does not grow with their number.
    """
    assert job.items_left == 0, "a job ends with its last item"
    completed = job.items.filter(status=Status.COMPLETED).aggregate(
        count=Count("pk"),
        duration_ms=Sum("duration_ms"),
        cost_micros=Sum("cost_micros"),
        channels=Max("media__channels"),
    )
    if job.quoted_micros is None:
        # It ended before its recordings were known, so it has no hold.
        job.status = Status.FAILED if job.items_failed else Status.CANCELED
    elif completed["count"]:
        hold = Hold.objects.get(reference=job.hold_reference)
        job.status = Status.COMPLETED if completed["count"] == job.item_count else Status.COMPLETED_WITH_ERRORS
        job.progress = 100
        job.duration_ms = completed["duration_ms"]
        options = TranscriptionOptions.from_dict(job.options)
        channels = completed["channels"] if options.channels == "split" else 1
        # A file may be a little longer than probed. The wallet pays what it can of that, and Voxsite bears the rest.
        hold = ledger.extend_as_far_as_possible(hold, to_micros=completed["cost_micros"])
        entry = ledger.settle(
            hold,
            actual_micros=completed["cost_micros"],
            description=_description(job, channels=channels),
            details={
                "job_id": str(job.pk),
                "api_key_id": str(job.api_key_id) if job.api_key_id else None,
                "model": job.model,
                "duration_ms": job.duration_ms,
                # Channels that were transcribed apart, each at the price of the recording.
                "channels": channels,
            },
        )
        job.cost_micros = -entry.amount_micros if entry else 0
    else:
        job.status = Status.FAILED if job.items_failed else Status.CANCELED
        ledger.release(Hold.objects.get(reference=job.hold_reference))
    if job.items_failed:
        first_failed = job.items.filter(status=Status.FAILED).order_by("position")[0]
        job.error_type, job.error_message = first_failed.error_type, first_failed.error_message
    job.finished_at = timezone.now()
    job.save(
        update_fields=["status", "progress", "duration_ms", "cost_micros", "error_type", "error_message", "finished_at"]
    )
    transaction.on_commit(lambda: events.publish(job.pk, events.END))


def _price_micros(media: Media, *, duration_ms: int, options: TranscriptionOptions, rate_micros: int) -> int:
    return track_count(media, options=options) * pricing.transcription_price_micros(
        duration_ms=duration_ms, rate_micros_per_hour=rate_micros
    )


def _description(job: Job, *, channels: int) -> str:
    """Return the line of the statement. A customer must see why a recording cost twice its length."""
    apart = f" ({channels} channels)" if channels > 1 else ""
    return f"Transcription of {job.name}"[: 200 - len(apart)] + apart
