"""Who did what in an organization, for its owners and admins: one row for each act, in the transaction of the act.

Who acts is not passed through all functions: pages and the gate tell `log_context` whose request it is, for the lines
of the log, and the same is written here. Rows never change. The clock deletes them after a year.
"""

import time
import uuid
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q
from django.utils import timezone

from accounts import log_context
from accounts.models import ApiKey, AuditAction, AuditEntry, AuditEntryQuerySet, Organization, User

KEPT = timedelta(days=365)
MAX_SUBJECT_LENGTH = 300
# A search that finds nothing reads them all.
SEARCHED_ROWS = 20_000
MAX_WORDS = 8
DELETE_BATCH_SIZE = 500
PURGE_SECONDS = 2.0


def record(
    organization: Organization,
    action: AuditAction,
    subject: str = "",
    *,
    address: str = "",
    person: User | None = None,
    job_id: uuid.UUID | None = None,
    by: User | None = None,
) -> None:
    """Write that something was done. Call it in the transaction that does it.

    subject: what it was done to, as people name it. Never a secret, and nothing that is deleted on its own: no name of
    a recording, no address. address: of an invited person, in lower case. person: the member it was done to. job_id:
    the transcript. by: only where the request has no organization yet, as when a person accepts an invitation.
    """
    ids = log_context.ids_now()
    is_own = ids.get("organization_id") == str(organization.pk)
    user_id = str(by.pk) if by is not None else ids.get("user_id") if is_own else None
    AuditEntry.objects.create(
        organization=organization,
        created_at=timezone.now(),
        action=action,
        subject=subject[:MAX_SUBJECT_LENGTH],
        address=address,
        person=person,
        job_id=job_id,
        user_id=int(user_id) if user_id else None,
        key_id=uuid.UUID(ids["key_id"]) if is_own and not user_id and "key_id" in ids else None,
        operator_id=int(ids["operator_id"]) if "operator_id" in ids else None,
        request_id=ids.get("request_id", "")[:128],
    )


def find(organization: Organization, *, text: str, before: int | None, limit: int) -> list[AuditEntry]:
    """Return acts, the newest first, with their people.

    text: words of subjects, addresses or actions, all of them. They are looked for in the newest SEARCHED_ROWS.
    """
    rows = AuditEntry.objects.of(organization).select_related("user", "person").order_by("-pk")
    words = text.split()[:MAX_WORDS]
    if words:
        newest = AuditEntry.objects.of(organization).order_by("-pk").values_list("pk", flat=True)
        last = newest[SEARCHED_ROWS - 1 : SEARCHED_ROWS].first()
        rows = rows.filter(pk__gte=last) if last is not None else rows
    if before is not None:
        rows = rows.filter(pk__lt=before)
    for word in words:
        actions = [action.value for action in AuditAction if word.lower() in action.label.lower()]
        people = Q(user__email__icontains=word) | Q(person__email__icontains=word) | Q(address__icontains=word)
        rows = rows.filter(Q(subject__icontains=word) | people | Q(action__in=actions))
    return list(rows[:limit])


def key_names(organization: Organization, rows: list[AuditEntry]) -> dict[uuid.UUID, str]:
    """Return the names of the keys that acted, by id. Keys that are gone are missing."""
    ids = {row.key_id for row in rows if row.key_id is not None}
    return dict(ApiKey.objects.filter(organization=organization, pk__in=ids).values_list("pk", "name")) if ids else {}


def invited_joined(organization: Organization, *, address: str, person: User) -> None:
    """Let what was written of an invited address be of the person, who may have another address later, or none."""
    AuditEntry.objects.of(organization).filter(address=address.lower()).update(address="", person=person)


def forget_address(address: str) -> None:
    """Take an address of a deleted account out of what was written of invitations, in all organizations."""
    AuditEntry.objects.filter(address=address.lower()).exclude(address="").update(address="")


def purge(*, now: datetime, seconds: float = PURGE_SECONDS) -> int:
    """Delete what is older than a year, for so long. Returns how many."""
    return _delete(AuditEntry.objects.filter(created_at__lt=now - KEPT), ends_at=time.monotonic() + seconds)


def delete_of(organization: Organization, *, ends_at: float) -> bool:
    """Delete all acts of an organization. ends_at: by `time.monotonic`. Returns whether none is left."""
    rows = AuditEntry.objects.of(organization)
    _delete(rows, ends_at=ends_at)
    return not rows.exists()


def changes(**facts: tuple[Any, Any]) -> str:
    """Return in words what changed: `name: old → new` for each fact of which both differ."""
    told = [f"{name.replace('_', ' ')}: {old} → {new}" for name, (old, new) in facts.items() if old != new]
    return ", ".join(told)


def dollars(micros: int | None) -> str:
    """Return a monthly limit in words. micros: micro-dollars, None for no limit."""
    return "no limit" if micros is None else f"${micros / 1_000_000:,.2f}"


def _delete(rows: AuditEntryQuerySet, *, ends_at: float) -> int:
    deleted = 0
    # A batch at least, or nothing would ever be deleted when the time is short.
    while ids := list(rows.values_list("pk", flat=True)[:DELETE_BATCH_SIZE]):
        deleted += AuditEntry.objects.filter(pk__in=ids).delete()[0]
        if time.monotonic() >= ends_at:
            break
    return deleted
