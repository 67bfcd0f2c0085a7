"""Closing an organization, opening it again, and deleting it.

An owner closes it: from that transaction on nobody works in it, by page or by key, and its wallet admits nothing. Its
rows stay until `delete_at`, so that an owner can open it again as it was. Then the clock deletes them in rounds. When a
round is killed, the next one goes on with the rows that are left.

What an organization has lies in all apps, and this one knows none of them: each registers its `Part`.
"""

import logging
import secrets
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts import api_keys, audit_log
from accounts.errors import Conflict, Forbidden, NotFound
from accounts.models import ApiKey, AuditAction, IdempotencyRecord, Invitation, Membership, Organization, Role, User

logger = logging.getLogger(__name__)

# What a deleted organization and its keys are called. Their rows stay, because the ledger refers to them.
DELETED_NAME = "Deleted organization"
DELETED_KEY_NAME = "Deleted key"
# How long one round of the clock works on one organization, so that a large one does not keep the others waiting.
ROUND_SECONDS = 5.0
# How long a request that closes an organization ends its work. The clock goes on.
CLOSING_SECONDS = 3.0
# A request that had been admitted before may begin work for so long after the end.
LATE_WORK = timedelta(days=1)
# Rows of one DELETE by key: SQLite takes 32,766 values in a statement.
DELETE_BATCH_SIZE = 500


def _nothing(organization: Organization) -> None:
    """Do nothing: this app has nothing to do then."""


def _no_work(organization: Organization, *, ends_at: float) -> None:
    """Do nothing: nothing of this app runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What an app does when an organization is closed, opened again or deleted. ends_at: by `time.monotonic`.

    close, open_again: in the transaction that does it, so they are quick. end_work: outside of transactions, again and
    again. delete: outside of transactions; returns whether nothing is left, and is called again until that is so.
    """

    name: str
    delete: Callable[..., bool]
    close: Callable[[Organization], None] = _nothing
    open_again: Callable[[Organization], None] = _nothing
    end_work: Callable[..., None] = _no_work


# By name, in the order of the apps: those that are called later refer to rows of those before them.
_parts: dict[str, Part] = {}


def register(part: Part) -> None:
    """Add what an app does. Call it when apps start, once for each app below the one that calls."""
    _parts[part.name] = part


def grace_days() -> int:
    """Return for how many days a closed organization can be opened again."""
    days: int = settings.DELETION_GRACE_DAYS
    return days


# --- For owners ------------------------------------------------------------------------------------------------------


def close(membership: Membership) -> datetime:
    """Close an organization now. Returns when it will be deleted. `end_work` ends what runs in it.

    Raises Forbidden unless the member is an owner, and NotFound if it is closed already.
    """
    now = timezone.now()
    with transaction.atomic():
        organization = _locked(membership.organization_id)
        member = Membership.objects.filter(pk=membership.pk).first()
        if organization is None or organization.is_closed or member is None:
            raise NotFound("This organization is deleted already.")
        if not member.may(Role.OWNER):
            raise Forbidden(f"Only an owner of {organization.name} can do this.")
        organization.closed_at, organization.delete_at = now, now + timedelta(days=grace_days())
        organization.save(update_fields=["closed_at", "delete_at"])
        audit_log.record(organization, AuditAction.ORGANIZATION_DELETED, organization.name, by=member.user)
        for part in _parts.values():
            part.close(organization)
    logger.info("Organization %s was closed by user %s.", organization.pk, member.user_id)
    return organization.delete_at


def end_work(organization: Organization, *, seconds: float = CLOSING_SECONDS) -> None:
    """End what runs in a closed organization. Call it outside transactions. A failure is left to the clock."""
    try:
        _end_work(organization, ends_at=time.monotonic() + seconds)
    except Exception:  # It is closed, and the clock tries again. Whoever has closed it must be told so.
        logger.exception(
            "The work of the closed organization %s was not ended; it will be tried again.", organization.pk
        )


def tell_owners(organization: Organization, *, by: User) -> None:
    """Mail the owners of a closed organization that it is, and until when they can open it again."""
    assert organization.delete_at is not None, "it is closed"
    owners = organization.memberships.filter(role=Role.OWNER, user__is_active=True).order_by("pk")
    EmailMessage(
        " ".join(f"{organization.name} will be deleted on {organization.delete_at:%Y-%m-%d}".split()),
        f"{by.email} deleted the organization {organization.name} on Voxsite. It can no longer be used, and its API "
        f"keys do not work.\n\n"
        f"Its transcripts, recordings, keys, webhooks and members will be permanently deleted on "
        f"{organization.delete_at:%Y-%m-%d %H:%M} UTC. Until then an owner can restore it.\n\n"
        f"Restore the organization:\n{settings.SITE_URL}/organization/deleted/\n\n"
        "Automatic top-up is off. Money that is left on the balance is not refunded automatically: reply to this "
        "email, and we tell you what can be refunded. Payments and the ledger are kept, as bookkeeping requires.\n",
        to=list(owners.values_list("user__email", flat=True)),
        reply_to=[settings.SUPPORT_EMAIL],
    ).send()


def is_closed_by_owner(organization_id: uuid.UUID, *, user_id: int | None) -> bool:
    """Tell whether an organization is closed and this person, if there is one, is an owner of it."""
    if user_id is None:
        return False
    owners = Membership.objects.filter(organization_id=organization_id, user_id=user_id, role=Role.OWNER)
    return owners.filter(organization__closed_at__isnull=False).exists()


