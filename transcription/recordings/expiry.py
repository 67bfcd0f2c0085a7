"""Uploads that end without a recording: which ones, in bounded transactions, and what has come of them goes with them.

Every end is a conditional UPDATE of rows that are locked for it, so a receiver and two clocks cannot all win.
"""

import logging
import time
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from transcription.models import Import, JobItem, Status, Upload, UploadState
from transcription.recordings import incoming, storage

logger = logging.getLogger(__name__)

# How much longer a URL waits for its turn to be fetched, if a job waits for it: being slow is our fault, not theirs.
IMPORT_GRACE = timedelta(days=6)
ENDED = (UploadState.REFUSED, UploadState.EXPIRED)
# How long a customer is told what became of an upload.
KEPT_AFTER_END = timedelta(days=30)
# Rows that one transaction ends.
EXPIRE_BATCH_SIZE = 500
# How long one round of the clock ends uploads. What is left waits for the next one.
EXPIRE_SECONDS = 30.0


def expire(*, now: datetime, seconds: float = EXPIRE_SECONDS, batch_size: int = EXPIRE_BATCH_SIZE) -> int:
    """End uploads whose bytes did not come in time, or that no job asked for or waits for, and remove their bytes.

    A file at a URL that a job waits for ends by its import, and IMPORT_GRACE later for want of an importer.
    seconds: after this time, what is left waits for the next round. batch_size: rows that one transaction ends.
    Returns how many.
    """
    # The bytes of a canceled job may come after its end.
    waiting = JobItem.objects.filter(upload=OuterRef("pk"), status__in=(Status.UPLOADING, Status.VERIFYING))
    late = Upload.objects.filter(state=UploadState.WAITING, expires_at__lt=now)
    late = late.exclude(Q(source__isnull=False, expires_at__gt=now - IMPORT_GRACE) & Exists(waiting))
    unused = Upload.objects.filter(state=UploadState.RECEIVED, expires_at__lt=now).exclude(Exists(waiting))
    ends_at = time.monotonic() + seconds
    return sum(_expire_all(rows, ends_at=ends_at, batch_size=batch_size) for rows in (late, unused))


def forget_ended(*, now: datetime, seconds: float = EXPIRE_SECONDS) -> int:
    """Delete rows of uploads that ended without a recording long ago and that no job names. Returns how many."""
    long_ago = Upload.objects.filter(state__in=ENDED, expires_at__lt=now - KEPT_AFTER_END)
    unnamed = long_ago.exclude(Exists(JobItem.objects.filter(upload=OuterRef("pk"))))
    ends_at = time.monotonic() + seconds
    deleted = 0
    while time.monotonic() < ends_at and (ids := list(unnamed.values_list("pk", flat=True)[:EXPIRE_BATCH_SIZE])):
        deleted += Upload.objects.filter(pk__in=ids, state__in=ENDED).delete()[1].get("transcription.Upload", 0)
    return deleted


def end_all(uploads: Sequence[Upload]) -> int:
    """End uploads of one state, except for those that got another one meanwhile, and remove their bytes.

    Returns how many.
    """
    ids = [upload.pk for upload in uploads]
    with transaction.atomic():
        locked = Upload.objects.filter(pk__in=ids, state=uploads[0].state).select_for_update(no_key=True)
        ended = set(locked.order_by("pk").values_list("pk", flat=True))
        Upload.objects.filter(pk__in=ended).update(state=UploadState.EXPIRED)
    # Apart, since a process that ends an import locks the two in the other order. One that stays is dropped when it is
    # claimed.
    Import.objects.filter(upload__in=ended).delete()
    remove_bytes([upload for upload in uploads if upload.pk in ended])
    return len(ended)


def remove_bytes(ended: Sequence[Upload]) -> None:
    """Remove what was stored of uploads that have ended, or were deleted, and their parts, here or in a bucket.

    Call it after the commit: if the process dies before, the sweep finds files, and the purge and a rule of the bucket
    find parts.
    """
    storage.remove_files([upload.storage_key for upload in ended])
    for upload in ended:
        incoming.remove(upload.pk)
        if upload.multipart_id:
            incoming.remove(upload.pk, multipart_id=upload.multipart_id)
    storage.give_up_all_parts(
        {upload.storage_key: upload.multipart_id for upload in ended if upload.multipart_id and not upload.etag}
    )


def _expire_all(rows: QuerySet[Upload], *, ends_at: float, batch_size: int) -> int:
    expired = 0
    while time.monotonic() < ends_at and (batch := list(rows.order_by("expires_at")[:batch_size])):
        ended = _end_each(batch)
        expired += ended
        if not ended:
            break  # All of them are broken, and the next look would find the same ones.
    return expired


def _end_each(uploads: Sequence[Upload]) -> int:
    """Do as `end_all`, or end them one by one if that fails: one broken row must not keep all others."""
    try:
        return end_all(uploads)
    except (OperationalError, InterfaceError):
        raise  # The database is away.
    except Exception:
        if len(uploads) > 1:
            logger.exception("%s late uploads could not be ended together.", len(uploads))
            return sum(_end_each([upload]) for upload in uploads)
        logger.exception("Upload %s is late and could not be ended.", uploads[0].pk)
        return 0
