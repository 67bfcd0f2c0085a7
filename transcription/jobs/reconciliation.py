"""Finds items whose worker died, or that Redis lost, and has them queued again or failed.

The database is the truth; Redis and workers may be lost.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from accounts.errors import Conflict
from transcription.jobs import importing, lifecycle, queue, verification
from transcription.models import JobItem, Status, UploadState
from transcription.recordings import uploads

logger = logging.getLogger(__name__)

# Rows that one round of the clock looks at; the rest waits for the next round, a few seconds later.
RECONCILE_BATCH = 500


def reconcile(*, now: datetime) -> int:
    """Queue again, or fail, the items that no worker has any more. Returns how many.

    An item that is processing without a heartbeat has a dead worker, or a frozen one that its attempt fences out. An
    item that is queued for long may be lost in Redis: by a restart, or by a worker that died between taking the task
    and claiming the item.
    """
    silent_since = now - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    waiting_since = now - timedelta(seconds=settings.LOST_IN_QUEUE_SECONDS)
    unfinished = JobItem.objects.select_related("job").order_by("touched_at")
    changed = 0
    for item in unfinished.filter(status=Status.PROCESSING, touched_at__lt=silent_since)[:RECONCILE_BATCH]:
        try:
            logger.warning("Item %s: no heartbeat in attempt %s.", item.pk, item.attempt)
            changed += lifecycle.take_back(item, silent_since=silent_since)
        except Exception:  # One broken row must not keep all others waiting.
            logger.exception("Item %s could not be taken back.", item.pk)
    lost = Q(status=Status.QUEUED) | Q(status=Status.VERIFYING, media__isnull=True)
    for item in unfinished.filter(lost, touched_at__lt=waiting_since)[:RECONCILE_BATCH]:
        # Moving the mark makes the next round look at others first.
        JobItem.objects.filter(pk=item.pk, status=item.status).update(touched_at=now)
        changed += queue.enqueue_if_lost(item, job=item.job)
    return changed + importing.reconcile(now=now)


def fail_expired_uploads(*, now: datetime) -> int:
    """End uploads whose bytes did not come in time, and the items that wait for them. Returns how many items."""
    uploads.expire(now=now)
    error = Conflict("The bytes of the recording did not come in time.", error_type="upload_expired")
    waiting = JobItem.objects.filter(status=Status.UPLOADING, upload__state=UploadState.EXPIRED)
    return sum(verification.fail_unverified(item, error=error) for item in waiting[:RECONCILE_BATCH])
