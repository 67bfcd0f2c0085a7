"""What a job costs: a look at the funds before it, one hold when it is submitted, one charge at its end.

The ledger decides what a wallet can bear. This module computes, and writes the row of the job that ends.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from django.db import transaction
from django.db.models import Count, F, Max, Q, Sum
from django.db.models.expressions import CombinedExpression
from django.utils import timezone

from accounts.errors import InvalidField
from accounts.models import ApiKey, Organization
from billing import charge_tags, ledger, pricing, tariff
from billing.models import Hold
from transcription.jobs import audit, events, intake, mails, retention
from transcription.models import Job, JobItem, Media, Status
from transcription.speech.options import MAX_SPLIT_CHANNELS, TranscriptionOptions
from transcription.speech.transcript import Segment, Transcript
from transcription.webhooks import outbox

# Decoders add or trim a few milliseconds at the edges. Within this, the length that was quoted is billed.
PROBE_TOLERANCE_MS = 1000
# To detect the language costs as much as so much of the recording, wherever in it the first speech is (decision 34).
LANGUAGE_BILLED_MS = 30_000


def require_funds(organization: Organization, *, model: str, api_key: ApiKey | None = None) -> None:
    """Raise PaymentRequired when not even the shortest recording is covered: before one is probed and stored.

    Raises NoRoom while operators take nothing new. api_key: the caller's. Of a token, what is left of its limit counts
    too.
    """
    intake.require_open()
    ledger.require(organization, amount_micros=tariff.price_of(model, 1), api_key=api_key)


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
        quoted_ms = min(media.duration_ms, LANGUAGE_BILLED_MS) if options.only_language else media.duration_ms
        total_micros += _price_micros(media, duration_ms=quoted_ms, options=options, rate_micros=rate_micros)
    return total_micros


class TextMeter:
    """Measure how far the text of a recording has come, and what it costs to be shown it.

    length_ms: how much of the recording the text covers. price_micros: its price at the rate that was quoted.
    Channels that are transcribed apart cost each as far as its own text goes.
    """

    def __init__(self, item: JobItem) -> None:
        self._recording_ms = item.recording.duration_ms
        self._rate_micros = item.job.rate_micros
        # Milliseconds by speaker, who is the channel. There is one key, None, before speakers are told apart.
        self._ends_ms: dict[str | None, int] = {}

    def add(self, segment: Segment) -> None:
        """Add a segment that was recognised."""
        end_ms = max(1, segment.end_ms)
        if self._recording_ms < end_ms <= self._recording_ms + PROBE_TOLERANCE_MS:
            # Completed, the recording would be billed as probed: to be shown its text costs no more.
            end_ms = self._recording_ms
        self._ends_ms[segment.speaker] = max(end_ms, self._ends_ms.get(segment.speaker, 0))

    @property
    def length_ms(self) -> int:
        return max(self._ends_ms.values(), default=0)

    @property
    def price_micros(self) -> int:
        return sum(
            pricing.transcription_price_micros(duration_ms=end_ms, rate_micros_per_hour=self._rate_micros)
            for end_ms in self._ends_ms.values()
        )


def billed_ms(recording: Media, *, transcript: Transcript, options: TranscriptionOptions) -> int:
    """Return the length that is billed, in milliseconds: as probed, unless the decoder found a different length."""
    if options.only_language:
        return min(recording.duration_ms, LANGUAGE_BILLED_MS)
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
    """End a job whose last item has ended: settle its hold, or release it when nothing is to be paid.

    Paid are the items that completed, and of the others the text that was shown while they ran.
    The caller holds the row of the job and has counted `items_left` down to 0. The database adds the items up, so the
    work in this process does not grow with their number.
    """
    assert job.items_left == 0, "a job ends with its last item"
    is_completed = Q(status=Status.COMPLETED)
    ended = job.items.filter(is_completed | Q(cost_micros__gt=0)).aggregate(
        # The first one: the sum that is called duration_ms hides the column from those after it.
        billed_seconds=Sum(_billed_seconds(job), filter=is_completed),
        completed_count=Count("pk", filter=is_completed),
        duration_ms=Sum("duration_ms"),
        cost_micros=Sum("cost_micros"),
        channels=Max("media__channels"),
    )
    if not ended["completed_count"]:
        job.status = Status.FAILED if job.items_failed else Status.CANCELED
    else:
        job.status = Status.COMPLETED if ended["completed_count"] == job.item_count else Status.COMPLETED_WITH_ERRORS
        job.progress = 100
        job.duration_ms = ended["duration_ms"]
    # A job that ended before its recordings were known has no hold.
    if job.quoted_micros is not None:
        hold = Hold.objects.get(reference=job.hold_reference)
        if ended["completed_count"] or ended["cost_micros"]:
            options = TranscriptionOptions.from_dict(job.options)
            _charge(
                job,
                hold,
                cost_micros=ended["cost_micros"],
                duration_ms=ended["duration_ms"],
                channels=ended["channels"] if options.channels == "split" else 1,
                billed_seconds=ended["billed_seconds"] or 0,
            )
        else:
            ledger.release(hold)
    if job.items_failed:
        first_failed = job.items.filter(status=Status.FAILED).order_by("position")[0]
        job.error_type, job.error_message = first_failed.error_type, first_failed.error_message
    job.finished_at = timezone.now()
    job.delete_at = retention.due_after_end(job, ended_at=job.finished_at)
    job.save(
        update_fields=[
            "status",
            "progress",
            "duration_ms",
            "cost_micros",
            "error_type",
            "error_message",
            "finished_at",
            "delete_at",
        ]
    )
    outbox.announce_job(job)
    mails.put(job)
    transaction.on_commit(lambda: events.publish(job.pk, events.END))


def billed_seconds(job: Job) -> int:
    """Return the seconds that the transcripts of a job are charged for: each begun one, of each channel apart.

    Text that was shown of an item that did not complete is charged by its length too, and not counted here.
    """
    seconds: int | None = job.items.filter(status=Status.COMPLETED).aggregate(sum=Sum(_billed_seconds(job)))["sum"]
    return seconds or 0


def billed_seconds_of(item: JobItem) -> int:
    """Return the same of one item."""
    if item.status != Status.COMPLETED or item.duration_ms is None:
        return 0
    channels = item.recording.channels if item.job.options.get("channels") == "split" else 1
    return -(-item.duration_ms // 1000) * channels


def _billed_seconds(job: Job) -> CombinedExpression:
    """Return an item's billed seconds as SQL, which divides whole numbers down."""
    seconds = (F("duration_ms") + 999) / 1000
    return seconds * F("media__channels") if job.options.get("channels") == "split" else seconds


