"""Removes what a killed process left behind: recordings without a job, files without a row, spooled uploads."""

import logging
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.cache import cache
from django.core.files.storage import default_storage
from django.db.models import Exists, OuterRef, Q, QuerySet

from transcription.models import JobItem, Media, Status, Upload, UploadState
from transcription.recordings.storage import discard, remove_file

logger = logging.getLogger(__name__)

# Longer than the time between a file and its row, or a row and its job.
STRAY_AFTER = timedelta(hours=6)
# Rows that one query looks at, and files whose rows one query looks for.
SWEEP_BATCH = 5_000
FILES_BATCH = 500
# How long one round looks for recordings that no job came of. The next round begins where it has stopped.
SWEEP_SECONDS = 1.0
PLACE = "recordings:swept-to"
PLACE_SECONDS = 30 * 24 * 3600
FIRST = uuid.UUID(int=0)


def sweep(*, now: datetime, seconds: float = SWEEP_SECONDS, batch_size: int = SWEEP_BATCH) -> int:
    """Remove recordings that no job came of, and files that no row knows: a process was killed between the two.

    seconds: for the recordings; at least one batch of `batch_size` rows is looked at. Returns how many were removed.
    Only folders are searched for files; object storage has rules of its own for that.
    """
    before = now - STRAY_AFTER
    removed = _sweep_recordings(now=now, before=before, ends_at=time.monotonic() + seconds, batch_size=batch_size)
    return removed + sum(_sweep_folder(top, before=before) for top in ("media", "results"))


def _sweep_recordings(*, now: datetime, before: datetime, ends_at: float, batch_size: int) -> int:
    """Walk through the recordings by id until the time or the table ends: to look at all at once reads two tables."""
    place: uuid.UUID | None = cache.get(PLACE) or FIRST
    removed = 0
    while place is not None:
        rows = Media.objects.filter(pk__gt=place)
        place = rows.order_by("pk").values_list("pk", flat=True)[batch_size - 1 : batch_size].first()
        for recording in _strays(rows if place is None else rows.filter(pk__lte=place), now=now, before=before):
            try:
                discard(recording)
                removed += 1
            except Exception:  # One broken row must not keep all others.
                logger.exception("Recording %s came to no job and could not be removed.", recording.pk)
        if time.monotonic() >= ends_at:
            break
    # After the end of the table, the next round begins at the beginning.
    cache.set(PLACE, place, timeout=PLACE_SECONDS)
    return removed


def _strays(rows: QuerySet[Media], *, now: datetime, before: datetime) -> list[Media]:
    # An upload may be used by a later job for as long as it lives.
    waiting = Q(upload__isnull=False, upload__expires_at__gte=now)
    # The purge of `orderable` ends the time of those that can be ordered.
    unused = rows.filter(items__isnull=True, orderable_until__isnull=True, created_at__lt=before)
    # A job may have waited for longer than that to verify what another job had verified.
    needed = JobItem.objects.filter(upload__media=OuterRef("pk"), status__in=(Status.UPLOADING, Status.VERIFYING))
    return list(unused.exclude(waiting).exclude(Exists(needed)))


def _sweep_folder(top: str, *, before: datetime) -> int:
    try:
        folder = Path(default_storage.path(top))
    except NotImplementedError:
        return 0
    removed = 0
    old = _old_keys(folder, before=before)
    while keys := list(islice(old, FILES_BATCH)):
        known = _known_results(keys) if top == "results" else _known_media(keys)
        for key in keys:
            if key not in known:
                remove_file(key)
                removed += 1
    return removed


def _old_keys(folder: Path, *, before: datetime) -> Iterator[str]:
    """Yield the storage keys of old files, one folder after the other."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent) / name
            try:
                modified_at = path.stat().st_mtime
            except FileNotFoundError:
                continue  # Deleted meanwhile.
            if modified_at < before.timestamp():
                yield path.relative_to(folder.parent).as_posix()


def _known_results(keys: Sequence[str]) -> set[str]:
    """Return those of the keys that are an item's result. The file's name begins with the id of its item."""
    ids = [item_id for key in keys if (item_id := _uuid(key.rpartition("/")[2][:36]))]
    return set(JobItem.objects.filter(pk__in=ids).values_list("result_key", flat=True))


def _known_media(keys: Sequence[str]) -> set[str]:
    ended = (UploadState.REFUSED, UploadState.EXPIRED)
    uploads = Upload.objects.filter(storage_key__in=keys).exclude(state__in=ended)
    recordings = Media.objects.filter(storage_key__in=keys)
    return {*recordings.values_list("storage_key", flat=True), *uploads.values_list("storage_key", flat=True)}


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def stray_files(*, older_than_seconds: float, now: float) -> list[Path]:
    """Return spooled uploads that a killed process left behind."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    return [entry for entry in folder.iterdir() if entry.is_file() and now - entry.stat().st_mtime > older_than_seconds]
