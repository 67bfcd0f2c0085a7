"""Uploads: a file is announced, its bytes come later and by another way, and then it is probed and becomes a Media.

Every change of state is a conditional UPDATE, so two receivers, or a receiver and the clock, cannot both win.
"""

import uuid
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import BadMedia, BadRequest, Conflict, InvalidField, TooLarge
from accounts.models import ApiKey, Organization
from transcription.models import Media, Upload, UploadState
from transcription.recordings import storage
from transcription.recordings.names import display_name

MAX_TYPE_LENGTH = 100
# Rows that one round of the clock ends.
EXPIRE_BATCH_SIZE = 500


def begin(
    organization: Organization,
    *,
    name: str,
    declared_bytes: int,
    declared_type: str = "",
    api_key: ApiKey | None = None,
    lifetime: timedelta | None = None,
) -> Upload:
    """Announce a file: make its row, which names the storage key for its bytes.

    lifetime: how long the bytes are waited for; settings.UPLOAD_LIFETIME_HOURS when None.
    Raises InvalidField for a size that is not positive, and TooLarge.
    """
    if declared_bytes <= 0:
        raise InvalidField("size", "The size must be the number of bytes of the file, at least 1.")
    if declared_bytes > settings.MAX_SIGNED_UPLOAD_BYTES:
        raise TooLarge(f"The file is larger than {settings.MAX_SIGNED_UPLOAD_BYTES // 1000**3} GB.", param="size")
    upload = Upload(
        organization=organization,
        api_key=api_key,
        name=display_name(name),
        declared_bytes=declared_bytes,
        declared_type=declared_type[:MAX_TYPE_LENGTH],
        expires_at=timezone.now() + (lifetime or timedelta(hours=settings.UPLOAD_LIFETIME_HOURS)),
    )
    upload.storage_key = storage.new_key(organization, upload.pk)
    upload.save(force_insert=True)
    return upload


def receive(upload: Upload, *, path: Path, may_move: bool = False) -> None:
    """Store the bytes of an announced upload from a file of this machine. See `confirm`.

    Raises BadRequest when the size differs from what was declared: nothing is stored, and the bytes may come again.
    """
    _require_waiting(upload)
    _require_declared_size(upload, received_bytes=path.stat().st_size)
    # A key of its own for each try: of two receivers at once, the loser removes its own bytes and no others.
    storage_key = storage.new_key(upload.organization, uuid.uuid4())
    # Outside of any transaction: storage may be slow.
    storage.store_file(storage_key, path=path, may_move=may_move)
    try:
        _set_received(upload, storage_key=storage_key)
    except BaseException:
        storage.remove_file(storage_key)
        raise


def confirm(upload: Upload) -> None:
    """Note that the bytes lie in storage, where the customer put them by a signed address.

    Raises Conflict when they were confirmed before, or too late, and BadRequest when they are missing or their size
    differs from what was declared.
    """
    _require_waiting(upload)
    try:
        received_bytes = default_storage.size(upload.storage_key)
    except FileNotFoundError as error:
        raise BadRequest("The bytes of the upload have not come.", error_type="upload_not_received") from error
    _require_declared_size(upload, received_bytes=received_bytes)
    _set_received(upload, storage_key=upload.storage_key)


def verify(upload: Upload, *, may_be_truncated: bool = False) -> Media:
    """Probe the bytes of a received upload. Returns its Media, the same however often and by whomever it is asked.

    may_be_truncated: accept a file whose header states more than it holds.

    Raises BadMedia when the file is no recording: then the upload is refused and its bytes are gone. Raises Conflict
    while the bytes have not come.
    """
    upload.refresh_from_db()
    if upload.state == UploadState.ACCEPTED:
        assert upload.media is not None, "the constraint accepted_upload_has_media"
        return upload.media
    if upload.state == UploadState.REFUSED:
        raise BadMedia(upload.error_message, error_type=upload.error_type, param="file")
    if upload.state != UploadState.RECEIVED:
        raise Conflict("The bytes of the upload have not come.", error_type="upload_not_received")
    try:
        media = storage.accept_stored(
            upload.organization,
            storage_key=upload.storage_key,
            name=upload.name,
            may_be_truncated=may_be_truncated,
        )
    except BadMedia as error:
        refused = Upload.objects.filter(pk=upload.pk, state=UploadState.RECEIVED).update(
            state=UploadState.REFUSED, error_type=error.type, error_message=error.message[:500]
        )
        if refused:
            storage.remove_file(upload.storage_key)
        raise
    except IntegrityError:
        # The storage key is unique: another process has made the Media meanwhile.
        media = Media.objects.get(storage_key=upload.storage_key)
    Upload.objects.filter(pk=upload.pk, state=UploadState.RECEIVED).update(state=UploadState.ACCEPTED, media=media)
    upload.refresh_from_db()
    if upload.state != UploadState.ACCEPTED:
        # Another process, whose probe ended otherwise, has refused the upload and removed its bytes.
        media.delete()
        raise BadMedia(upload.error_message, error_type=upload.error_type, param="file")
    return media


def expire(*, now: datetime) -> int:
    """End uploads whose bytes did not come in time, or that no job asked for, and remove their bytes.

    Returns how many.
    """
    late = list(Upload.objects.filter(state=UploadState.WAITING, expires_at__lt=now)[:EXPIRE_BATCH_SIZE])
    unused = Upload.objects.filter(state=UploadState.RECEIVED, items__isnull=True, expires_at__lt=now)
    expired = 0
    for upload in [*late, *unused[:EXPIRE_BATCH_SIZE]]:
        if Upload.objects.filter(pk=upload.pk, state=upload.state).update(state=UploadState.EXPIRED):
            storage.remove_file(upload.storage_key)
            expired += 1
    return expired


def _require_waiting(upload: Upload) -> None:
    """Raise Conflict unless the bytes of the upload may still come."""
    upload.refresh_from_db()
    if upload.state == UploadState.EXPIRED or upload.expires_at < timezone.now():
        raise Conflict("The upload has expired. Begin a new one.", error_type="upload_expired")
    if upload.state != UploadState.WAITING:
        raise _already_received()


def _require_declared_size(upload: Upload, *, received_bytes: int) -> None:
    if received_bytes != upload.declared_bytes:
        raise BadRequest(
            f"The upload has {received_bytes} bytes, but {upload.declared_bytes} were declared.",
            error_type="upload_size_mismatch",
        )


def _set_received(upload: Upload, *, storage_key: str) -> None:
    if not Upload.objects.filter(pk=upload.pk, state=UploadState.WAITING).update(
        state=UploadState.RECEIVED, storage_key=storage_key
    ):
        raise _already_received()
    upload.refresh_from_db()


def _already_received() -> Conflict:
    return Conflict("The bytes of the upload have come already.", error_type="upload_already_received")
