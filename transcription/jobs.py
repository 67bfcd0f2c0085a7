"""The life of a job: submit, claim, touch, finish, fail, cancel, delete, reconcile.

The database is the truth and the queue a hint: a row is queued before Redis hears of it, and the clock enqueues again
what Redis lost. A worker claims an item by a conditional UPDATE that counts `attempt` up, and every later write names
that attempt: RQ may run a task twice, and a frozen worker may wake up.
"""

import json
import logging
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import connections
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import ApiKey, Organization, User
from billing import ledger, pricing, tariff
from billing.models import Hold
from transcription import events, queue
from transcription import media as recordings
from transcription.models import FINAL_STATUSES, Job, JobItem, Media, Status
from transcription.speech.options import MAX_SPLIT_CHANNELS, TranscriptionOptions
from transcription.speech.transcript import Transcript

logger = logging.getLogger(__name__)

# Decoders add or trim a few milliseconds at the edges. Within this, the length that was quoted is billed.
PROBE_TOLERANCE_MS = 1000
# Rows that one round of the clock looks at; the rest waits for the next round, a few seconds later.
RECONCILE_BATCH = 500


class Superseded(Exception):
    """This attempt does not own its item any more: it was canceled, or given to another worker."""


def submit(
    organization: Organization,
    *,
    media: Media,
    model: str,
    options: TranscriptionOptions,
    dialect: str,
    api_key: ApiKey | None = None,
    created_by: User | None = None,
    within: Callable[[Job], None] | None = None,
) -> Job:
    """Order the transcription of one recording, and promise its price.

    within: called with the job inside the transaction that makes it; what it raises undoes the job.
    Raises PaymentRequired when the balance, or a monthly limit, does not cover the probed length, and InvalidField for
    more channels than can be transcribed apart; then there is no job.
    """
    rate_micros = tariff.rate_of(model)
    if options.channels == "split" and media.channels > MAX_SPLIT_CHANNELS:
        raise InvalidField(
            "channels",
            f"The recording has {media.channels} channels, and at most {MAX_SPLIT_CHANNELS} can be transcribed apart.",
        )
    price_micros = track_count(media, options=options) * pricing.transcription_price_micros(
        duration_ms=media.duration_ms, rate_micros_per_hour=rate_micros
    )
    job = Job(
        organization=organization,
        api_key=api_key,
        created_by=created_by,
        dialect=dialect,
        model=model,
        name=media.name,
        options=options.to_dict(),
        duration_ms=media.duration_ms,
        rate_micros=rate_micros,
        quoted_micros=price_micros,
    )
    with transaction.atomic():
        ledger.reserve(organization, amount_micros=price_micros, reference=job.hold_reference, api_key=api_key)
        job.save(force_insert=True)
        item = JobItem.objects.create(job=job, media=media)
        if within is not None:
            within(job)
        transaction.on_commit(lambda: queue.enqueue(item, job=job))
    return job


def require_funds(organization: Organization, *, model: str) -> None:
    """Raise PaymentRequired when not even the shortest recording is covered: before one is probed and stored."""
    ledger.require(organization, amount_micros=tariff.price_of(model, 1))


def track_count(media: Media, *, options: TranscriptionOptions) -> int:
    """Return how many recordings the work is worth: one, or one for each channel that is transcribed apart."""
    return media.channels if options.channels == "split" else 1


def claim(item_id: uuid.UUID) -> JobItem | None:
    """Take a queued item for this worker. Returns None when there is nothing to do: done, canceled, or another's."""
    now = timezone.now()
    job_id = JobItem.objects.filter(pk=item_id, status=Status.QUEUED).values_list("job_id", flat=True).first()
    if job_id is None:
        return None
    with _locked(job_id):
        taken = JobItem.objects.filter(pk=item_id, status=Status.QUEUED).update(
            status=Status.PROCESSING, attempt=F("attempt") + 1, touched_at=now, progress=0
        )
        if not taken:
            return None
        Job.objects.filter(pk=job_id, status=Status.QUEUED).update(status=Status.PROCESSING, started_at=now)
        return JobItem.objects.select_related("job", "media").get(pk=item_id)


def touch(item: JobItem, *, progress: int | None = None) -> None:
    """Write a sign of life, and how far the work is (0 to 99). Raises Superseded when the item is not ours any more."""
    fields: dict[str, Any] = {"touched_at": timezone.now()}
    if progress is not None:
        fields["progress"] = progress
    if not _ours(item).update(**fields):
        raise Superseded
    if progress is not None and item.job.items.count() == 1:
        Job.objects.filter(pk=item.job_id, status=Status.PROCESSING).update(progress=progress)


