"""A person deletes their account: it is shut at once, and the clock takes what says who they were after the grace.

Organizations in which they are alone are closed with it; they leave the others. Their row stays without a name, because
keys, transcripts and payments say who made them.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.dispatch import Signal
from django.utils import timezone

from accounts import audit_log, closures, organizations
from accounts.errors import Conflict, NotFound
from accounts.models import Invitation, Membership, Organization, Role, User

logger = logging.getLogger(__name__)

# Sent with `user`, in the transaction that deletes what says who they were, before anything of it is gone.
account_is_deleted = Signal()


@dataclass(frozen=True, slots=True)
class Consequences:
    """What becomes of a person's organizations, in the order of their names. blocking: they need an owner first."""

    closed: Sequence[Organization]
    left: Sequence[Organization]
    blocking: Sequence[Organization]


def consequences(user: User) -> Consequences:
    """Return what becomes of the organizations in which a person works."""
    memberships = Membership.objects.of_open_organizations().select_related("organization").filter(user=user)
    closed, left, blocking = [], [], []
    for membership in memberships.order_by("organization__name", "organization_id"):
        others = Membership.objects.filter(organization_id=membership.organization_id).exclude(user=user)
        if not others.exists():
            closed.append(membership.organization)
        elif membership.role == Role.OWNER and not others.filter(role=Role.OWNER).exists():
            blocking.append(membership.organization)
        else:
            left.append(membership.organization)
    return Consequences(closed, left, blocking)


def order(user: User, *, revokes_keys: bool) -> None:
    """Shut an account now, and have it deleted after the grace.

    revokes_keys: whether the live keys that they made in organizations of others end, as in `organizations.leave`.
    Raises Conflict while another organization has no other owner, and NotFound if the account is shut already.
    Ends work and sends a mail: call it outside transactions.
    """
    with transaction.atomic():
        person = User.objects.select_for_update(no_key=True).filter(pk=user.pk, is_active=True).first()
        if person is None:
            raise NotFound("This account is deleted already.")
        found = _locked_consequences(person)
        if found.blocking:
            names = ", ".join(organization.name for organization in found.blocking)
            raise Conflict(f"You are the only owner of {names}. Make another member an owner first.")
        memberships = {one.organization_id: one for one in Membership.objects.filter(user=person)}
        for organization in found.closed:
            closures.close(memberships[organization.pk])
        for organization in found.left:
            organizations.leave(memberships[organization.pk], revokes_keys=revokes_keys)
        person.is_active, person.delete_at = False, timezone.now() + timedelta(days=closures.grace_days())
        person.save(update_fields=["is_active", "delete_at"])
    # An inactive person has no session any more. This takes the rows too.
    for session in UserSession.objects.filter(user=person):
        session.end()
    for organization in found.closed:
        closures.end_work(organization)
    _tell(person)


def delete_due(*, now: datetime) -> int:
    """Take from accounts that are due what says who they were. Returns how many. Two clocks may do it at once."""
    deleted = 0
    for person in User.objects.filter(delete_at__lte=now, deleted_at__isnull=True, is_active=False):
        try:
            deleted += _delete(person.pk, now=now)
        except Exception:  # One broken row must not keep all others.
            logger.exception("Account %s is due and was not deleted.", person.pk)
    return deleted


def _delete(person_id: int, *, now: datetime) -> bool:
    with transaction.atomic():
        due = User.objects.filter(pk=person_id, delete_at__lte=now, deleted_at__isnull=True, is_active=False)
        person = due.select_for_update().first()
        if person is None:
            return False
        account_is_deleted.send(sender=User, user=person)
        addresses = [person.email, *EmailAddress.objects.filter(user=person).values_list("email", flat=True)]
        for address in set(addresses):
            Invitation.objects.filter(email__iexact=address).delete()
            audit_log.forget_address(address)
        EmailAddress.objects.filter(user=person).delete()
        Authenticator.objects.filter(user=person).delete()
        SocialAccount.objects.filter(user=person).delete()
        UserSession.objects.filter(user=person).delete()
        Membership.objects.filter(user=person).delete()
        # RFC 2606, section 2: no mail goes there, and nobody signs up with it.
        person.email = f"former-member-{person.pk}@deleted.invalid"
        person.is_staff = person.is_superuser = False
        person.last_login, person.deleted_at = None, now
        person.set_unusable_password()
        person.save()
        person.groups.clear()
        person.user_permissions.clear()
    return True


def _locked_consequences(user: User) -> Consequences:
    """Lock the organizations of a person, in one order for all, and return what becomes of them."""
    ids = Membership.objects.of_open_organizations().filter(user=user).values_list("organization_id", flat=True)
    list(Organization.objects.select_for_update(no_key=True).filter(pk__in=list(ids)).order_by("pk").values_list("pk"))
    return consequences(user)


def _tell(person: User) -> None:
    assert person.delete_at is not None, "it was just ordered"
    EmailMessage(
        "Your Voxsite account is deleted",
        f"You deleted your Voxsite account {person.email}. It can no longer be used to sign in.\n\n"
        f"On {person.delete_at:%Y-%m-%d %H:%M} UTC we permanently delete your addresses, sign-in methods and "
        "sessions, and the organizations in which you were alone. Until then we can restore them: reply to this "
        "email.\n\n"
        "Money that is left on a balance is not refunded automatically. Reply to this email, and we tell you what "
        "can be refunded.\n",
        to=[person.email],
        reply_to=[settings.SUPPORT_EMAIL],
    ).send()
