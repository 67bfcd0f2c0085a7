"""From uploads to work: items wait for their bytes, are probed by a worker, and once all recordings of a job are known
the job is priced, held and queued.

A worker runs `verify_item` without a lock, because a probe may take a minute. It writes heartbeats meanwhile, so that
the clock gives the item to no other worker. The writes after it name the state in which they find the item, so an item
that was canceled meanwhile, or verified twice, changes once.

What goes wrong on our side is tried again by the clock, MAX_ATTEMPTS times in all. The attempts are counted before the
work, so that a file that kills its worker ends too. When it has ended, the other recordings of its job go on.
"""

import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection, transaction
from django.db.models import Exists, F, OuterRef, QuerySet
from django.utils import timezone

from accounts import database_connection, log_context
from accounts.errors import BadMedia, BadRequest, Conflict, NoRoom, NotFound, TooManyUploads, VoxsiteError
from billing import ledger
from transcription.jobs import charging, queue
from transcription.jobs.lifecycle import count_ended, lock_job
from transcription.jobs.submission import MAX_BATCH_BYTES
from transcription.models import FINAL_STATUSES, Job, JobItem, Media, Status, Upload, UploadState
from transcription.recordings import expiry, uploads
from transcription.speech.options import TranscriptionOptions

logger = logging.getLogger(__name__)

# Keys in one UPDATE or DELETE: SQLite takes 32,766 values in a statement.
UPDATE_BATCH_SIZE = 500
# Between two attempts of an item. A bucket or a full disk may need a quarter of an hour.
PAUSES = (timedelta(0), timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=10))
MAX_ATTEMPTS = len(PAUSES) + 1


def bytes_have_come(upload: Upload) -> int:
    """Have workers verify the items that wait for an upload whose bytes have come. Returns how many items."""

    def start_one(item: JobItem) -> bool:
        with lock_job(item.job_id) as job:
            if job is None or not JobItem.objects.filter(pk=item.pk, status=Status.UPLOADING).update(
                status=Status.VERIFYING, touched_at=timezone.now()
            ):
                return False
            Job.objects.filter(pk=job.pk, status=Status.UPLOADING).update(status=Status.VERIFYING)
            transaction.on_commit(partial(queue.enqueue, [item], job=item.job))
        return True

    waiting = JobItem.objects.filter(upload=upload, status=Status.UPLOADING)
    return tell_each(list(waiting.select_related("job")), start_one)


def tell_each(items: Iterable[JobItem], tell: Callable[[JobItem], bool]) -> int:
    """Tell items that the upload they wait for has ended. Returns for how many `tell` returned true.

    One upload may be that of items of many jobs. An item that cannot be told keeps no other one waiting: it is logged,
    and the clock comes back to it after those that have waited for less time.
    """
    told = 0
    for item in items:
        try:
            told += tell(item)
        except Exception:
            logger.exception("Item %s could not be told of the end of its upload.", item.pk)
            with suppress(DatabaseError, InterfaceError), transaction.atomic():
                JobItem.objects.filter(pk=item.pk, status=Status.UPLOADING, touched_at=item.touched_at).update(
                    touched_at=timezone.now()
                )
    return told


def verify_item(item_id: uuid.UUID) -> None:
    """Probe the upload of an item. Once it is the job's last unknown one, price the job, hold the price and queue it.

    Ends quietly when there is nothing to do: verified, canceled, or deleted. An item without an upload fails. What goes
    wrong on our side is logged: the clock has the item verified again, or it fails after MAX_ATTEMPTS.
    """
    item = _begin_attempt(item_id)
    if item is None:
        return
    log_context.add(job_id=item.job_id, organization_id=item.job.organization_id)
    if item.upload is None:
        fail_without_upload(item)
        return
    if item.attempt > MAX_ATTEMPTS:
        lost = VoxsiteError("The work stopped several times without a reason that we know.", error_type="worker_lost")
        _fail_for_us(item, error=lost)
        return
    try:
        _verify(item, upload=item.upload)
    except (BadMedia, Conflict) as error:
        fail_unverified(item, error=error)
    except (TooManyUploads, NoRoom):
        logger.info("Item %s waits for a place to be probed.", item.pk)
        _unverified(item, Status.VERIFYING).filter(attempt=item.attempt).update(attempt=item.attempt - 1)
    except Exception:
        # Whatever it was, the others must go on, the customer must see an end, and the operator a traceback.
        logger.exception("Item %s: attempt %s to verify it failed.", item.pk, item.attempt)
        database_connection.release()
        _end_attempt(item)


