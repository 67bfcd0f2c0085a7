"""The life of a job: submit, claim, touch, finish, fail, cancel, delete.

The database is the truth and the queue a hint: a row is queued before Redis hears of it, and the clock enqueues again
what Redis lost. A worker claims an item by a conditional UPDATE that counts `attempt` up, and every later write names
that attempt: RQ may run a task twice, and a frozen worker may wake up.
"""

import json
import logging
import secrets
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Greatest
from django.utils import timezone

from accounts import database_connection, log_context
from accounts.errors import Conflict
from billing import ledger, tariff
from transcription import recordings
from transcription.jobs import charging, events, intake, queue, retention, search
from transcription.jobs.submission import OF_THE_REQUEST, Submission
from transcription.models import FINAL_STATUSES, Job, JobItem, Media, Priority, Status
from transcription.speech.options import TranscriptionOptions
from transcription.speech.transcript import Transcript
from transcription.webhooks import targets

logger = logging.getLogger(__name__)

# Rows of one INSERT: SQLite takes 32,766 values in a statement.
INSERT_BATCH_SIZE = 500
# Ends an item early in the UPDATE that reads what was shown: text that is recorded later is not shown.
_PAID_AS_SHOWN = {"duration_ms": F("shown_ms"), "cost_micros": F("shown_micros")}


class Superseded(Exception):
    """This attempt does not own its item any more: it was canceled, or given to another worker."""


def submit(submission: Submission, *, media: Media) -> Job:
    """Request the transcription of one recording, and hold its price.

    Raises PaymentRequired when the balance, or a monthly limit, does not cover the probed length, and InvalidField for
    more channels than can be transcribed apart; then there is no job.
    """
    items = [JobItem(media=media)]
    return _submit_items(submission, items=items, name=media.name, default_priority=Priority.STANDARD)


def submit_batch(submission: Submission, *, recordings: Sequence[Media], name: str) -> Job:
    """Request the transcription of recordings as one job, an item each, and hold the price of all.

    recordings: one or more. name: what lists and statements show. Raises as `submit`.
    """
    items = [JobItem(media=media) for media in recordings]
    return _submit_items(submission, items=items, name=name, default_priority=Priority.BULK)


def claim(item_id: uuid.UUID) -> JobItem | None:
    """Take a queued item for this worker. Returns None when there is nothing to do: done, canceled, or another's."""
    now = timezone.now()
    queued = JobItem.objects.filter(pk=item_id, status=Status.QUEUED)
    item = queued.select_related("job", "media").first()
    if item is None:
        return None
    taken = {"status": Status.PROCESSING, "attempt": item.attempt + 1, "touched_at": now, "progress": 0}
    is_same = queued.filter(attempt=item.attempt)
    if item.job.status == Status.PROCESSING:
        # All items of a batch but the first one. One statement that changes one row needs no lock of the job: whatever
        # else ends the item at this moment names its status too, and finds what this has left, or this finds nothing.
        if not is_same.update(**taken):
            return None
    else:
        with lock_job(item.job_id):
            if not is_same.update(**taken):
                return None
            begun = {"status": Status.PROCESSING, "started_at": now}
            if Job.objects.filter(pk=item.job_id, status=Status.QUEUED).update(**begun):
                _set(item.job, **begun)
    _set(item, **taken)
    return item


def keep_waiting(item_id: uuid.UUID) -> bool:
    """Keep a queued item from being taken for lost. Returns False when it does not wait any more."""
    return bool(JobItem.objects.filter(pk=item_id, status=Status.QUEUED).update(touched_at=timezone.now()))


def touch(item: JobItem, *, progress: int | None = None) -> None:
    """Write a heartbeat, and how far the work is (0 to 99). Raises Superseded when the attempt lost the item."""
    fields: dict[str, Any] = {"touched_at": timezone.now()}
    if progress is not None:
        fields["progress"] = progress
    if not owned_by_attempt(item).update(**fields):
        raise Superseded
    if progress is not None and item.job.item_count == 1:
        Job.objects.filter(pk=item.job_id, status=Status.PROCESSING).update(progress=progress)


