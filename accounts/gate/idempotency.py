"""Idempotency-Key: the same request sent twice is done once. Kept for a day, in the database and not in Redis, because
losing one can cost money.

Only what succeeded is kept: after an error nothing was done, and the same key may be tried again (after a top-up, say).
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import IdempotencyRecord, Organization

HEADER = "Idempotency-Key"
LONGEST_KEY = 255


def fingerprint(path: str, *, data: Mapping[str, Any]) -> str:
    """Return what makes a request the same: its path, its fields and the content of its files."""
    digest = hashlib.sha256(path.encode())
    for name in sorted(data):
        values = data.getlist(name) if hasattr(data, "getlist") else [data[name]]
        for value in values:
            if isinstance(value, UploadedFile):
                value.seek(0)
                content = hashlib.file_digest(value, "sha256").hexdigest()
                value.seek(0)
                part = f"file:{content}"
            else:
                part = f"text:{value!r}"
            digest.update(f"\0{name}\0{part}".encode())
    return digest.hexdigest()


def once(
    organization: Organization, *, key: str, request_fingerprint: str, act: Callable[[], tuple[int, Any]]
) -> tuple[int, Any, bool]:
    """Act and keep the answer, or return the one that was kept.

    act: does the work and returns (HTTP status, JSON body).
    Returns (status, body, was it replayed). Raises Conflict when the key was used for another request, or while the
    first one still runs. A crash in the middle leaves the key in use for its day: refusing is safe, repeating is not.
    """
    if not key.isprintable() or len(key) > LONGEST_KEY:
        raise InvalidField(HEADER, f"{HEADER} must be at most {LONGEST_KEY} printable characters.")
    try:
        with transaction.atomic():
            record = IdempotencyRecord.objects.create(
                organization=organization, key=key, fingerprint=request_fingerprint
            )
    except IntegrityError:
        return _replay(organization, key=key, request_fingerprint=request_fingerprint)
    try:
        status, body = act()
    except BaseException:
        record.delete()
        raise
    if status >= 300:
        record.delete()
    else:
        record.response_status, record.response_body = status, body
        record.save(update_fields=["response_status", "response_body"])
    return status, body, False


def purge() -> int:
    """Forget what is older than a day. Returns how many were forgotten."""
    deleted, _ = IdempotencyRecord.objects.filter(
        created_at__lt=timezone.now() - timedelta(hours=settings.IDEMPOTENCY_HOURS)
    ).delete()
    return deleted


def _replay(organization: Organization, *, key: str, request_fingerprint: str) -> tuple[int, Any, bool]:
    record = IdempotencyRecord.objects.filter(organization=organization, key=key).first()
    if record is None or (record.fingerprint == request_fingerprint and record.response_status is None):
        raise Conflict("A request with this Idempotency-Key is being worked on.", error_type="idempotency_key_in_use")
    if record.fingerprint != request_fingerprint:
        raise Conflict("This Idempotency-Key was used for another request.", error_type="idempotency_key_reused")
    assert record.response_status is not None, "the first branch took the unfinished ones"
    return record.response_status, record.response_body, True
