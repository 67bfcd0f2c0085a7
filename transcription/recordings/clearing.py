"""Clears what a whole organization has: announced files that have not come, then recordings, uploads and all files."""

import time

from accounts.models import Organization
from transcription.models import Media, Upload, UploadState
from transcription.recordings import expiry, storage

# Rows of one transaction, whose bytes then go by one request to object storage.
BATCH_SIZE = 100


def end_waiting(organization: Organization, *, ends_at: float) -> None:
    """End the announced files whose bytes have not come, sent or fetched from a URL, and remove what came of them.

    A process that fetches one notices at its next heartbeat. ends_at: by `time.monotonic`.
    """
    waiting = Upload.objects.of(organization).filter(state=UploadState.WAITING).order_by("pk")
    while batch := list(waiting[:BATCH_SIZE]):
        expiry.end_all(batch)
        if time.monotonic() >= ends_at:
            return


def delete_all(organization: Organization, *, ends_at: float, batch_size: int = BATCH_SIZE) -> bool:
    """Delete recordings and uploads with their bytes, then what is left in storage. Returns whether nothing is left.

    No job of the organization may be left. batch_size: rows of one transaction.
    """
    while recordings := list(Media.objects.of(organization).order_by("pk")[:batch_size]):
        Media.objects.filter(pk__in=[one.pk for one in recordings]).delete()
        storage.remove_files([one.storage_key for one in recordings])
        if time.monotonic() >= ends_at:
            return False
    while announced := list(Upload.objects.of(organization).order_by("pk")[:batch_size]):
        expiry.remove_bytes(announced)
        Upload.objects.filter(pk__in=[one.pk for one in announced]).delete()
        if time.monotonic() >= ends_at:
            return False
    # Files whose row went in a round that was killed before it could remove them.
    storage.remove_all_of(organization)
    return True
