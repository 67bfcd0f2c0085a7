"""Recordings that were sent without a job: jobs are ordered for them later, by their id, until their time is over."""

import uuid
from collections.abc import Callable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import timezone

from accounts.errors import BadMedia, Conflict, NotFound
from accounts.models import Organization
from transcription.models import Media, Upload, UploadState
from transcription.recordings import storage

PURGE_BATCH_SIZE = 500


def require_space(organization: Organization) -> None:
    """Raise Conflict if the organization has stored as much without a job as it may.

    Uploads at the same moment may pass the limit together, each by its own size.
    """
    waiting = Media.objects.of(organization).filter(orderable_until__isnull=False, items__isnull=True)
    stored_bytes = waiting.aggregate(total=Sum("size_bytes"))["total"] or 0
    received = Upload.objects.of(organization).filter(state=UploadState.RECEIVED, items__isnull=True)
    stored_bytes += received.aggregate(total=Sum("declared_bytes"))["total"] or 0
    if stored_bytes >= settings.MAX_ORDERABLE_BYTES:
        raise Conflict(
            f"Your organization has {settings.MAX_ORDERABLE_BYTES // 1024**3} GiB of uploaded files without a job, "
            "which is the limit. Order their transcription, or wait until they expire.",
            error_type="too_many_stored_files",
        )


def offer(recording: Media, *, in_transaction: Callable[[Media], None]) -> None:
    """Make a recording orderable from now on.

    in_transaction: called in the transaction that does it. A recording whose process dies before has no job and no
    time, and the sweep removes it.
    """
    with transaction.atomic():
        recording.orderable_until = timezone.now() + timedelta(hours=settings.ORDERABLE_HOURS)
        recording.save(update_fields=["orderable_until"])
        in_transaction(recording)


def find(organization: Organization, *, file_id: str) -> Media | Upload:
    """Return a file of the organization that can be ordered, as an `Upload` if it was or is fetched from a URL.

    Raises NotFound, alike for a stranger's and none, and BadMedia for a URL whose file could not be had.
    """
    try:
        number = uuid.UUID(file_id)
    except ValueError:
        number = None
    found: Media | Upload | None = None
    # UUID() also reads braces and URNs, and one file must have one id.
    if number is not None and str(number) == file_id.lower():
        now = timezone.now()
        found = (
            Media.objects.of(organization).orderable(now=now).filter(pk=number).first()
            or Upload.objects.of(organization).filter(pk=number, expires_at__gt=now).first()
        )
    if found is None or (isinstance(found, Upload) and found.state == UploadState.EXPIRED):
        raise NotFound("There is no such file, or its time is over.", error_type="file_not_found")
    if isinstance(found, Upload) and found.state == UploadState.REFUSED:
        raise BadMedia(found.error_message, error_type=found.error_type, param="file_id")
    return found


def purge(*, now: datetime) -> int:
    """End the time of files that were orderable until now, and delete those that no job uses. Returns how many."""
    deleted = 0
    late = Media.objects.filter(orderable_until__lte=now).order_by("orderable_until")
    for media_id in list(late.values_list("pk", flat=True)[:PURGE_BATCH_SIZE]):
        deleted += _end_time(media_id, now=now)
    return deleted


def _end_time(media_id: uuid.UUID, *, now: datetime) -> bool:
    with transaction.atomic():
        # The lock waits for a job that is being submitted for the file; see storage.require_stored.
        media = Media.objects.select_for_update().filter(pk=media_id, orderable_until__lte=now).first()
        if media is None:
            return False
        if media.items.exists():
            media.orderable_until = None
            media.save(update_fields=["orderable_until"])
            return False
        media.delete()
        transaction.on_commit(lambda: storage.remove_file(media.storage_key))
        return True
