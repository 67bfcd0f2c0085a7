"""Links by which people without an account read one transcript: made, found and revoked.

A link is a secret of 256 bits. Its hash is stored, so that nobody who reads the database can open a transcript.
"""

import hashlib
import secrets
import uuid
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from accounts import audit_log
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import AuditAction, User
from transcription.jobs import lifecycle
from transcription.models import JobItem, ShareLink, Status

# How many days a link may live.
LIFETIMES_DAYS = (1, 7, 30)
MAX_LINKS = 20
TOKEN_BYTES = 32


def share(item: JobItem, *, days: int, has_audio: bool, by: User | None, now: datetime) -> tuple[ShareLink, str]:
    """Make a link to the transcript of an item. Returns it and its token, which is not stored.

    Raises NotFound without a transcript, InvalidField for another lifetime, and Conflict for more than MAX_LINKS.
    """
    if days not in LIFETIMES_DAYS:
        raise InvalidField("days", "Choose for how long the link works.")
    # The lock counts links that are made at the same moment, and keeps a link from outliving its job.
    with lifecycle.lock_job(item.job_id) as locked:
        if locked is None or item.status != Status.COMPLETED:
            raise NotFound("Transcript not found.")
        ShareLink.objects.filter(item=item, expires_at__lte=now).delete()
        if ShareLink.objects.filter(item=item).count() >= MAX_LINKS:
            raise Conflict(f"A transcript can have {MAX_LINKS} links. Revoke one first.")
        token = secrets.token_urlsafe(TOKEN_BYTES)
        link = ShareLink.objects.create(
            item=item,
            token_sha256=_hash(token),
            has_audio=has_audio,
            created_by=by,
            created_at=now,
            expires_at=now + timedelta(days=days),
        )
        told = f"for {days} days, {'with' if has_audio else 'without'} the recording"
        audit_log.record(locked.organization, AuditAction.LINK_CREATED, told, job_id=locked.pk)
    return link, token


def live_links(item: JobItem, *, now: datetime) -> list[ShareLink]:
    """Return the links of an item that work, with who made them."""
    return list(ShareLink.objects.filter(item=item, expires_at__gt=now).select_related("created_by"))


def revoke_link(item: JobItem, *, link_id: uuid.UUID) -> bool:
    """End a link of an item at once. Returns whether there was one."""
    with transaction.atomic():
        deleted, _ = ShareLink.objects.filter(item=item, pk=link_id).delete()
        if deleted:
            audit_log.record(item.job.organization, AuditAction.LINK_REVOKED, job_id=item.job_id)
    return deleted > 0


def purge_links(*, now: datetime) -> int:
    """Delete links that have expired: they open nothing, and say who shared what. Returns how many there were."""
    deleted, _ = ShareLink.objects.filter(expires_at__lte=now).delete()
    return deleted


def shared_by(token: str, *, now: datetime) -> ShareLink:
    """Return the link with this token, with its item, job and recording. Raises NotFound, the same for all reasons.

    A link ends with the retention of its job, also before the clock deletes that, and when its organization is closed.
    """
    kept = Q(item__job__delete_at__isnull=True) | Q(item__job__delete_at__gt=now)
    links = ShareLink.objects.filter(kept, item__job__organization__closed_at__isnull=True, expires_at__gt=now)
    link = links.filter(token_sha256=_hash(token)).select_related("item__job", "item__media", "item__upload").first()
    if link is None:
        raise NotFound("This link does not work: it was mistyped or revoked, or it has expired.")
    return link


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