def start(job: Job) -> int:
    """Have workers verify the items of a job whose bytes were here before it. Returns how many items.

    The caller holds the row of the job, or has just inserted it.
    """
    here = (UploadState.RECEIVED, UploadState.ACCEPTED, UploadState.REFUSED)
    items = list(job.items.filter(status=Status.UPLOADING, upload__state__in=here))
    for first in range(0, len(items), UPDATE_BATCH_SIZE):
        ids = [item.pk for item in items[first : first + UPDATE_BATCH_SIZE]]
        job.items.filter(pk__in=ids).update(status=Status.VERIFYING, touched_at=timezone.now())
    if items:
        job.status = Status.VERIFYING
        job.save(update_fields=["status"])
        transaction.on_commit(lambda: queue.enqueue(items, job=job))
    return len(items)


def fail_unverified(item: JobItem, *, error: VoxsiteError) -> bool:
    """End an item whose upload is no recording or never came. Returns False if it had ended, or is verified."""
    with lock_job(item.job_id) as job:
        return bool(_fail(_unverified(item, Status.UPLOADING, Status.VERIFYING), job=job, error=error))


def fail_without_upload(item: JobItem) -> bool:
    """End an item whose upload was deleted: its bytes can never come. Returns as `fail_unverified`."""
    return fail_unverified(item, error=NotFound("The file is no longer stored.", error_type="file_not_found"))


def fail_expired(job: Job, *, error: VoxsiteError, limit: int | None = None) -> int:
    """End the items of a job whose uploads have expired, all or so many at once. The caller holds its row.

    Returns how many.
    """
    late = job.items.filter(status=Status.UPLOADING, upload__state=UploadState.EXPIRED).order_by("position")
    chosen = late.values("pk")[:limit]
    return _fail(JobItem.objects.filter(pk__in=chosen, status=Status.UPLOADING), job=job, error=error)


def hold_and_queue(job: Job) -> None:
    """Hold the price of the recordings of a job, and queue them. All of its recordings are known, and one at least.

    The caller holds the row of the job. Raises PaymentRequired, and InvalidField for more channels than can be
    transcribed apart.
    """
    ready = job.items.filter(status=Status.VERIFYING, media__isnull=False)
    media = list(Media.objects.filter(items__in=ready))
    quoted_micros = charging.quote_micros(
        media, options=TranscriptionOptions.from_dict(job.options), rate_micros=job.rate_micros
    )
    ledger.reserve(job.organization, amount_micros=quoted_micros, reference=job.hold_reference, api_key=job.api_key)
    job.quoted_micros = quoted_micros
    job.duration_ms = sum(one.duration_ms for one in media)
    job.status = Status.QUEUED
    job.save(update_fields=["quoted_micros", "duration_ms", "status"])
    items = list(ready)
    ready.update(status=Status.QUEUED, touched_at=timezone.now())
    transaction.on_commit(lambda: queue.enqueue(items, job=job))


def _begin_attempt(item_id: uuid.UUID) -> JobItem | None:
    """Count an attempt and return its item, None when nothing is to be verified."""
    unverified = JobItem.objects.filter(pk=item_id, status=Status.VERIFYING, media__isnull=True)
    # The item may have waited in the queue for long.
    if not unverified.update(attempt=F("attempt") + 1, touched_at=timezone.now()):
        return None
    return unverified.select_related("job", "upload__organization").first()


def _verify(item: JobItem, *, upload: Upload) -> None:
    options = TranscriptionOptions.from_dict(item.job.options)
    with _heartbeats(item):
        media = uploads.verify(upload, may_be_truncated=options.accept_truncated)
    with lock_job(item.job_id) as job:
        # From here on, attempts are those of the transcription.
        if _unverified(item, Status.VERIFYING).update(media=media, attempt=0):
            assert job is not None, "an item that was just changed has a job"
            _count_verified(job, size_bytes=media.size_bytes)


def _end_attempt(item: JobItem) -> None:
    """Have an item verified again after a pause, or end it after its last attempt."""
    if item.attempt < MAX_ATTEMPTS:
        _unverified(item, Status.VERIFYING).update(touched_at=timezone.now() + PAUSES[item.attempt - 1])
        return
    _fail_for_us(item, error=VoxsiteError("Something went wrong on our side.", error_type="internal_error"))


