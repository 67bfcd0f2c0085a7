"""Clears what a whole organization has: announced files that have not come, then recordings, uploads and all files."""

import time

from django.db import transaction

from accounts.models import Organization
from transcription.models import Import, Media, Upload, UploadState
from transcription.recordings import storage, uploads

BATCH_SIZE = 100


def end_waiting(organization: Organization, *, ends_at: float) -> None:
    """End the announced files whose bytes have not come, sent or fetched from a URL, and remove what came of them.

    A process that fetches one notices at its next heartbeat. ends_at: by `time.monotonic`.
    """
    waiting = Upload.objects.of(organization).filter(state=UploadState.WAITING)
    for upload in waiting.order_by("pk"):
        with transaction.atomic():
            Import.objects.filter(upload=upload).delete()
            is_ended = waiting.filter(pk=upload.pk).update(state=UploadState.EXPIRED)
        if is_ended:
            _remove_bytes(upload)
        if time.monotonic() >= ends_at:
            return


def delete_all(organization: Organization, *, ends_at: float) -> bool:
    """Delete recordings and uploads with their bytes, then what is left in storage. Returns whether nothing is left.

    No job of the organization may be left.
    """
    while batch := list(Media.objects.of(organization).order_by("pk")[:BATCH_SIZE]):
        for recording in batch:
            storage.discard(recording)
            if time.monotonic() >= ends_at:
                return False
    while announced := list(Upload.objects.of(organization).order_by("pk")[:BATCH_SIZE]):
        for upload in announced:
            _remove_bytes(upload)
            Upload.objects.filter(pk=upload.pk).delete()
            if time.monotonic() >= ends_at:
                return False
    # Files whose row went in a round that was killed before it could remove them.
    storage.remove_all_of(organization)
    return True


def _remove_bytes(upload: Upload) -> None:
    storage.remove_file(upload.storage_key)
    uploads.remove_incoming(upload)