def finish_item(item: JobItem, *, transcript: Transcript) -> bool:
    """Store the result, charge for it, and end the job if this was its last item.

    Returns False when the item was not ours any more; then nothing is kept and nothing charged.
    """
    # A name that no other finish can have, not even a second one of this attempt: whoever loses removes its own file.
    key = f"results/{item.job.organization_id}/{item.job_id}/{item.pk}-{item.attempt}-{secrets.token_hex(4)}.json"
    document = json.dumps(transcript.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
    # Outside the transaction: storage may be slow.
    default_storage.save(key, ContentFile(document))
    try:
        with _locked(item.job_id) as job:
            finished = _ours(item).update(
                status=Status.COMPLETED,
                progress=100,
                result_key=key,
                duration_ms=_billed_ms(item.media, transcript=transcript),
                language=transcript.language or "",
                engine=transcript.engine,
                finished_at=timezone.now(),
            )
            if finished:
                _conclude(job)
    except BaseException:
        # A connection that breaks during COMMIT leaves open whether it took effect. Only a row tells; without an
        # answer the file stays, and the clock's sweep finds it if it is a stray.
        connections.release()
        if not JobItem.objects.filter(pk=item.pk, result_key=key).exists():
            recordings.remove_file(key)
        raise
    if not finished:
        recordings.remove_file(key)
    return bool(finished)


def fail_item(item: JobItem, *, error_type: str, message: str, may_retry: bool) -> None:
    """End an attempt that went wrong: queue the item again if that may help and attempts are left, else fail it.

    A retry waits for the clock, which gives it the pause that a struggling engine needs.
    """
    with _locked(item.job_id) as job:
        if may_retry and item.attempt < settings.JOB_ATTEMPTS:
            _ours(item).update(status=Status.QUEUED, progress=0, touched_at=timezone.now())
            return
        if _ours(item).update(
            status=Status.FAILED, error_type=error_type, error_message=message[:500], finished_at=timezone.now()
        ):
            _conclude(job)


def cancel(job: Job) -> Job:
    """Stop a job; nothing is charged. Its worker hears at its next heartbeat. Raises Conflict once it has ended."""
    with _locked(job.pk) as locked:
        if locked is None or locked.is_final:
            raise Conflict("The job has ended already.", error_type="job_has_ended")
        locked.items.exclude(status__in=FINAL_STATUSES).update(status=Status.CANCELED, finished_at=timezone.now())
        _conclude(locked)
        transaction.on_commit(lambda: events.ask_to_stop(job.pk))
    job.refresh_from_db()
    return job


def delete(job: Job) -> None:
    """Remove a job, its results and its recordings. What it cost stays in the ledger."""
    if not job.is_final:
        # A conflict means that it ended while we asked: delete what it left.
        with suppress(Conflict):
            cancel(job)
    with _locked(job.pk) as locked:
        if locked is None:
            return  # Somebody else deleted it.
        items = list(job.items.select_related("media"))
        keys = [item.result_key for item in items if item.result_key]
        locked.delete()
        for recording in {item.media for item in items}:
            if not recording.items.exists():
                keys.append(recording.storage_key)
                recording.delete()
        transaction.on_commit(lambda: recordings.remove_files(keys))


def transcript_of(job: Job) -> Transcript:
    """Return the result of a completed job. Raises NotFound until there is one."""
    item = job.items.filter(status=Status.COMPLETED).first()
    if not job.is_completed or item is None:
        raise NotFound("There is no result yet.", error_type="result_not_found")
    try:
        with default_storage.open(item.result_key, "rb") as file:
            return Transcript.from_dict(json.loads(file.read()))
    except FileNotFoundError as error:
        raise NotFound("The result is not kept any more.", error_type="result_not_found") from error


def reconcile(*, now: datetime) -> int:
    """Give work back that nobody does. Returns how many items were queued again or failed.

    Processing without a sign of life: its worker is dead, or frozen and fenced out. Queued for long: Redis may have
    lost it (a restart, or a worker that died between taking it from the list and claiming it here).
    """
    silent_since = now - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    waiting_since = now - timedelta(seconds=settings.LOST_IN_QUEUE_SECONDS)
    unfinished = JobItem.objects.select_related("job").order_by("touched_at")
    changed = 0
    for item in unfinished.filter(status=Status.PROCESSING, touched_at__lt=silent_since)[:RECONCILE_BATCH]:
        try:
            changed += _take_back(item, silent_since=silent_since)
        except Exception:  # One broken row must not keep all others waiting.
            logger.exception("Item %s could not be taken back.", item.pk)
    for item in unfinished.filter(status=Status.QUEUED, touched_at__lt=waiting_since)[:RECONCILE_BATCH]:
        # Moving the mark makes the next round look at others first.
        JobItem.objects.filter(pk=item.pk, status=Status.QUEUED).update(touched_at=now)
        changed += queue.enqueue_if_lost(item, job=item.job)
    return changed


def _take_back(item: JobItem, *, silent_since: datetime) -> int:
    logger.warning("Item %s: no sign of life in attempt %s.", item.pk, item.attempt)
    with _locked(item.job_id) as job:
        silent = _ours(item).filter(touched_at__lt=silent_since)
        if item.attempt < settings.JOB_ATTEMPTS:
            if not silent.update(status=Status.QUEUED, progress=0, touched_at=timezone.now()):
                return 0
            transaction.on_commit(lambda: queue.enqueue(item, job=item.job))
            return 1
        failed = silent.update(
            status=Status.FAILED,
            error_type="worker_lost",
            error_message="The work stopped several times without a reason that we know.",
            finished_at=timezone.now(),
        )
        if failed:
            _conclude(job)
        return int(failed)


def _ours(item: JobItem) -> Any:
    """Return the item as a query that is empty when this attempt does not own it."""
    return JobItem.objects.filter(pk=item.pk, attempt=item.attempt, status=Status.PROCESSING)


def _billed_ms(recording: Media, *, transcript: Transcript) -> int:
    is_as_probed = abs(transcript.duration_ms - recording.duration_ms) <= PROBE_TOLERANCE_MS
    return recording.duration_ms if is_as_probed else transcript.duration_ms


@contextmanager
def _locked(job_id: uuid.UUID) -> Iterator[Job | None]:
    """A transaction that holds the job's row, or has None for one that was deleted.

    Everybody takes the job first, then its items, then the wallet: two orders would deadlock on PostgreSQL.
    """
    with transaction.atomic():
        yield Job.objects.select_for_update().filter(pk=job_id).first()


def _description(job: Job, *, channels: int) -> str:
    """Return the line of the statement. A customer must see why a recording cost twice its length."""
    apart = f" ({channels} channels)" if channels > 1 else ""
    return f"Transcription of {job.name}"[: 200 - len(apart)] + apart


def _conclude(job: Job | None) -> None:
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