def finish_item(item: JobItem, *, transcript: Transcript) -> bool:
    """Store the result, charge for it, and end the job if this was its last item.

    Returns False when this attempt had lost the item; then nothing is kept and nothing charged.
    """
    # No other finish has this name, not even a second one of this attempt: the one that loses removes its own file.
    key = f"{results_folder(item.job)}/{item.pk}-{item.attempt}-{secrets.token_hex(4)}.json"
    document = json.dumps(transcript.to_dict(), ensure_ascii=False, separators=(",", ":")).encode()
    options = TranscriptionOptions.from_dict(item.job.options)
    duration_ms = charging.billed_ms(item.recording, transcript=transcript, options=options)
    cost_micros = charging.item_cost_micros(item, duration_ms=duration_ms)
    stretches = search.stretches(transcript)
    # Outside the transaction: storage may be slow.
    default_storage.save(key, ContentFile(document))
    try:
        with lock_job(item.job_id) as job:
            finished = owned_by_attempt(item).update(
                status=Status.COMPLETED,
                progress=100,
                result_key=key,
                duration_ms=duration_ms,
                cost_micros=cost_micros,
                language=transcript.language or "",
                engine=transcript.engine,
                finished_at=timezone.now(),
            )
            if finished:
                search.record_transcript(item, stretches=stretches)
                count_ended(job)
    except BaseException:
        # A connection that breaks during COMMIT leaves open whether it took effect. Only a row tells; without an
        # answer the file stays, and the clock's sweep finds it if it is a stray.
        database_connection.release()
        if not JobItem.objects.filter(pk=item.pk, result_key=key).exists():
            recordings.remove_file(key)
        raise
    if not finished:
        recordings.remove_file(key)
        # Of a deleted job nothing stays. Beside a live one, another worker may just be writing into the folder.
        if not Job.objects.filter(pk=item.job_id).exists():
            recordings.remove_empty_folder(results_folder(item.job))
    return bool(finished)


def record_shown(item_id: uuid.UUID, *, length_ms: int, price_micros: int) -> bool:
    """Record, before it is shown, that text of a running item leaves. Returns False if it must not be shown.

    length_ms, price_micros: of all text of the item up to there, as `charging.TextMeter` has it. Less than what was
    recorded before changes nothing.
    The row decides between this and a cancellation or failure at the same moment: what was recorded first is charged,
    and an item that has ended so takes no record. The text of a completed item is paid.
    """
    not_ended_early = JobItem.objects.filter(pk=item_id).exclude(status__in=(Status.FAILED, Status.CANCELED))
    return bool(
        not_ended_early.update(
            shown_ms=Greatest("shown_ms", length_ms), shown_micros=Greatest("shown_micros", price_micros)
        )
    )


def fail_item(item: JobItem, *, error_type: str, message: str) -> None:
    """End an attempt that went wrong on our side: queue the item again if attempts are left, else fail it.

    It costs nothing, whatever was shown of it. A retry waits for the clock, which gives it the pause that a struggling
    engine needs.
    """
    with lock_job(item.job_id) as job:
        _end_attempt(item, rows=owned_by_attempt(item), job=job, error_type=error_type, message=message)


def take_back(item: JobItem, *, silent_since: datetime) -> bool:
    """End an attempt whose worker gave no heartbeat since then, as `fail_item` does. A retry is enqueued at once.

    Returns False when the attempt had lost the item, or gave a heartbeat after all.
    """
    message = "The work stopped several times without a reason that we know."
    silent = owned_by_attempt(item).filter(touched_at__lt=silent_since)
    with lock_job(item.job_id) as job:
        status = _end_attempt(item, rows=silent, job=job, error_type="worker_lost", message=message)
        if status == Status.QUEUED:
            transaction.on_commit(lambda: queue.enqueue([item], job=item.job))
    return status is not None


