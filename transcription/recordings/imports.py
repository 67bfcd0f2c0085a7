"""Imports: an upload whose bytes are fetched from a URL. Who fetches it, and what becomes of it.

A process claims an import by a conditional UPDATE that counts `attempt` up, as workers claim items. Every later write
names the attempt, so a frozen process that wakes up changes nothing. The row ends with the fetching, and so does the
URL, which may be a key to the customer's store.
"""

import logging
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from urllib.parse import unquote, urlsplit

from django.conf import settings
from django.db import DatabaseError, InterfaceError, OperationalError, transaction
from django.db.models import Count, F, QuerySet
from django.utils import timezone

from accounts import database_connection
from accounts.errors import InvalidField, VoxsiteError
from accounts.models import ApiKey, Organization
from transcription import outbound
from transcription.models import Import, Priority, Upload, UploadState
from transcription.recordings import downloads, orderable, storage
from transcription.recordings.downloads import PAUSES, Stopped
from transcription.recordings.names import display_name
from transcription.recordings.spools import Spool

logger = logging.getLogger(__name__)

# Rows of one INSERT: SQLite takes 32,766 values in a statement.
INSERT_BATCH_SIZE = 500
RANKS = {Priority.INTERACTIVE: 0, Priority.STANDARD: 1, Priority.BULK: 2}
# How many files of one organization are fetched at once, by the rank of the next one. So one that waits for the answer
# finds a place beside a batch, and another organization beside both.
MAX_RUNNING_EACH = (8, 6, 4)
# Organizations that are looked at for one claim.
MAX_HEADS = 50


class Lost(Exception):
    """This attempt does not own its import any more."""


def begin(
    organization: Organization,
    *,
    url: str,
    priority: Priority = Priority.STANDARD,
    is_for_later: bool = False,
    lifetime: timedelta | None = None,
    api_key: ApiKey | None = None,
    may_be_truncated: bool = False,
) -> Upload:
    """Announce a file that is fetched from a URL. Its bytes come when a process has claimed it (`claim_next`).

    is_for_later: fetch it although no job waits for it. lifetime: as in `uploads.begin`.
    may_be_truncated: every order accepts it although its header states more than it holds.
    Raises InvalidField for a URL that may not be called, as far as that can be told without a look-up.
    """
    source = prepare(
        organization, url=url, priority=priority, is_for_later=is_for_later, lifetime=lifetime, api_key=api_key
    )
    source.upload.may_be_truncated = may_be_truncated
    begin_all([source])
    return source.upload


def prepare(
    organization: Organization,
    *,
    url: str,
    name: str = "",
    priority: Priority = Priority.STANDARD,
    is_for_later: bool = False,
    lifetime: timedelta | None = None,
    api_key: ApiKey | None = None,
) -> Import:
    """Return the row of `begin` and its upload, not saved. Many are saved together by `begin_all`.

    name: what lists call the file; "" for its name in the URL. Other arguments and errors as there.
    """
    try:
        outbound.parse(url)
    except outbound.AddressRefused as error:
        raise InvalidField("url", str(error)) from error
    upload = Upload(
        organization=organization,
        api_key=api_key,
        name=display_name(name) if name else name_of(url),
        expires_at=timezone.now() + (lifetime or timedelta(hours=settings.UPLOAD_LIFETIME_HOURS)),
    )
    upload.storage_key = storage.new_key(organization, upload.pk)
    return Import(upload=upload, organization=organization, url=url, rank=RANKS[priority], is_for_later=is_for_later)


def begin_all(prepared: Sequence[Import]) -> None:
    """Announce files that were prepared, and have them fetched."""
    with transaction.atomic():
        Upload.objects.bulk_create([source.upload for source in prepared], batch_size=INSERT_BATCH_SIZE)
        Import.objects.bulk_create(prepared, batch_size=INSERT_BATCH_SIZE)


def name_of(url: str) -> str:
    """Return what lists call the file at a URL: the last part of its path, or its host."""
    parts = urlsplit(url)
    last = unquote(parts.path.rstrip("/").rpartition("/")[2])
    return display_name(last or parts.hostname or "")


def claim_next(*, max_heads: int = MAX_HEADS) -> Import | None:
    """Take a waiting import for this process, or return None when none waits that may be fetched now.

    Organizations are served in turn: first the one of which the fewest files are fetched. max_heads: of how many
    organizations one is chosen.
    """
    busy: Counter[uuid.UUID] = Counter()
    running = Import.objects.filter(touched_at__isnull=False).values_list("organization")
    busy.update(dict(running.annotate(count=Count("pk")).order_by()))
    heads = _heads(start=uuid.uuid4(), max_heads=max_heads)
    for head in sorted(heads, key=lambda one: (busy[one.organization_id], one.rank, one.created_at)):
        if busy[head.organization_id] >= MAX_RUNNING_EACH[head.rank]:
            continue
        first = Import.objects.filter(organization=head.organization_id, rank=head.rank, touched_at__isnull=True)
        for candidate in first.order_by("created_at")[:3]:  # more than one, since others may take them meanwhile
            if _take(candidate):
                return Import.objects.select_related("upload__organization").filter(pk=candidate.pk).first()
    return None


