"""Where a customer sends the bytes of an announced upload: signed addresses of this site, or of the object storage.

Both look alike: one PUT, or the parts of an upload in parts as S3 has it. Whoever asks again gets fresh addresses for
the same parts, so that a broken upload goes on with those that are missing.
"""

import logging
import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from django.conf import settings
from django.core.files.storage import storages
from django.utils import timezone

from accounts.errors import Conflict
from accounts.models import Organization
from transcription.models import Upload, UploadState
from transcription.recordings import incoming, incoming_parts, signing, storage

logger = logging.getLogger(__name__)

PREFIX = "/uploads"
UPLOAD_ID = "uploadId"
# From here on a broken connection costs more than a few more requests.
MAX_PUT_BYTES = 100 * 1000**2
# The limits of S3 (Amazon S3 User Guide, "Multipart upload limits", read 2026-11-29).
MIN_PART_BYTES = 5 * 1024**2
MAX_PART_BYTES = 5 * 1024**3
MAX_PARTS = 10_000
# What is lost when a connection breaks, and not more requests than needed.
USUAL_PART_BYTES = 32 * 1024**2


@dataclass(frozen=True, slots=True)
class PutTarget:
    """One PUT of all bytes to the URL, with these headers."""

    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class MultipartTarget:
    """A PUT for each part, each answered with an ETag, and then a POST of the list of them to complete_url.

    key: what S3 calls the object. upload_id: the number of this upload in parts. part_bytes: the size of all parts but
    the last one. parts: (number from 1 on, URL), in order. abort_url: for a DELETE that gives the parts up.
    """

    key: str
    upload_id: str
    part_bytes: int
    parts: tuple[tuple[int, str], ...]
    complete_url: str
    abort_url: str


@runtime_checkable
class SigningStorage(Protocol):
    """A storage that customers send bytes to themselves, such as `voxsite.storage.RangedS3Storage`."""

    def put_url(self, name: str, *, seconds: int, size_bytes: int | None, content_type: str) -> str: ...

    def begin_multipart(self, name: str, *, content_type: str) -> str: ...

    def has_multipart(self, name: str, *, multipart_id: str) -> bool: ...

    def has_parts(self, name: str, *, multipart_id: str) -> bool: ...

    def abort_multipart(self, name: str, *, multipart_id: str) -> None: ...

    def part_url(self, name: str, *, seconds: int, multipart_id: str, number: int, size_bytes: int) -> str: ...

    def complete_url(self, name: str, *, seconds: int, multipart_id: str) -> str: ...

    def abort_url(self, name: str, *, seconds: int, multipart_id: str) -> str: ...


def instructions(upload: Upload, *, site_url: str, part_bytes: int | None = None) -> PutTarget | MultipartTarget:
    """Return where the bytes of a waiting upload are sent in the next hour. Parts that have come already stay.

    site_url: the address of this site as the sender calls it. part_bytes: the wish for an upload in parts of this size,
    which is changed if it is out of the limits, or if parts of another size have begun. With None, files of up to
    100 MB are one PUT. A file of unknown size always is.
    Raises Conflict for an upload that does not wait any more. Calls the object storage, so no transaction may be open.
    """
    now = timezone.now()
    if upload.state != UploadState.WAITING or upload.expires_at < now:
        raise _has_ended()
    remote = _signing_storage()
    size_bytes = upload.declared_bytes
    is_in_parts = part_bytes is not None or upload.multipart_id != "" or (size_bytes or 0) > MAX_PUT_BYTES
    expires_at = now + timedelta(seconds=settings.SIGNED_URL_SECONDS)
    if size_bytes is None or not is_in_parts:
        return _put_target(upload, remote=remote, site_url=site_url, expires_at=expires_at)
    _begin_parts(upload, part_bytes=_part_bytes(size_bytes, wish=part_bytes or USUAL_PART_BYTES), remote=remote)
    if remote is not None:
        return _remote_parts(upload, remote=remote)
    return _own_parts(upload, site_url=site_url, expires_at=expires_at)


def part_size(upload: Upload, *, number: int) -> int:
    """Return how many bytes a part of an upload in parts has, 0 for a number that it does not have."""
    assert upload.declared_bytes is not None, "the constraint upload_in_parts_has_sizes"
    assert upload.part_bytes is not None, "the same"
    return max(0, min(upload.part_bytes, upload.declared_bytes - (number - 1) * upload.part_bytes))


def part_count(upload: Upload) -> int:
    """Return how many parts an upload in parts has."""
    assert upload.declared_bytes is not None, "the constraint upload_in_parts_has_sizes"
    assert upload.part_bytes is not None, "the same"
    return math.ceil(upload.declared_bytes / upload.part_bytes)


def have_begun(organization: Organization, *, waiting: Sequence[Upload]) -> bool:
    """Tell whether bytes or parts of one of these waiting uploads have come: their sender knows the addresses then.

    An object storage tells nothing of a single PUT before its end. True also if it does not answer.
    """
    remote = _signing_storage()
    if remote is None:
        return any(
            incoming.has_begun(upload.pk) or incoming_parts.has_begun(upload.pk, multipart_id=upload.multipart_id)
            for upload in waiting
        )
    try:
        sizes = storage.sizes_of_incoming(organization) if waiting else {}
        return any(upload.storage_key in sizes for upload in waiting) or any(
            remote.has_parts(upload.storage_key, multipart_id=upload.multipart_id)
            for upload in waiting
            if upload.multipart_id
        )
    except Exception:  # Every storage has its own errors.
        logger.exception("Storage does not say what has come of organization %s.", organization.pk)
        return True


