"""Finds items whose worker died, or that Redis lost, and has them queued again or failed.

The database is the truth; Redis and workers may be lost.
"""

import logging
import time
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from accounts.errors import Conflict
from transcription.jobs import importing, lifecycle, queue, verification
from transcription.models import JobItem, Status, UploadState
from transcription.recordings import expiry
from transcription.recordings.expiry import EXPIRE_BATCH_SIZE, EXPIRE_SECONDS

logger = logging.getLogger(__name__)

# Rows that one round of the clock looks at; the rest waits for the next round, a few seconds later.
RECONCILE_BATCH = 500
# How long one round ends attempts of dead workers, each in a transaction of its own.
RECONCILE_SECONDS = 0.7


def reconcile(*, now: datetime, seconds: float = RECONCILE_SECONDS) -> int:
    """Queue again, or fail, the items that no worker has any more. Returns how many.

    seconds: for the items of dead workers, and as many for imports. What is left waits for the next round.

    An item that is processing without a heartbeat has a dead worker, or a frozen one that its attempt fences out. An
    item that is queued for long may be lost in Redis: by a restart, or by a worker that died between taking the task
    and claiming the item.
    """
    silent_since = now - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    waiting_since = now - timedelta(seconds=settings.LOST_IN_QUEUE_SECONDS)
    unfinished = JobItem.objects.select_related("job").order_by("touched_at")
    changed = 0
    ends_at = time.monotonic() + seconds
    for item in unfinished.filter(status=Status.PROCESSING, touched_at__lt=silent_since)[:RECONCILE_BATCH]:
        try:
            logger.warning("Item %s: no heartbeat in attempt %s.", item.pk, item.attempt)
            changed += lifecycle.take_back(item, silent_since=silent_since)
        except Exception:  # One broken row must not keep all others waiting.
            logger.exception("Item %s could not be taken back.", item.pk)
            # Nor may many broken rows use up every round: the next rounds look at others first.
            JobItem.objects.filter(pk=item.pk, status=Status.PROCESSING, touched_at=item.touched_at).update(
                touched_at=now
            )
        if time.monotonic() >= ends_at:
            break
    waits = Q(status=Status.QUEUED) | Q(status=Status.VERIFYING, media__isnull=True)
    late = list(unfinished.filter(waits, touched_at__lt=waiting_since)[:RECONCILE_BATCH])
    # Moving the mark makes the next round look at others first. One statement, since a batch may wait for hours, and
    # SQLite has one writer at a time.
    JobItem.objects.filter(waits, pk__in=[item.pk for item in late]).update(touched_at=now)
    changed += queue.enqueue_lost(late)
    return changed + importing.reconcile(now=now, seconds=seconds)


def fail_expired_uploads(*, now: datetime, seconds: float = EXPIRE_SECONDS) -> int:
    """End uploads whose bytes did not come in time, and the items that wait for them. Returns how many items.

    seconds: for the uploads, and as many for the items. What is left waits for the next round.
    """
    expiry.expire(now=now, seconds=seconds)
    error = Conflict("The bytes of the recording did not come in time.", error_type="upload_expired")
    waiting = JobItem.objects.filter(status=Status.UPLOADING, upload__state=UploadState.EXPIRED).order_by("job")
    failed = 0
    broken: set[uuid.UUID] = set()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        late = waiting.exclude(job__in=broken).values_list("job", flat=True).distinct()[:RECONCILE_BATCH]
        if not (job_ids := list(late)):
            break
        for job_id in job_ids:
            try:
                with lifecycle.lock_job(job_id) as job:
                    ended = verification.fail_expired(job, error=error, limit=EXPIRE_BATCH_SIZE) if job else 0
            except Exception:  # One broken row must not keep all others waiting.
                logger.exception("The items of job %s whose uploads have expired could not be ended.", job_id)
                ended = 0
            failed += ended
            if not ended:
                broken.add(job_id)
    return failed
