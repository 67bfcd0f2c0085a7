"""Finds items whose worker died, or that Redis lost, and has them queued again or failed.

The database is the truth; Redis and workers may be lost.
"""

import logging
import time
import uuid
from datetime import datetime, timedelta

from django.conf import settings
from django.core.cache import cache
from django.db.models import Q

from accounts.errors import Conflict
from transcription.jobs import importing, lifecycle, queue, verification
from transcription.models import JobItem, Status, UploadState
from transcription.recordings import expiry
from transcription.recordings.expiry import EXPIRE_BATCH_SIZE, EXPIRE_SECONDS

logger = logging.getLogger(__name__)

# Items of dead workers that one round ends; the rest waits for the next round, a few seconds later.
RECONCILE_BATCH = 500
# Items that wait, of which one round sees whether they are lost, and where the next one goes on: all of a batch of
# 10,000 are seen in 25 seconds.
WINDOW = 2_000
PLACE = "reconcile:looked-up-to"
PLACE_SECONDS = 24 * 3600
UNFINISHED = (Status.UPLOADING, Status.VERIFYING, Status.QUEUED, Status.PROCESSING)
# How long one round ends attempts of dead workers, each in a transaction of its own.
RECONCILE_SECONDS = 0.7


def reconcile(*, now: datetime, seconds: float = RECONCILE_SECONDS, window_size: int = WINDOW) -> int:
    """Queue again, or fail, the items that no worker has any more. Returns how many.

    seconds: for the items of dead workers, as many for imports, and as many for items that were not told of the end of
    their upload. What is left waits for the next round. window_size: of how many items that wait one round sees whether
    they are lost.

    An item that is processing without a heartbeat has a dead worker, or a frozen one that its attempt fences out. An
    item that is queued for long may be lost in Redis: by a restart, or by a worker that died between taking the task
    and claiming the item. To tell it, a round walks through the items that wait, and changes none of them: a batch may
    wait for hours.
    """
    silent_since = now - timedelta(seconds=settings.SILENT_WORKER_SECONDS)
    waiting_since = now - timedelta(seconds=settings.LOST_IN_QUEUE_SECONDS)
    silent = JobItem.objects.filter(status=Status.PROCESSING, touched_at__lt=silent_since).order_by("touched_at")
    changed = 0
    ends_at = time.monotonic() + seconds
    for item in silent.select_related("job")[:RECONCILE_BATCH]:
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
    window = _next_window(before=waiting_since, size=window_size)
    ids = [pk for _, pk in window]
    waits = Q(status=Status.QUEUED) | Q(status=Status.VERIFYING, media__isnull=True)
    late = JobItem.objects.filter(waits, pk__in=ids)
    changed += queue.enqueue_lost(late.only("job_id", "media_id", "attempt", "position"))
    told, are_all_told = importing.tell_untold(ids, seconds=seconds)
    if are_all_told:
        # Else the next round looks at the same ones.
        cache.set(PLACE, window[-1] if len(window) == window_size else None, timeout=PLACE_SECONDS)
    # After the others: no fault of the imports may keep the walk from going on.
    return changed + told + importing.reconcile(now=now, seconds=seconds)


def _next_window(*, before: datetime, size: int) -> list[tuple[datetime, uuid.UUID]]:
    """Return (touched_at, id) of the next unfinished items since which nothing has happened, the oldest first.

    They begin after the last ones of the round before, and after the last of all with the oldest one again.
    """
    place = cache.get(PLACE)
    # As the index `unfinished_items_by_age` has them.
    items = JobItem.objects.filter(status__in=UNFINISHED, touched_at__lt=before).order_by("touched_at", "pk")
    if place is not None:
        items = items.filter(touched_at__gte=place[0]).exclude(touched_at=place[0], pk__lte=place[1])
    return list(items.values_list("touched_at", "pk")[:size])


def fail_expired_uploads(
    *,
    now: datetime,
    seconds: float = EXPIRE_SECONDS,
    max_jobs: int = RECONCILE_BATCH,
    max_items: int = EXPIRE_BATCH_SIZE,
) -> int:
    """End uploads whose bytes did not come in time, and the items that wait for them. Returns how many items.

    seconds: for the uploads, and as many for the items. What is left waits for the next round. max_jobs: of one look.
    max_items: that one transaction ends.
    """
    expiry.expire(now=now, seconds=seconds)
    error = Conflict("The bytes of the recording did not come in time.", error_type="upload_expired")
    waiting = JobItem.objects.filter(status=Status.UPLOADING, upload__state=UploadState.EXPIRED).order_by("job")
    failed = 0
    broken: set[uuid.UUID] = set()
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        late = waiting.exclude(job__in=broken).values_list("job", flat=True).distinct()[:max_jobs]
        if not (job_ids := list(late)):
            break
        for job_id in job_ids:
            try:
                with lifecycle.lock_job(job_id) as job:
                    ended = verification.fail_expired(job, error=error, limit=max_items) if job else 0
            except Exception:  # One broken row must not keep all others waiting.
                logger.exception("The items of job %s whose uploads have expired could not be ended.", job_id)
                ended = 0
            failed += ended
            if not ended:
                broken.add(job_id)
    return failed
