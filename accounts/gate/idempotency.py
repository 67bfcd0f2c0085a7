"""Idempotency-Key: the same request sent twice is done once. Kept for a day, in the database and not in Redis, because
losing one can cost money.

Only what succeeded is kept: after an error nothing was done, and the same key may be tried again (after a top-up, say).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import IdempotencyRecord, Organization

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
# Longer than any request works: a probe ends after a minute, and the body was read before.
ABANDONED_AFTER = timedelta(minutes=5)

# (HTTP status, JSON body)
Keep = Callable[[int, Any], None]


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


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to do what a key names: its owner keeps an answer, or forgets the key."""

    organization: Organization
    key: str
    # The moment names this try: one that was given up and taken over can neither keep nor forget an answer.
    began_at: datetime

    def keep(self, status: int, body: Any) -> None:
        """Keep the answer. Raises Conflict when another try took over."""
        if not self._ours().update(response_status=status, response_body=body):
            raise _in_use()

    def begin(self, reference: str) -> None:
        """Note what the request has begun, when its answer comes later. Raises Conflict when another try took over.

        reference: names the business fact, such as "job:<uuid>". Called inside the transaction that begins it. From
        then on the key is never taken for abandoned: a retry gets `Pending`, and `complete` keeps the answer.
        """
        if not self._ours().update(reference=reference):
            raise _in_use()

    def forget(self) -> None:
        """Free the key, unless something was begun, an answer is kept or another try took over."""
        self._ours().filter(reference="").delete()

    def _ours(self) -> "QuerySet[IdempotencyRecord]":
        return IdempotencyRecord.objects.filter(
            organization=self.organization, key=self.key, created_at=self.began_at, response_status__isnull=True
        )


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """The stored response to an earlier request with the same key."""

    status: int
    body: Any


@dataclass(frozen=True, slots=True)
class Pending:
    """What an earlier request with this key has begun, and has no answer yet. reference: as in `Claim.begin`."""

    reference: str


def claim(
    organization: Organization,
    *,
    key: str,
    request_fingerprint: str,
    abandoned_after: timedelta = ABANDONED_AFTER,
) -> Claim | StoredResponse | Pending:
    """Take the key for a request, or return what it brought before: an answer, or work that has none yet.

    abandoned_after: the age at which a try without an answer is taken for dead.
    Raises Conflict when the key was used for another request, or while the first one still runs.
    """
    if not key.isprintable() or len(key) > MAX_KEY_LENGTH:
        raise InvalidField(HEADER, f"{HEADER} must be at most {MAX_KEY_LENGTH} printable characters.")
    began_at = timezone.now()
    try:
        with transaction.atomic():
            IdempotencyRecord.objects.create(
                organization=organization, key=key, fingerprint=request_fingerprint, created_at=began_at
            )
    except IntegrityError:
        earlier = _earlier(
            organization,
            key=key,
            request_fingerprint=request_fingerprint,
            now=began_at,
            abandoned_after=abandoned_after,
        )
        if earlier is not None:
            return earlier
    return Claim(organization, key, began_at)


def once(
    organization: Organization, *, key: str, request_fingerprint: str, act: Callable[[Keep], tuple[int, Any]]
) -> tuple[int, Any, bool]:
    """Act and keep the answer, or return the one that was kept.

    act: does the work and returns (HTTP status, JSON body). It is given a verb that keeps the answer, and calls it
        inside the transaction that does the work. So a record without an answer proves that nothing was done: after a
        crash its key is free again in `ABANDONED_AFTER`.
    Returns (status, body, was it replayed). Raises Conflict when the key was used for another request, or while the
    first one still runs.
    """
    ours = claim(organization, key=key, request_fingerprint=request_fingerprint)
    if isinstance(ours, StoredResponse):
        return ours.status, ours.body, True
    if isinstance(ours, Pending):
        raise _in_use()
    try:
        status, body = act(ours.keep)
    except BaseException:
        ours.forget()
        raise
    if status >= 300:
        ours.forget()
    return status, body, False


def complete(organization: Organization, *, key: str, reference: str, status: int, body: Any) -> bool:
    """Keep the answer of what a request with this key has begun. Returns False when an answer is kept already.

    Any process may call it that knows how the work ended. Of several, the first one's answer stays.
    """
    begun = IdempotencyRecord.objects.filter(
        organization=organization, key=key, reference=reference, response_status__isnull=True
    )
    return bool(begun.update(response_status=status, response_body=body))


def forget(organization: Organization, *, key: str) -> None:
    """Forget the answer that is kept under a key: it lies elsewhere now."""
    IdempotencyRecord.objects.filter(organization=organization, key=key, response_status__isnull=False).delete()


def purge() -> int:
    """Forget what is older than a day. Returns how many were forgotten."""
    deleted, _ = IdempotencyRecord.objects.filter(
        created_at__lt=timezone.now() - timedelta(hours=settings.IDEMPOTENCY_HOURS)
    ).delete()
    return deleted


def _earlier(
    organization: Organization, *, key: str, request_fingerprint: str, now: datetime, abandoned_after: timedelta
) -> StoredResponse | Pending | None:
    """Return what an earlier try brought, or None when it was abandoned and this one took over. Raises Conflict."""
    record = IdempotencyRecord.objects.filter(organization=organization, key=key).first()
    if record is None:
        raise _in_use()
    if record.fingerprint != request_fingerprint:
        raise Conflict("This Idempotency-Key was used for another request.", error_type="idempotency_key_reused")
    if record.response_status is not None:
        return StoredResponse(record.response_status, record.response_body)
    if record.reference:
        return Pending(record.reference)
    abandoned = IdempotencyRecord.objects.filter(
        pk=record.pk, response_status__isnull=True, reference="", created_at__lt=now - abandoned_after
    )
    if not abandoned.update(created_at=now):
        raise _in_use()
    return None


def _in_use() -> Conflict:
    return Conflict("A request with this Idempotency-Key is being worked on.", error_type="idempotency_key_in_use")
