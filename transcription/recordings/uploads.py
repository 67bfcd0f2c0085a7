"""Uploads: a file is announced, its bytes come later and by another way, and then it is probed and becomes a Media.

Every change of state is a conditional UPDATE, so two receivers, or a receiver and the clock, cannot both win.
"""

import uuid
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db import IntegrityError
from django.db.models import QuerySet
from django.utils import timezone

from accounts.error_types import ErrorType
from accounts.errors import BadMedia, BadRequest, Conflict, InvalidField, NotFound, TooLarge
from accounts.models import ApiKey, Organization
from transcription.models import Media, Upload, UploadState
from transcription.recordings import incoming, storage
from transcription.recordings.names import display_name

MAX_TYPE_LENGTH = 100
# Rows of one INSERT: SQLite takes 32,766 values in a statement.
INSERT_BATCH_SIZE = 500


def begin(
    organization: Organization,
    *,
    name: str,
    declared_bytes: int | None,
    declared_type: str = "",
    api_key: ApiKey | None = None,
    lifetime: timedelta | None = None,
) -> Upload:
    """Announce a file: make its row, which names the storage key for its bytes.

    declared_bytes: None when the size is not known; then MAX_SIGNED_UPLOAD_BYTES may come.
    lifetime: how long the bytes are waited for; settings.UPLOAD_LIFETIME_HOURS when None.
    Raises InvalidField for a size that is not positive, and TooLarge.
    """
    upload = prepare(
        organization,
        name=name,
        declared_bytes=declared_bytes,
        declared_type=declared_type,
        api_key=api_key,
        lifetime=lifetime,
    )
    upload.save(force_insert=True)
    return upload


def prepare(
    organization: Organization,
    *,
    name: str,
    declared_bytes: int | None,
    declared_type: str = "",
    api_key: ApiKey | None = None,
    lifetime: timedelta | None = None,
) -> Upload:
    """Return the row of `begin`, not saved. Many are saved together by `begin_all`. Arguments and errors as there."""
    if declared_bytes is not None:
        _require_possible_size(declared_bytes)
    upload = Upload(
        organization=organization,
        api_key=api_key,
        name=display_name(name),
        declared_bytes=declared_bytes,
        declared_type=_type_of(declared_type),
        expires_at=timezone.now() + (lifetime or timedelta(hours=settings.UPLOAD_LIFETIME_HOURS)),
    )
    upload.storage_key = storage.incoming_key(organization, upload.pk)
    return upload


def begin_all(prepared: Sequence[Upload]) -> None:
    """Announce files that were prepared."""
    Upload.objects.bulk_create(prepared, batch_size=INSERT_BATCH_SIZE)


def describe(upload: Upload, *, name: str = "", declared_bytes: int | None = None, declared_type: str = "") -> None:
    """Add to an announcement what was not known when it was made. Does nothing once the bytes have come.

    A size that was declared stays. Raises InvalidField and TooLarge as `begin`.
    """
    upload.name = display_name(name) if name else upload.name
    upload.declared_type = _type_of(declared_type) or upload.declared_type
    if declared_bytes is not None and upload.declared_bytes is None:
        _require_possible_size(declared_bytes)
        upload.declared_bytes = declared_bytes
    Upload.objects.filter(pk=upload.pk, state=UploadState.WAITING).update(
        name=upload.name, declared_type=upload.declared_type, declared_bytes=upload.declared_bytes
    )


def receive(upload: Upload, *, path: Path, may_move: bool = False, etag: str = "") -> None:
    """Store the bytes of an announced upload from a file of this machine. See `confirm`.

    etag: what their sender is answered, kept for `is_repeat`.
    Raises BadRequest when the size differs from what was declared: nothing is stored, and the bytes may come again.
    """
    require_waiting(upload)
    size_bytes = path.stat().st_size
    _require_declared_size(upload, received_bytes=size_bytes)
    # A key of its own for each try: of two receivers at once, the loser removes its own bytes and no others.
    storage_key = storage.new_key(upload.organization, uuid.uuid4())
    # Outside of any transaction: storage may be slow.
    storage.store_file(storage_key, path=path, may_move=may_move)
    try:
        _set_received(upload, storage_key=storage_key, size_bytes=size_bytes, etag=etag)
    except BaseException:
        storage.remove_file(storage_key)
        raise


def confirm(upload: Upload) -> None:
    """Note that the bytes lie in storage, where the customer put them by a signed address.

    Raises Conflict when they were confirmed before, or too late, and BadRequest when they are missing or their size
    differs from what was declared.
    """
    require_waiting(upload)
    try:
        received_bytes = default_storage.size(upload.storage_key)
    except FileNotFoundError as error:
        raise BadRequest("The bytes of the upload have not come.", error_type="upload_not_received") from error
    _require_declared_size(upload, received_bytes=received_bytes)
    _set_received(upload, storage_key=upload.storage_key, size_bytes=received_bytes)