def reject_item(item: JobItem, *, error_type: str, message: str) -> None:
    """Fail an item that its sender is to blame for. What was shown of it is charged, and it is not tried again."""
    with lock_job(item.job_id) as job:
        if owned_by_attempt(item).update(
            status=Status.FAILED,
            error_type=error_type,
            error_message=message[:500],
            finished_at=timezone.now(),
            **_PAID_AS_SHOWN,
        ):
            count_ended(job, failed=1)


def cancel(job: Job) -> Job:
    """Stop a job. Charged are the items that have completed, and the text that was shown of others.

    Its workers hear of it at their next heartbeat. Raises Conflict once it has ended.
    """
    with lock_job(job.pk) as locked:
        if locked is None or locked.is_final:
            raise Conflict("The job has already ended.", error_type="job_has_ended")
        canceled = locked.items.exclude(status__in=FINAL_STATUSES).update(
            status=Status.CANCELED, finished_at=timezone.now(), **_PAID_AS_SHOWN
        )
        count_ended(locked, ended=canceled)
        transaction.on_commit(lambda: events.ask_to_stop(job.pk))
    job.refresh_from_db()
    return job


def may_run_again(job: Job) -> bool:
    """Tell whether anything of a job can be repeated by `run_again`."""
    return job.is_final and job.status != Status.COMPLETED and _repeatable(job).exists()


def run_again(job: Job) -> Job:
    """Submit the recordings of a job that failed or were canceled as a new job, at today's price.

    Each has its reference and its own language again. What was kept of the request alone is not (OF_THE_REQUEST).
    Returns the new job. Raises Conflict while the job runs and when nothing of it can be repeated, and PaymentRequired.
    """
    if not job.is_final:
        raise Conflict("The job has not ended.", error_type="job_runs")
    items = [
        JobItem(media=item.media, reference=item.reference, requested_language=item.requested_language)
        for item in _repeatable(job).select_related("media").order_by("position")
    ]
    if not items:
        raise Conflict("No recording of this job failed or was canceled.", error_type="nothing_to_run_again")
    submission = Submission(
        organization=job.organization,
        model=job.model,
        options=TranscriptionOptions.from_dict(job.options),
        dialect=job.dialect,
        priority=Priority(job.priority),
        # Of a token, its key: the limit of a visitor is spent, and does not bind who runs a job again.
        api_key=job.api_key.charged_key if job.api_key else None,
        created_by=job.created_by,
        metadata=job.metadata,
        answer_options={
            name: value for name, value in job.answer_options.items() if not name.startswith(OF_THE_REQUEST)
        },
        retention=retention.of(job),
        webhook=targets.of(job),
    )
    return _submit_items(submission, items=items, name=job.name, default_priority=Priority.BULK)


def _repeatable(job: Job) -> QuerySet[JobItem]:
    return job.items.filter(status__in=(Status.FAILED, Status.CANCELED), media__isnull=False)


def results_folder(job: Job) -> str:
    """Return the folder of a job's results in the storage."""
    return f"results/{job.organization_id}/{job.pk}"


def count_ended(job: Job | None, *, ended: int = 1, failed: int = 0) -> None:
    """Count items that have just ended, and end the job with its last one.

    job: its row is held by the caller's transaction, in which the items were changed.
    """
    assert job is not None, "an item that was just changed has a job"
    assert job.items_left >= ended, "no more items end than a job has"
    as_read = Job.objects.filter(pk=job.pk, items_left=job.items_left)
    job.items_left -= ended
    job.items_failed += failed
    if job.item_count > 1:  # Of a single recording the worker tells how far it is.
        job.progress = (job.item_count - job.items_left) * 100 // job.item_count
    counted = as_read.update(items_left=job.items_left, items_failed=job.items_failed, progress=job.progress)
    assert counted, "nobody else changes a row that is held"
    if job.items_left == 0:
        charging.finish_job(job)


