"""Recordings that were sent without a job: jobs are ordered for them later, by their id, until their time is over."""

import logging
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from accounts.errors import BadMedia, Conflict, NotFound
from accounts.models import ApiKey, Organization
from transcription.models import JobItem, Media, Status, Upload, UploadState
from transcription.recordings import incoming_parts, storage

logger = logging.getLogger(__name__)

PURGE_BATCH_SIZE = 500
# Ids in one query: SQLite takes 32,766 values in a statement.
FIND_BATCH_SIZE = 500
# The part of an organization's space that all its tokens have together: one in so many.
TOKENS_PART = 10
# A job that waits for its files has no hold yet, and may be canceled; these two have ended without a transcript.
NOTHING_PAID = (Status.UPLOADING, Status.VERIFYING, Status.FAILED, Status.CANCELED)


def require_space(organization: Organization, *, api_key: ApiKey | None = None) -> None:
    """Raise Conflict if the organization has stored as much without a transcript as it may.

    What was ordered counts until one of its jobs has a hold, and again if all its jobs failed or were canceled: it is
    kept, so that they can be run again, and cost nothing. So do parts of files that are not complete. Uploads at the
    same moment may pass the limit together, each by its own size.
    api_key: whose files they are. All tokens of the organization have a tenth of its space together: visitors of a
    page must leave room for its servers.
    """
    if _stored_bytes(organization, by_tokens=False) >= settings.MAX_ORDERABLE_BYTES:
        raise Conflict(
            f"Your organization has {settings.MAX_ORDERABLE_BYTES // 1024**3} GiB of uploaded files without a "
            "transcript, which is the limit. Wait until the files of your jobs have come, delete jobs that failed or "
            "were canceled, or wait until files without a job expire.",
            error_type="too_many_stored_files",
        )
    if api_key is None or not api_key.is_token:
        return
    if _stored_bytes(organization, by_tokens=True) >= settings.MAX_ORDERABLE_BYTES // TOKENS_PART:
        raise Conflict("Too many files of visitors wait for a transcript.", error_type="too_many_stored_files")


def offer(recording: Media, *, in_transaction: Callable[[Media], None]) -> None:
    """Make a recording orderable from now on.

    in_transaction: called in the transaction that does it. A recording whose process dies before has no job and no
    time, and the sweep removes it.
    """
    with transaction.atomic():
        recording.orderable_until = timezone.now() + timedelta(hours=settings.ORDERABLE_HOURS)
        recording.save(update_fields=["orderable_until"])
        in_transaction(recording)


def find(organization: Organization, *, file_id: str, api_key: ApiKey | None = None) -> Media | Upload:
    """Return a file of the organization that can be ordered, as an `Upload` if it was or is fetched from a URL.

    api_key: the caller's. Raises NotFound, alike for a stranger's, for none and for all that a token asks for, and
    BadMedia for a URL whose file could not be had.
    """
    found = find_all(organization, file_ids=[file_id], api_key=api_key).get(file_id)
    if found is None:
        raise NotFound("There is no such file, or its time is over.", error_type="file_not_found")
    if isinstance(found, Upload) and found.state == UploadState.REFUSED:
        raise BadMedia(found.error_message, error_type=found.error_type, param="file_id")
    return found


def find_all(
    organization: Organization, *, file_ids: Iterable[str], api_key: ApiKey | None = None
) -> dict[str, Media | Upload]:
    """Return files of the organization that can be ordered, by their ids as they were given, however many.

    Missing are strangers', unknown and expired ones. An `Upload` is one that was or is fetched from a URL, and may be
    refused. A token finds none: it stores nothing for later, and the files of others are not its own.
    """
    if api_key is not None and api_key.is_token:
        return {}
    now = timezone.now()
    # UUID() also reads braces and URNs, and one file must have one id.
    numbers = {text: number for text in file_ids if (number := _uuid(text)) and str(number) == text.lower()}
    wanted = list(set(numbers.values()))
    found: dict[uuid.UUID, Media | Upload] = {}
    for first in range(0, len(wanted), FIND_BATCH_SIZE):
        batch = wanted[first : first + FIND_BATCH_SIZE]
        uploads = Upload.objects.of(organization).filter(pk__in=batch, expires_at__gt=now)
        found.update({upload.pk: upload for upload in uploads.exclude(state=UploadState.EXPIRED)})
        found.update(
            {media.pk: media for media in Media.objects.of(organization).orderable(now=now).filter(pk__in=batch)}
        )
    return {text: found[number] for text, number in numbers.items() if number in found}


def purge(*, now: datetime) -> int:
    """End the time of files that were orderable until now, and delete those that no job uses. Returns how many."""
    deleted = 0
    late = Media.objects.filter(orderable_until__lte=now).order_by("orderable_until")
    for media_id in list(late.values_list("pk", flat=True)[:PURGE_BATCH_SIZE]):
        try:
            deleted += _end_time(media_id, now=now)
        except Exception:  # One broken row must not keep all others.
            logger.exception("The time of recording %s is over and could not be ended.", media_id)
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


def _uuid(text: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(text)
    except ValueError:
        return None


def _stored_bytes(organization: Organization, *, by_tokens: bool) -> int:
    """Return what the organization has stored without a transcript. by_tokens: only what tokens have sent."""
    items = JobItem.objects.filter(job__organization=organization)
    recordings = Media.objects.of(organization)
    uploads = Upload.objects.of(organization)
    if by_tokens:
        items = items.filter(job__api_key__parent__isnull=False)
        uploads = uploads.filter(api_key__parent__isnull=False)
    # Of an organization without such jobs, an index tells so.
    for_nothing = items.filter(job__status__in=NOTHING_PAID, media__isnull=False)
    waits = Q(pk__in=for_nothing.values("media"))
    if not by_tokens:
        waits |= Q(orderable_until__isnull=False)
    recordings = recordings.filter(waits).exclude(Exists(_used(media=OuterRef("pk"))))
    received = uploads.filter(state=UploadState.RECEIVED).exclude(Exists(_used(upload=OuterRef("pk"))))
    return _sum(recordings, "size_bytes") + _sum(received, "declared_bytes") + _bytes_of_parts(uploads)


def _bytes_of_parts(uploads: QuerySet[Upload]) -> int:
    """Return the bytes of unfinished uploads in parts on our own volume.

    The attack: send all parts but the last one, of many files, and fill the volume.
    """
    in_parts = uploads.filter(state=UploadState.WAITING).exclude(multipart_id="")
    return sum(
        incoming_parts.bytes_on_disk(upload_id, multipart_id=multipart_id)
        for upload_id, multipart_id in in_parts.values_list("pk", "multipart_id")
    )


def _used(**condition: OuterRef) -> QuerySet[JobItem]:
    """Return the items of jobs with a hold or a transcript."""
    return JobItem.objects.filter(**condition).exclude(job__status__in=NOTHING_PAID)


def _sum(rows: QuerySet[Any], column: str) -> int:
    return int(rows.aggregate(total=Sum(column))["total"] or 0)
