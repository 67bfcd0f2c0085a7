"""The end of a job's row: deleted by its customer, or because its retention is over."""

from collections.abc import Callable
from contextlib import suppress

from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts.errors import Conflict
from billing import charge_tags
from transcription import recordings
from transcription.jobs import events, lifecycle
from transcription.models import Job, JobItem, Media, Upload
from transcription.recordings import expiry

# Rows of one DELETE by key: SQLite takes 32,766 values in a statement.
DELETE_BATCH_SIZE = 500


def delete(job: Job) -> None:
    """Remove a job, its results, its recordings and the tags of its charge. What it cost stays in the ledger."""
    _remove(job, in_transaction=lambda: charge_tags.forget(job.hold_reference))


def expire(job: Job) -> None:
    """Remove a job whose retention is over. As `delete`, but usage by tag stays."""
    _remove(job, in_transaction=lambda: None)


def _remove(job: Job, *, in_transaction: Callable[[], None]) -> None:
    if not job.is_final:
        # A conflict means that it ended while we asked: delete what it left.
        with suppress(Conflict):
            lifecycle.cancel(job)
    with lifecycle.lock_job(job.pk) as locked:
        if locked is None:
            return  # Somebody else deleted it.
        keys = [key for key in job.items.values_list("result_key", flat=True) if key]
        known = _recordings_of(job)
        # The lock waits for a job that is being submitted for one of these files, and keeps out the next one.
        list(known.select_for_update(of=("self",)).order_by("pk").values_list("pk"))
        # Recordings that no other job needs: found by one query, whatever the number of items.
        # An item of another job that was not verified yet knows the recording by its upload alone.
        others = JobItem.objects.exclude(job=job)
        by_item, by_upload = others.filter(media=OuterRef("pk")), others.filter(upload__media=OuterRef("pk"))
        unneeded = list(known.exclude(Exists(by_item)).exclude(Exists(by_upload)))
        # The same for files that nobody has verified yet.
        list(Upload.objects.filter(items__job=job).select_for_update(of=("self",)).order_by("pk").values_list("pk"))
        # Uploads that became recordings go with them.
        unused = Upload.objects.filter(items__job=job, media__isnull=True).distinct()
        unused = unused.exclude(Exists(others.filter(upload=OuterRef("pk"))))
        without_recording = list(unused)
        locked.delete()
        in_transaction()
        for first in range(0, len(without_recording), DELETE_BATCH_SIZE):
            batch_of_uploads = without_recording[first : first + DELETE_BATCH_SIZE]
            Upload.objects.filter(pk__in=[upload.pk for upload in batch_of_uploads]).delete()
        for first in range(0, len(unneeded), DELETE_BATCH_SIZE):
            batch = unneeded[first : first + DELETE_BATCH_SIZE]
            Media.objects.filter(pk__in=[media.pk for media in batch]).delete()
            keys.extend(media.storage_key for media in batch)
        transaction.on_commit(lambda: recordings.remove_files(keys))
        transaction.on_commit(lambda: expiry.remove_bytes(without_recording))
        transaction.on_commit(lambda: recordings.remove_empty_folder(lifecycle.results_folder(job)))
        transaction.on_commit(lambda: events.forget(job.pk))


def _recordings_of(job: Job) -> QuerySet[Media]:
    """Return the recordings of a job, also those that were verified after their item had been canceled."""
    by_items = job.items.order_by().filter(media__isnull=False).values("media")
    by_uploads = job.items.order_by().filter(upload__media__isnull=False).values("upload__media")
    return Media.objects.filter(pk__in=by_items.union(by_uploads))