def confirm_all(organization: Organization, *, waiting: QuerySet[Upload]) -> None:
    """Note which of these uploads of the organization lie in object storage, by a few requests for all of them.

    Those of another size than declared are refused, and their bytes removed.
    """
    sizes = storage.sizes_of_incoming(organization)
    if not sizes:
        return
    as_declared = []
    for upload in waiting.filter(organization=organization, state=UploadState.WAITING):
        size_bytes = sizes.get(upload.storage_key)
        if size_bytes is None:
            continue
        if size_bytes == upload.declared_bytes:
            as_declared.append(upload.pk)
            continue
        with suppress(Conflict):  # Another process has noted it meanwhile, or it has expired.
            try:
                _require_declared_size(upload, received_bytes=size_bytes)
                _set_received(upload, storage_key=upload.storage_key, size_bytes=size_bytes)
            except BadRequest as error:
                _refuse(upload, error=error)
    for first in range(0, len(as_declared), INSERT_BATCH_SIZE):
        same = Upload.objects.filter(pk__in=as_declared[first : first + INSERT_BATCH_SIZE], state=UploadState.WAITING)
        same.update(state=UploadState.RECEIVED)


def announce_received(upload: Upload) -> bool:
    """Note that the customer says that all bytes have come. Returns whether they have.

    The site's own endpoint has noted it already. Bytes in object storage are looked for now.
    Raises BadRequest when their size differs from what was declared, and Conflict when the upload has expired.
    """
    refresh(upload)
    if upload.has_its_bytes:
        return True
    try:
        confirm(upload)
    except BadRequest as error:
        if error.type == "upload_not_received":
            return False
        raise
    return True


def require_kept(kept: Sequence[Upload]) -> None:
    """Keep uploads from being deleted until the end of the caller's transaction.

    Raises NotFound if one of them was deleted meanwhile, with the last job that had it.
    """
    ids = sorted({upload.pk for upload in kept})
    found = 0
    for first in range(0, len(ids), INSERT_BATCH_SIZE):
        locked = Upload.objects.select_for_update(no_key=True).filter(pk__in=ids[first : first + INSERT_BATCH_SIZE])
        found += len(locked.order_by("pk").values_list("pk"))
    if found < len(ids):
        raise NotFound("The file is no longer stored.", error_type="file_not_found")


def is_repeat(upload: Upload, *, etag: str) -> bool:
    """Tell whether these are the bytes that have come already: their sender has not heard our answer, for example."""
    return upload.has_its_bytes and upload.etag == etag != ""


def verify(upload: Upload, *, may_be_truncated: bool = False) -> Media:
    """Probe the bytes of a received upload. Returns its Media, the same however often and by whomever it is asked.

    may_be_truncated: accept a file whose header states more than it holds, as the upload itself may say.

    Raises BadMedia when the file is no recording: then the upload is refused and its bytes are gone, unless it is only
    cut off, which another order may accept. Raises Conflict while the bytes have not come, and when the upload is
    deleted: then nothing is left of it.
    """
    refresh(upload)
    if upload.state == UploadState.ACCEPTED:
        assert upload.media is not None, "the constraint accepted_upload_has_media"
        return upload.media
    if upload.state == UploadState.REFUSED:
        raise BadMedia(upload.error_message, error_type=upload.error_type, param="file")
    if upload.state != UploadState.RECEIVED:
        raise Conflict("The bytes of the upload have not come.", error_type="upload_not_received")
    _settle(upload)
    try:
        media = storage.accept_stored(
            upload.organization,
            storage_key=upload.storage_key,
            name=upload.name,
            may_be_truncated=may_be_truncated or upload.may_be_truncated,
        )
    except BadMedia as error:
        if error.type == ErrorType.TRUNCATED_AUDIO:
            # For an order that accepts it, it is a recording. It stays until its time is over.
            raise
        refused = Upload.objects.filter(pk=upload.pk, state=UploadState.RECEIVED).update(
            state=UploadState.REFUSED, error_type=error.type, error_message=error.message[:500]
        )
        if refused:
            storage.remove_file(upload.storage_key)
        raise
    except IntegrityError:
        # The storage key is unique: another process has made the Media meanwhile.
        media = Media.objects.get(storage_key=upload.storage_key)
    except FileNotFoundError:
        refresh(upload)  # Perhaps it was deleted, and its bytes with it.
        raise
    Upload.objects.filter(pk=upload.pk, state=UploadState.RECEIVED).update(state=UploadState.ACCEPTED, media=media)
    try:
        refresh(upload)
    except Conflict:
        # Deleted with its job during the probe. Nobody else knows of the recording.
        storage.discard(media)
        raise
    if upload.state != UploadState.ACCEPTED:
        # Another process, whose probe ended otherwise, has refused the upload and removed its bytes.
        media.delete()
        raise BadMedia(upload.error_message, error_type=upload.error_type, param="file")
    return media


