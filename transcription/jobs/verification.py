"""From uploads to work: items wait for their bytes, are probed by a worker, and once all recordings of a job are known
the job is priced, held and queued.

A worker runs `verify_item` without a lock, because a probe may take a minute. The writes after it name the state in
which they find the item, so an item that was canceled meanwhile, or verified twice, changes once.
"""

import logging
import uuid
from functools import partial

from django.db import transaction
from django.utils import timezone

from accounts.errors import BadMedia, Conflict, VoxsiteError
from billing import ledger
from transcription.jobs import charging, queue
from transcription.jobs.lifecycle import count_ended, lock_job
from transcription.models import Job, JobItem, Media, Status, Upload
from transcription.recordings import uploads
from transcription.speech.options import TranscriptionOptions

logger = logging.getLogger(__name__)


def bytes_have_come(upload: Upload) -> int:
    """Have workers verify the items that wait for an upload whose bytes have come. Returns how many items."""
    waiting = list(JobItem.objects.filter(upload=upload, status=Status.UPLOADING).select_related("job"))
    started = 0
    for item in waiting:
        with lock_job(item.job_id) as job:
            if job is None or not JobItem.objects.filter(pk=item.pk, status=Status.UPLOADING).update(
                status=Status.VERIFYING, touched_at=timezone.now()
            ):
                continue
            Job.objects.filter(pk=job.pk, status=Status.UPLOADING).update(status=Status.VERIFYING)
            transaction.on_commit(partial(queue.enqueue, [item], job=item.job))
            started += 1
    return started


def verify_item(item_id: uuid.UUID) -> None:
    """Probe the upload of an item. Once it is the job's last unknown one, price the job, hold the price and queue it.

    Ends quietly when there is nothing to do: verified, canceled, or deleted.
    """
    item = (
        JobItem.objects.select_related("job", "upload__organization")
        .filter(pk=item_id, status=Status.VERIFYING, media__isnull=True)
        .first()
    )
    if item is None or item.upload is None:
        return
    try:
        options = TranscriptionOptions.from_dict(item.job.options)
        media = uploads.verify(item.upload, may_be_truncated=options.accept_truncated)
    except (BadMedia, Conflict) as error:
        fail_unverified(item, error=error)
        return
    with lock_job(item.job_id) as job:
        if JobItem.objects.filter(pk=item.pk, status=Status.VERIFYING, media__isnull=True).update(media=media):
            assert job is not None, "an item that was just changed has a job"
            _count_verified(job)


def fail_unverified(item: JobItem, *, error: VoxsiteError) -> bool:
    """End an item whose upload is no recording or never came. Returns False if it had ended, or is verified."""
    with lock_job(item.job_id) as job:
        failed = JobItem.objects.filter(
            pk=item.pk, status__in=(Status.UPLOADING, Status.VERIFYING), media__isnull=True
        ).update(
            status=Status.FAILED,
            error_type=error.type,
            error_message=error.message[:500],
            finished_at=timezone.now(),
        )
        if failed:
            assert job is not None, "an item that was just changed has a job"
            count_ended(job, failed=1)
            _count_verified(job)
    return bool(failed)


def _count_verified(job: Job) -> None:
    """Count one item whose recording is known, or is known not to come. The caller holds the row of the job."""
    job.items_unverified -= 1
    job.save(update_fields=["items_unverified"])
    if job.items_unverified == 0 and not job.is_final:
        _price_and_queue(job)


def _price_and_queue(job: Job) -> None:
    """Hold the price of the recordings of a job and queue them, or fail them all when the balance does not cover it."""
    ready = job.items.filter(status=Status.VERIFYING, media__isnull=False)
    recordings = list(Media.objects.filter(items__in=ready))
    try:
        with transaction.atomic():
            job.quoted_micros = charging.quote_micros(
                recordings, options=TranscriptionOptions.from_dict(job.options), rate_micros=job.rate_micros
            )
            ledger.reserve(
                job.organization,
                amount_micros=job.quoted_micros,
                reference=job.hold_reference,
                api_key=job.api_key,
            )
    except VoxsiteError as error:
        logger.info("Job %s is not queued: %s", job.pk, error.type)
        job.quoted_micros = None
        failed = ready.update(
            status=Status.FAILED,
            error_type=error.type,
            error_message=error.message[:500],
            finished_at=timezone.now(),
        )
        count_ended(job, ended=failed, failed=failed)
        return
    job.duration_ms = sum(media.duration_ms for media in recordings)
    job.status = Status.QUEUED
    job.save(update_fields=["quoted_micros", "duration_ms", "status"])
    items = list(ready)
    ready.update(status=Status.QUEUED, touched_at=timezone.now())
    transaction.on_commit(lambda: queue.enqueue(items, job=job))