def _fail_for_us(item: JobItem, *, error: VoxsiteError) -> None:
    """End an item that cannot be verified for a reason on our side, or its job if that cannot go on without it."""
    try:
        fail_unverified(item, error=error)
    except Exception:
        # The others are known, and cannot be held or queued either.
        logger.exception("Job %s cannot go on.", item.job_id)
        database_connection.release()
        with lock_job(item.job_id) as job:
            if job is not None and not job.is_final:
                _refuse(job, error=error)


@contextmanager
def _heartbeats(item: JobItem) -> Iterator[None]:
    """Keep an item from being taken for lost for as long as the block runs: others would probe the same large file."""
    ended = threading.Event()

    def beat() -> None:
        try:
            while not ended.wait(settings.HEARTBEAT_SECONDS):
                try:
                    _unverified(item, Status.VERIFYING).update(touched_at=timezone.now())
                except (DatabaseError, InterfaceError):
                    # The next heartbeat may succeed. If none does, another worker probes the file too, which is safe.
                    logger.exception("Item %s: the heartbeat was not written.", item.pk)
                    database_connection.release()
        finally:
            connection.close()

    thread = threading.Thread(target=beat, name=f"heartbeat of {item.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=settings.HEARTBEAT_SECONDS)


def _unverified(item: JobItem, *statuses: Status) -> QuerySet[JobItem]:
    """Return the item as a query that is empty once its recording is known or it has got another status."""
    return JobItem.objects.filter(pk=item.pk, status__in=statuses, media__isnull=True)


def _fail(items: QuerySet[JobItem], *, job: Job | None, error: VoxsiteError) -> int:
    """End items without a recording, and count them. The caller holds the row of their job. Returns how many."""
    failed = items.update(status=Status.FAILED, finished_at=timezone.now(), **_fault(error))
    if failed:
        assert job is not None, "an item that was just changed has a job"
        count_ended(job, ended=failed, failed=failed)
        _count_verified(job, count=failed)
    return failed


def _count_verified(job: Job, *, count: int = 1, size_bytes: int = 0) -> None:
    """Count items whose recording is known, or is known not to come. The caller holds the row of the job."""
    job.items_unverified -= count
    job.received_bytes += size_bytes
    job.save(update_fields=["items_unverified", "received_bytes"])
    if job.is_final:
        return
    if job.received_bytes > MAX_BATCH_BYTES:
        too_large = BadRequest(
            f"The files of the job have more than {MAX_BATCH_BYTES // 1000**3} GB together.",
            error_type="batch_too_large",
        )
        _refuse(job, error=too_large)
    elif job.items_unverified == 0:
        try:
            with transaction.atomic():
                hold_and_queue(job)
        except VoxsiteError as error:
            logger.info("Job %s is not queued: %s", job.pk, error.type)
            _refuse(job, error=error)


def _refuse(job: Job, *, error: VoxsiteError) -> None:
    """End a job that cannot be paid, or is too large. The caller holds its row."""
    failed = job.items.exclude(status__in=FINAL_STATUSES).update(
        status=Status.FAILED, finished_at=timezone.now(), **_fault(error)
    )
    _remove_files(job, error=error)
    count_ended(job, ended=failed, failed=failed)


def _remove_files(job: Job, *, error: VoxsiteError) -> None:
    """Remove the files that were announced with a job, and expect no more of them. The caller holds its row.

    What is not paid for is not stored. The rows of the uploads stay, as refused ones: they have the files' names.
    """
    elsewhere = JobItem.objects.exclude(job=job)
    own = list(
        Upload.objects.filter(items__job=job, created_at__gte=job.created_at)
        .exclude(Exists(elsewhere.filter(upload=OuterRef("pk"))))
        .exclude(Exists(elsewhere.filter(media=OuterRef("media"))))
        .only("storage_key", "multipart_id", "etag", "media")
    )
    for first in range(0, len(own), UPDATE_BATCH_SIZE):
        batch = own[first : first + UPDATE_BATCH_SIZE]
        ids = [upload.pk for upload in batch]
        job.items.filter(upload__in=ids).update(media=None)
        rows = Upload.objects.filter(pk__in=ids)
        rows.filter(state=UploadState.WAITING).update(state=UploadState.EXPIRED)
        rows.exclude(state=UploadState.EXPIRED).update(state=UploadState.REFUSED, media=None, **_fault(error))
        Media.objects.filter(pk__in=[upload.media_id for upload in batch if upload.media_id]).delete()
    transaction.on_commit(lambda: expiry.remove_bytes(own))


def _fault(error: VoxsiteError) -> dict[str, str]:
    """Return the columns that say why an item or an upload has failed."""
    return {"error_type": error.type, "error_message": error.message[:500]}