def give_up_parts(upload: Upload, *, multipart_id: str) -> bool:
    """Remove the parts that have come to this site, as S3 aborts an upload in parts. Returns False if there is none.

    The upload still waits, and whoever asks for instructions begins from the start.
    """
    waiting = Upload.objects.filter(pk=upload.pk, multipart_id=multipart_id, state=UploadState.WAITING)
    if not waiting.update(multipart_id=""):
        return False
    incoming.remove(upload.pk, multipart_id=multipart_id)
    return True


def _signing_storage() -> SigningStorage | None:
    default = storages["default"]
    return default if isinstance(default, SigningStorage) else None


def _put_target(upload: Upload, *, remote: SigningStorage | None, site_url: str, expires_at: datetime) -> PutTarget:
    headers = {"Content-Type": upload.declared_type} if upload.declared_type else {}
    if remote is not None:
        url = remote.put_url(
            upload.storage_key,
            seconds=settings.SIGNED_URL_SECONDS,
            size_bytes=upload.declared_bytes,
            content_type=upload.declared_type,
        )
        return PutTarget(url, headers)
    path = signing.signed_path(
        f"{PREFIX}/{upload.pk}",
        method="PUT",
        expires_at=expires_at,
        size_bytes=upload.declared_bytes,
        content_type=upload.declared_type,
    )
    return PutTarget(f"{site_url}{path}", headers)


def _part_bytes(size_bytes: int, *, wish: int) -> int:
    return max(min(wish, MAX_PART_BYTES), MIN_PART_BYTES, math.ceil(size_bytes / MAX_PARTS))


def _begin_parts(upload: Upload, *, part_bytes: int, remote: SigningStorage | None) -> None:
    """Begin an upload in parts, unless one has begun that can go on."""
    upload.refresh_from_db(fields=["multipart_id", "part_bytes"])
    earlier = upload.multipart_id
    if not earlier or (remote is not None and not remote.has_multipart(upload.storage_key, multipart_id=earlier)):
        multipart_id = secrets.token_hex(16)
        if remote is not None:
            multipart_id = remote.begin_multipart(upload.storage_key, content_type=upload.declared_type)
        waiting = Upload.objects.filter(pk=upload.pk, multipart_id=earlier, state=UploadState.WAITING)
        if not waiting.update(multipart_id=multipart_id, part_bytes=part_bytes) and remote is not None:
            remote.abort_multipart(upload.storage_key, multipart_id=multipart_id)
        upload.refresh_from_db(fields=["multipart_id", "part_bytes"])
        if not upload.multipart_id:
            raise _has_ended()
    if remote is None:
        incoming_parts.begin_parts(upload.pk, multipart_id=upload.multipart_id)


def _own_parts(upload: Upload, *, site_url: str, expires_at: datetime) -> MultipartTarget:
    path = f"{PREFIX}/{upload.pk}"
    fields = {UPLOAD_ID: upload.multipart_id}
    numbers = range(1, part_count(upload) + 1)
    signed_parts = (
        signing.signed_path(
            f"{path}/parts/{number}",
            method="PUT",
            expires_at=expires_at,
            size_bytes=part_size(upload, number=number),
            fields=fields,
        )
        for number in numbers
    )
    complete = signing.signed_path(f"{path}/complete", method="POST", expires_at=expires_at, fields=fields)
    abort = signing.signed_path(path, method="DELETE", expires_at=expires_at, fields=fields)
    return MultipartTarget(
        key=str(upload.pk),
        upload_id=upload.multipart_id,
        part_bytes=upload.part_bytes or 0,
        parts=tuple((number, f"{site_url}{part}") for number, part in zip(numbers, signed_parts, strict=True)),
        complete_url=f"{site_url}{complete}",
        abort_url=f"{site_url}{abort}",
    )


def _remote_parts(upload: Upload, *, remote: SigningStorage) -> MultipartTarget:
    key, multipart_id, seconds = upload.storage_key, upload.multipart_id, settings.SIGNED_URL_SECONDS
    return MultipartTarget(
        key=key,
        upload_id=multipart_id,
        part_bytes=upload.part_bytes or 0,
        parts=tuple(
            (
                number,
                remote.part_url(
                    key,
                    seconds=seconds,
                    multipart_id=multipart_id,
                    number=number,
                    size_bytes=part_size(upload, number=number),
                ),
            )
            for number in range(1, part_count(upload) + 1)
        ),
        complete_url=remote.complete_url(key, seconds=seconds, multipart_id=multipart_id),
        abort_url=remote.abort_url(key, seconds=seconds, multipart_id=multipart_id),
    )


def _has_ended() -> Conflict:
    return Conflict("The upload has ended. Begin a new one.", error_type="upload_expired")