def remove_incoming(upload: Upload) -> None:
    """Remove what our own endpoint has received of an upload and not stored."""
    incoming.remove(upload.pk)
    if upload.multipart_id:
        incoming.remove(upload.pk, multipart_id=upload.multipart_id)
        if not upload.has_its_bytes:
            storage.give_up_parts(upload.storage_key, multipart_id=upload.multipart_id)


def purge_incoming(*, now: datetime) -> int:
    """Remove what killed processes have left, except for parts of uploads that still wait. Returns how many folders."""
    removed = 0
    for folder, upload_id, multipart_id in incoming.orphans(now=now):
        if upload_id is None or not multipart_id or not _waits_for_parts(upload_id, multipart_id=multipart_id):
            incoming.remove_folder(folder)
            removed += 1
    return removed


def _require_possible_size(declared_bytes: int) -> None:
    if declared_bytes <= 0:
        raise InvalidField("size", "The size must be the number of bytes of the file, at least 1.")
    if declared_bytes > settings.MAX_SIGNED_UPLOAD_BYTES:
        raise TooLarge(f"The file is larger than {settings.MAX_SIGNED_UPLOAD_BYTES // 1000**3} GB.", param="size")


def refresh(upload: Upload) -> None:
    """Read the row of an upload again. Raises Conflict if it was deleted meanwhile, with its job."""
    try:
        upload.refresh_from_db()
    except Upload.DoesNotExist as error:
        raise _has_expired() from error


def require_waiting(upload: Upload) -> None:
    """Raise Conflict unless the bytes of the upload may still come."""
    refresh(upload)
    _require_unexpired(upload)
    if upload.state != UploadState.WAITING:
        raise _already_received()


def require_waiting_or_received(upload: Upload) -> None:
    """Raise Conflict if the bytes of the upload have not come and cannot come any more, by the row that was read.

    It does not read the row again: the bytes may come between two looks, and a repeat would be refused.
    """
    if not upload.has_its_bytes:
        _require_unexpired(upload)


def _require_unexpired(upload: Upload) -> None:
    if upload.state == UploadState.EXPIRED or upload.expires_at < timezone.now():
        raise _has_expired()


def _waits_for_parts(upload_id: uuid.UUID, *, multipart_id: str) -> bool:
    return Upload.objects.filter(pk=upload_id, multipart_id=multipart_id, state=UploadState.WAITING).exists()


def _refuse(upload: Upload, *, error: BadRequest) -> None:
    refused = Upload.objects.filter(pk=upload.pk, state=UploadState.WAITING).update(
        state=UploadState.REFUSED, error_type=error.type, error_message=error.message[:500]
    )
    if refused:
        storage.remove_file(upload.storage_key)


def _settle(upload: Upload) -> None:
    """Give bytes that a customer has put into object storage a key for which nobody has an address.

    The attack: have a second of speech probed and priced, and then replace it by an hour in a file of the same size.
    """
    sent_key = upload.storage_key
    if not sent_key.startswith(storage.INCOMING):
        return
    # A key of its own for each try, as in `receive`.
    storage_key = storage.new_key(upload.organization, uuid.uuid4())
    try:
        storage.copy_file(sent_key, new_storage_key=storage_key)
    except FileNotFoundError:
        refresh(upload)
        if upload.storage_key == sent_key:
            raise
        return
    sent = Upload.objects.filter(pk=upload.pk, state=UploadState.RECEIVED, storage_key=sent_key)
    is_ours = bool(sent.update(storage_key=storage_key))
    storage.remove_file(sent_key if is_ours else storage_key)
    refresh(upload)


def _type_of(declared_type: str) -> str:
    """Return the type as a header can carry it, "" for one that none can."""
    is_header = declared_type.isascii() and declared_type.isprintable() and len(declared_type) <= MAX_TYPE_LENGTH
    return declared_type.strip() if is_header else ""


def _require_declared_size(upload: Upload, *, received_bytes: int) -> None:
    if upload.declared_bytes is None:
        if not 0 < received_bytes <= settings.MAX_SIGNED_UPLOAD_BYTES:
            raise BadRequest(
                f"The upload has {received_bytes} bytes. It must have one at least, and "
                f"{settings.MAX_SIGNED_UPLOAD_BYTES // 1000**3} GB at most.",
                error_type="upload_size_mismatch",
            )
    elif received_bytes != upload.declared_bytes:
        raise BadRequest(
            f"The upload has {received_bytes} bytes, but {upload.declared_bytes} were declared.",
            error_type="upload_size_mismatch",
        )


def _set_received(upload: Upload, *, storage_key: str, size_bytes: int, etag: str = "") -> None:
    if not Upload.objects.filter(pk=upload.pk, state=UploadState.WAITING).update(
        state=UploadState.RECEIVED, storage_key=storage_key, declared_bytes=size_bytes, etag=etag
    ):
        refresh(upload)
        raise _already_received()
    refresh(upload)


def _has_expired() -> Conflict:
    return Conflict("The upload has expired. Begin a new one.", error_type="upload_expired")


def _already_received() -> Conflict:
    return Conflict("The bytes of the upload have come already.", error_type="upload_already_received")
