"""Removes what a killed process left behind: recordings without a job, files without a row, spooled uploads."""

from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import Q

from transcription.models import JobItem, Media, Upload, UploadState
from transcription.recordings.storage import discard, remove_file

# Longer than the time between a file and its row, or a row and its job.
STRAY_AFTER = timedelta(hours=6)
SWEEP_BATCH = 1000


def sweep(*, now: datetime) -> int:
    """Remove recordings that no job came of, and files that no row knows: a process was killed between the two.

    Returns how many. Only folders are searched for files; object storage has rules of its own for that.
    """
    before = now - STRAY_AFTER
    # An upload may be used by a later job for as long as it lives.
    waiting = Q(upload__isnull=False, upload__expires_at__gte=now)
    # The purge of `orderable` ends the time of those that can be ordered.
    unused = Media.objects.filter(items__isnull=True, orderable_until__isnull=True, created_at__lt=before)
    strays = list(unused.exclude(waiting)[:SWEEP_BATCH])
    for recording in strays:
        discard(recording)
    return len(strays) + sum(_sweep_folder(top, before=before) for top in ("media", "results"))


def _sweep_folder(top: str, *, before: datetime) -> int:
    try:
        folder = Path(default_storage.path(top))
    except NotImplementedError:
        return 0
    old = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_mtime < before.timestamp()]
    removed = 0
    for path in old:
        key = path.relative_to(folder.parent).as_posix()
        if not _is_known(top, key):
            remove_file(key)
            removed += 1
    return removed


def _is_known(top: str, key: str) -> bool:
    if top == "results":
        return JobItem.objects.filter(result_key=key).exists()
    ended = (UploadState.REFUSED, UploadState.EXPIRED)
    return (
        Media.objects.filter(storage_key=key).exists()
        or Upload.objects.filter(storage_key=key).exclude(state__in=ended).exists()
    )


def stray_files(*, older_than_seconds: float, now: float) -> list[Path]:
    """Return spooled uploads that a killed process left behind."""
    folder = Path(settings.FILE_UPLOAD_TEMP_DIR)
    return [entry for entry in folder.iterdir() if entry.is_file() and now - entry.stat().st_mtime > older_than_seconds]