def _charge(job: Job, hold: Hold, *, cost_micros: int, duration_ms: int, channels: int, billed_seconds: int) -> None:
    # A file may be a little longer than probed. The wallet pays what it can of that, and Voxsite bears the rest.
    hold = ledger.extend_as_far_as_possible(hold, to_micros=cost_micros)
    entry = ledger.settle(
        hold,
        actual_micros=cost_micros,
        description=_description(job, duration_ms=duration_ms, channels=channels),
        details={
            "job_id": str(job.pk),
            "api_key_id": str(hold.api_key_id) if hold.api_key_id else None,
            "model": job.model,
            "duration_ms": duration_ms,
            "billed_seconds": billed_seconds,
            # Channels that were transcribed apart, each at the price of the recording.
            "channels": channels,
        },
    )
    charge_tags.record([(entry, charge_tags.tags_of(job.metadata))])
    job.cost_micros = -entry.amount_micros if entry else 0


def _price_micros(media: Media, *, duration_ms: int, options: TranscriptionOptions, rate_micros: int) -> int:
    return track_count(media, options=options) * pricing.transcription_price_micros(
        duration_ms=duration_ms, rate_micros_per_hour=rate_micros
    )


def _description(job: Job, *, duration_ms: int, channels: int) -> str:
    """Return the line of the statement. A customer must see why a recording cost twice its length, or why it cost
    anything without a transcript.

    The name of the job is not in it: an entry can never be changed, and who deletes a job deletes its name too. Pages
    show it beside the line for as long as there is the job (`jobs.names_of_references`).
    """
    notes = []
    if channels > 1:
        notes.append(f"{channels} channels")
    if not job.is_completed:
        notes.append(f"{job.status}, text of {timedelta(seconds=-(-duration_ms // 1000))} shown")
    note = f" ({', '.join(notes)})" if notes else ""
    what = "Language detection" if job.options.get("only_language") else "Transcription"
    return what + note


def tags_of(job: Job) -> charge_tags.WorkTags:
    """Return the tags of what else is charged about a job, such as a summary. They are deleted with the job."""
    return charge_tags.WorkTags(charge_tags.tags_of(job.metadata), work_reference=job.hold_reference)


def names_of_references(references: Sequence[str]) -> dict[str, str]:
    """Return the names of the jobs that references of the ledger name, by reference. Deleted jobs have none."""
    ids: dict[str, uuid.UUID] = {}
    for reference in references:
        if reference.startswith(audit.PREFIX):
            with suppress(ValueError):
                ids[reference] = uuid.UUID(reference.removeprefix(audit.PREFIX))
    names = dict(Job.objects.filter(pk__in=set(ids.values())).values_list("pk", "name"))
    return {reference: names[job_id] for reference, job_id in ids.items() if job_id in names}