def _end_attempt(
    item: JobItem, *, rows: QuerySet[JobItem], job: Job | None, error_type: str, message: str
) -> Status | None:
    """Queue an item again, or fail it after `JOB_ATTEMPTS` attempts. Returns the new status, None when rows is empty.

    rows: the item, or nothing when the attempt does not own it any more.
    """
    now = timezone.now()
    if item.attempt < settings.JOB_ATTEMPTS:
        return Status.QUEUED if rows.update(status=Status.QUEUED, progress=0, touched_at=now) else None
    if not rows.update(status=Status.FAILED, error_type=error_type, error_message=message[:500], finished_at=now):
        return None
    count_ended(job, failed=1)
    return Status.FAILED


def owned_by_attempt(item: JobItem) -> Any:
    """Return the item as a query that is empty when its attempt has lost it."""
    return JobItem.objects.filter(pk=item.pk, attempt=item.attempt, status=Status.PROCESSING)


def _set(row: Job | JobItem, **fields: Any) -> None:
    """Set fields of an object to what was written to its row."""
    for name, value in fields.items():
        setattr(row, name, value)


@contextmanager
def lock_job(job_id: uuid.UUID) -> Iterator[Job | None]:
    """Open a transaction that holds the job's row. Yields None for a job that was deleted.

    Every caller locks the job first, then its items, then the wallet: two orders would deadlock on PostgreSQL.
    """
    with transaction.atomic():
        yield Job.objects.select_for_update().filter(pk=job_id).first()


def _submit_items(submission: Submission, *, items: Sequence[JobItem], name: str, default_priority: Priority) -> Job:
    """Insert a job with items that have a recording, in their order, hold the price and queue them."""
    assert items, "a job has an item"
    media = [item.recording for item in items]
    job = new_job(submission, name=name, item_count=len(items), default_priority=default_priority)
    price_micros = charging.quote_micros(media, options=submission.options, rate_micros=job.rate_micros)
    job.duration_ms = sum(one.duration_ms for one in media)
    job.quoted_micros = price_micros
    for position, item in enumerate(items):
        item.job, item.position = job, position
    with transaction.atomic():
        # Files can have been sent before, and an older job that uses them may be deleted at this moment.
        recordings.require_stored(media)
        ledger.reserve(
            submission.organization,
            amount_micros=price_micros,
            reference=job.hold_reference,
            api_key=submission.api_key,
        )
        insert(job)
        JobItem.objects.bulk_create(items, batch_size=INSERT_BATCH_SIZE)
        search.record_names(job, names=[one.name for one in media])
        if submission.in_transaction is not None:
            submission.in_transaction(job)
        transaction.on_commit(lambda: queue.enqueue(items, job=job))
    return job


def new_job(submission: Submission, *, name: str, item_count: int, default_priority: Priority) -> Job:
    """Return the job of a submission, not saved and without its length and price.

    Raises UnpricedModel, and NoRoom while operators take nothing new.
    """
    intake.require_open()
    model = tariff.model_named(submission.model)
    job = Job(
        organization=submission.organization,
        api_key=submission.api_key,
        created_by=submission.created_by,
        dialect=submission.dialect,
        model=model.name,
        underlying_model="" if model.underlying == model.name else model.underlying,
        name=name,
        options=submission.options.to_dict(),
        metadata=dict(submission.metadata),
        answer_options=dict(submission.answer_options),
        deletes_after_retrieval=submission.retention.after_retrieval,
        retention_days=submission.retention.days,
        webhook_url=submission.webhook.url if submission.webhook else "",
        webhook_header_name=submission.webhook.header_name if submission.webhook else "",
        webhook_header_value=submission.webhook.header_value if submission.webhook else "",
        priority=submission.priority or default_priority,
        item_count=item_count,
        items_left=item_count,
        rate_micros=model.hour_micros,
    )
    log_context.add(job_id=job.pk)
    return job


def insert(job: Job) -> None:
    """Insert a job. Runs in the caller's transaction."""
    job.save(force_insert=True)
    # The log of requests shows a link to it. An order that is refused has an id in the log lines, and no job.
    transaction.on_commit(lambda: log_context.note(job_id=job.pk))