def closed_of(user: User) -> QuerySet[Organization]:
    """Return the closed organizations that a person owns and can open again, the ones deleted first first."""
    return Organization.objects.filter(
        memberships__user=user,
        memberships__role=Role.OWNER,
        closed_at__isnull=False,
        delete_at__gt=timezone.now(),
    ).order_by("delete_at", "pk")


def open_again(organization_id: uuid.UUID, *, by: User | None) -> Organization:
    """Open a closed organization again: its keys, members and webhooks work as before. Its work stays canceled.

    by: an owner; None for an operator of the service. Raises NotFound for anybody else, and for one that is not closed.
    Raises Conflict once its time is over.
    """
    with transaction.atomic():
        organization = _locked(organization_id)
        if organization is None or not organization.is_closed or (by is not None and not _owns(organization, user=by)):
            raise NotFound("There is no such organization.")
        assert organization.delete_at is not None, "the constraint organization_is_closed_before_it_is_deleted"
        if organization.delete_at <= timezone.now():
            raise Conflict(f"{organization.name} is being deleted, and can no longer be restored.")
        organization.closed_at = organization.delete_at = None
        organization.save(update_fields=["closed_at", "delete_at"])
        audit_log.record(organization, AuditAction.ORGANIZATION_RESTORED, organization.name, by=by)
        for part in _parts.values():
            part.open_again(organization)
    return organization


# --- For the clock ---------------------------------------------------------------------------------------------------


def end_late_work(*, now: datetime) -> None:
    """End what runs in organizations that were closed lately: what a killed request has left, or one before began."""
    for organization in Organization.objects.filter(closed_at__gt=now - LATE_WORK, deleted_at__isnull=True):
        end_work(organization, seconds=ROUND_SECONDS)


def delete_due(*, now: datetime, seconds: float = ROUND_SECONDS) -> int:
    """Delete rows of organizations that are due, of each for so long. Returns how many have no rows left.

    Two clocks may do it at once. An error stops only its own organization.
    """
    deleted = 0
    for organization in Organization.objects.filter(delete_at__lte=now, deleted_at__isnull=True).order_by("delete_at"):
        try:
            deleted += _delete(organization.pk, now=now, seconds=seconds)
        except Exception:  # One broken row must not keep all others.
            logger.exception("Organization %s is due and was not deleted.", organization.pk)
    return deleted


def _delete(organization_id: uuid.UUID, *, now: datetime, seconds: float) -> bool:
    """Delete rows of an organization. Returns whether that were the last ones."""
    organization = _without_people(organization_id, now=now)
    if organization is None:
        return False
    ends_at = time.monotonic() + seconds
    _end_work(organization, ends_at=ends_at)
    # The apps above refer to rows of those below, so theirs go first.
    for part in reversed(_parts.values()):
        if not part.delete(organization, ends_at=ends_at):
            return False
    _forget_keys(organization)
    while ids := list(
        IdempotencyRecord.objects.filter(organization=organization).values_list("pk")[:DELETE_BATCH_SIZE]
    ):
        IdempotencyRecord.objects.filter(pk__in=[pk for (pk,) in ids]).delete()
    return bool(Organization.objects.filter(pk=organization.pk, deleted_at__isnull=True).update(deleted_at=now))


def _without_people(organization_id: uuid.UUID, *, now: datetime) -> Organization | None:
    """Take its name and its people from an organization. From then on nobody can open it again.

    Returns None if somebody has opened it meanwhile.
    """
    with transaction.atomic():
        organization = _locked(organization_id)
        if organization is None or organization.delete_at is None or organization.delete_at > now:
            return None
        organization.name, organization.is_personal, organization.verified_at = DELETED_NAME, False, None
        organization.save(update_fields=["name", "is_personal", "verified_at"])
        Membership.objects.filter(organization=organization).delete()
        Invitation.objects.filter(organization=organization).delete()
    return organization


def _forget_keys(organization: Organization) -> None:
    """Leave of the keys that the ledger names nothing but their ids. The apps above have deleted the others."""
    for key in ApiKey.objects.filter(organization=organization).exclude(name=DELETED_KEY_NAME, prefix=""):
        ApiKey.objects.filter(pk=key.pk).update(
            name=DELETED_KEY_NAME,
            prefix="",
            # Of no key: nothing that a caller sends has this digest.
            sha256=api_keys.digest(secrets.token_hex(32)),
            previous_sha256=None,
            previous_until=None,
            created_by=None,
            last_used_at=None,
            revoked_at=Coalesce("revoked_at", timezone.now()),
        )


def _end_work(organization: Organization, *, ends_at: float) -> None:
    """End the work of all parts. Raises the failures of some once the others were asked too."""
    failures: list[Exception] = []
    for part in _parts.values():
        try:
            part.end_work(organization, ends_at=ends_at)
        except Exception as error:  # noqa: BLE001 - raised below
            failures.append(error)
    if failures:
        raise ExceptionGroup("parts whose work goes on", failures)


def _locked(organization_id: uuid.UUID) -> Organization | None:
    """Lock an organization. Others may insert rows that refer to it."""
    return Organization.objects.select_for_update(no_key=True).filter(pk=organization_id).first()


def _owns(organization: Organization, *, user: User) -> bool:
    return organization.memberships.filter(user=user, role=Role.OWNER).exists()