def _take(candidate: Import) -> bool:
    """Claim an import that waits. One that the database refuses to change keeps no other one waiting."""
    waiting = Import.objects.filter(pk=candidate.pk, touched_at__isnull=True)
    try:
        return bool(waiting.update(touched_at=timezone.now(), attempt=F("attempt") + 1))
    except (OperationalError, InterfaceError):
        raise  # The database is away.
    except DatabaseError:
        logger.exception("Import %s cannot be claimed.", candidate.pk)
        return False


def touch(source: Import) -> bool:
    """Write a heartbeat. Returns False when the attempt has lost the import."""
    return bool(_owned(source).update(touched_at=timezone.now()))


def fetch(
    source: Import,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    pauses: Sequence[float] = PAUSES,
) -> None:
    """Download the file of a claimed import and store it. What an earlier attempt left here is not fetched again.

    should_stop: asked a few times a second. Raises Stopped, Lost, what `downloads.download` raises,
    and Conflict for a file without a job, or of a token, if the organization has stored too much.
    """
    api_key = source.upload.api_key
    if source.is_for_later or (api_key is not None and api_key.is_token):
        # Whoever begins many at once has the limit looked at again before each of them.
        orderable.require_space(source.organization, api_key=api_key)
    # A download may take an hour.
    database_connection.release()
    with Spool(f"import-{source.pk}") as spool:
        try:
            downloads.download(
                source.url,
                spool=spool,
                max_bytes=settings.MAX_UPLOAD_BYTES,
                max_seconds=settings.IMPORT_MAX_SECONDS,
                should_stop=should_stop,
                pauses=pauses,
            )
            _store(source, spool=spool)
        except (Stopped, Lost, VoxsiteError):
            raise
        except BaseException:
            # Our own fault: the next attempt begins where this one ended.
            spool.keep()
            raise


def refuse(source: Import, *, error: VoxsiteError) -> bool:
    """End an import whose file cannot be had. Returns False when the attempt had lost it."""
    with transaction.atomic():
        if not _owned(source).delete()[0]:
            return False
        return bool(
            Upload.objects.filter(pk=source.upload_id, state=UploadState.WAITING).update(
                state=UploadState.REFUSED, error_type=error.type, error_message=error.message[:500]
            )
        )


def drop(source: Import) -> None:
    """End an import that nobody needs any more, unless its attempt had lost it."""
    with transaction.atomic():
        if _owned(source).delete()[0]:
            Upload.objects.filter(pk=source.upload_id, state=UploadState.WAITING).update(state=UploadState.EXPIRED)


def give_back(source: Import) -> None:
    """Let an import wait again after an attempt that went wrong on our side."""
    _owned(source).update(touched_at=None)


def give_back_silent(*, since: datetime) -> int:
    """Let imports wait again whose process has written no heartbeat since then. Returns how many.

    The process is dead, or frozen and fenced out by the next attempt.
    """
    return Import.objects.filter(touched_at__lt=since).update(touched_at=None)


def _heads(*, start: uuid.UUID, max_heads: int) -> list[Import]:
    """Return the next waiting import of each organization, of `max_heads` organizations at most.

    Each is one step in the index `waiting_imports`, so that a batch of 10,000 is not read for each of its files.
    start: the id from which organizations are looked for; a random one, so that none is left out if very many wait.
    """
    waiting = Import.objects.filter(touched_at__isnull=True).order_by("organization_id", "rank", "created_at")
    heads: list[Import] = []
    for part in (waiting.filter(organization_id__gte=start), waiting.filter(organization_id__lt=start)):
        head = part.first()
        while head is not None and len(heads) < max_heads:
            heads.append(head)
            head = part.filter(organization_id__gt=head.organization_id).first()
    return heads


def _owned(source: Import) -> QuerySet[Import]:
    """Return the import as a query that is empty when its attempt has lost it."""
    return Import.objects.filter(pk=source.pk, attempt=source.attempt, touched_at__isnull=False)


def _store(source: Import, *, spool: Spool) -> None:
    """Store what was downloaded, and note that the bytes have come. Raises Lost, and then nothing is stored."""
    # A key of its own for each attempt: of two at once, the loser removes its own bytes and no others.
    storage_key = storage.new_key(source.upload.organization, uuid.uuid4())
    size_bytes = spool.size
    storage.store_file(storage_key, path=spool.path, may_move=True)
    is_stored = False
    try:
        with transaction.atomic():
            is_stored = bool(_owned(source).delete()[0]) and bool(
                Upload.objects.filter(pk=source.upload_id, state=UploadState.WAITING).update(
                    state=UploadState.RECEIVED, storage_key=storage_key, declared_bytes=max(1, size_bytes)
                )
            )
    except BaseException:
        # A connection that breaks during COMMIT leaves open whether it took effect. Only a row tells.
        database_connection.release()
        if not Upload.objects.filter(storage_key=storage_key).exists():
            storage.remove_file(storage_key)
        raise
    if not is_stored:
        storage.remove_file(storage_key)
        raise Lost
