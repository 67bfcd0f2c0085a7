"""Organizations and their members: create, verify, invite, accept, change roles, remove, leave."""

import hashlib
import logging
import secrets
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.dispatch import Signal
from django.utils import timezone

from accounts.errors import Conflict, Forbidden, InvalidField, NotFound, UpstreamFailed
from accounts.models import Invitation, Membership, Organization, Role, User

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 100
# Names appear in mail subjects and next to other names. So they must not have control characters, line breaks, or marks
# that change the text direction. The joiners are allowed because Persian, Hindi and some emoji need them.
UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\u200c\u200d"

# Sent once, inside the transaction that verifies an organization. Argument: organization.
organization_verified = Signal()


def create(*, name: str, owner: User, is_personal: bool = False) -> Organization:
    """Create an organization with its first owner. Raises InvalidField unless the name is one plain line."""
    name = name.strip()
    if not name or len(name) > MAX_NAME_LENGTH or any(map(_is_unsafe, name)):
        raise InvalidField(
            "name", f"A name is one line of 1 to {MAX_NAME_LENGTH} characters, without control characters."
        )
    with transaction.atomic():
        organization = Organization.objects.create(name=name, is_personal=is_personal)
        Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    return organization


def ensure_personal(user: User) -> Organization:
    """Return the person's personal organization. It is created on the first call."""
    with transaction.atomic():
        # The lock prevents two simultaneous verifications from creating two.
        user = User.objects.select_for_update().get(pk=user.pk)
        existing = Organization.objects.filter(
            is_personal=True, memberships__user=user, memberships__role=Role.OWNER
        ).first()
        if existing:
            return existing
        return create(name=_personal_name(user.email), owner=user, is_personal=True)


def verify(organization: Organization, *, now: datetime | None = None) -> bool:
    """Mark an organization as verified: an owner has verified an e-mail address. Returns False if it was already."""
    with transaction.atomic():
        changed = Organization.objects.filter(pk=organization.pk, verified_at__isnull=True).update(
            verified_at=now or timezone.now()
        )
        if not changed:
            return False
        organization.refresh_from_db()
        organization_verified.send(sender=Organization, organization=organization)
    return True


def email_was_verified(user: User) -> None:
    """Give a person with a verified address a personal organization, and verify all organizations that they own."""
    ensure_personal(user)
    for organization in Organization.objects.filter(
        memberships__user=user, memberships__role=Role.OWNER, verified_at__isnull=True
    ):
        verify(organization)


def invite(organization: Organization, *, email: str, role: Role, by: Membership) -> tuple[Invitation, str]:
    """Invite a person. `mail_invitation` sends the mail. Returns the invitation and its token, which is not stored.

    Raises Forbidden unless the inviter is an admin (an owner, to invite an owner or to replace such an invitation), and
    Conflict if the person is a member.
    """
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    with _members_locked(by, by=by):
        _must_outrank(by, organization=organization, role=role)
        if Membership.objects.filter(organization=organization, user__email__iexact=email).exists():
            raise Conflict(f"{email} is already a member.")
        replaced = Invitation.objects.filter(organization=organization, email__iexact=email, accepted_at__isnull=True)
        for earlier in replaced:
            if earlier.is_open(now=now) and not by.may(Role(earlier.role)):
                raise Forbidden(f"{email} is already invited as {Role(earlier.role).label.lower()}.")
        replaced.delete()
        try:
            invitation = Invitation.objects.create(
                organization=organization,
                email=email.lower(),
                role=role,
                token_sha256=_hash(token),
                invited_by=by.user,
                expires_at=now + timedelta(days=settings.INVITATION_DAYS),
            )
        except IntegrityError as error:
            raise Conflict(f"{email} was invited a moment ago.") from error
    return invitation, token


def mail_invitation(invitation: Invitation, *, token: str) -> None:
    """Mail the link of an invitation to the invited person. Call it outside transactions: it waits for the network.

    Raises UpstreamFailed if the mail server refuses it. The invitation stays, and inviting again sends a new link.
    """
    organization, inviter = invitation.organization, invitation.invited_by
    assert inviter is not None, "the inviter exists, because the invitation was made just now"
    subject = f"{inviter.email} invited you to join {organization.name} on Voxsite"
    try:
        send_mail(
            # Old names were not checked and may have line breaks, which a subject must not have.
            subject=" ".join(subject.split()),
            message=(
                f"{inviter.email} invited you to join {organization.name} on Voxsite.\n\n"
                f"Accept the invitation:\n{settings.SITE_URL}/invitations/{token}/\n\n"
                f"The link works for {settings.INVITATION_DAYS} days, and only for {invitation.email}.\n"
                "If you did not expect this invitation, you can ignore this mail.\n"
            ),
            from_email=None,
            recipient_list=[invitation.email],
        )
    except OSError as error:  # the errors of smtplib are OSErrors too
        logger.exception("The mail of invitation %s was not sent.", invitation.pk)
        raise UpstreamFailed("The mail could not be sent.") from error


def withdraw(invitation: Invitation, *, by: Membership | None) -> None:
    """Withdraw an invitation. Raises Forbidden unless this member could have made it.

    by: as in `change_role`.
    """
    _must_outrank(by, organization=invitation.organization, role=Role(invitation.role))
    invitation.delete()


def invitation_for(token: str) -> Invitation:
    """Return the open invitation with this token. Raises NotFound if there is none or it has expired."""
    invitation = Invitation.objects.select_related("organization").filter(token_sha256=_hash(token)).first()
    if invitation is None or not invitation.is_open(now=timezone.now()):
        raise _invitation_is_over()
    return invitation


def accept(token: str, *, user: User) -> Membership:
    """Make the invited person a member. Raises NotFound for a bad token, and Forbidden for another person."""
    with transaction.atomic():
        invitation = Invitation.objects.select_for_update().filter(pk=invitation_for(token).pk).first()
        # It was withdrawn, or accepted in another window, while this call waited for the lock.
        if invitation is None or not invitation.is_open(now=timezone.now()):
            raise _invitation_is_over()
        # A forwarded link must not admit another person.
        if invitation.email.lower() != user.email.lower():
            raise Forbidden(f"This invitation is for {invitation.email}. Sign in with that address.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        membership, _ = Membership.objects.get_or_create(
            organization_id=invitation.organization_id, user=user, defaults={"role": invitation.role}
        )
    return membership


def change_role(membership: Membership, *, role: Role, by: Membership | None) -> None:
    """Give a member another role. Delete their open invitations that the new role could not have made.

    by: None for an operator of the service, who may do everything.

    Raises Forbidden, NotFound if the member is gone, and Conflict if no owner would be left.
    """
    with _members_locked(membership, by=by):
        _must_outrank(by, organization=membership.organization, role=role)
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        if membership.role == Role.OWNER and role != Role.OWNER:
            _must_not_be_last_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])
        lost = [offered for offered in Role if not _may_offer(membership, role=offered)]
        _invitations_by(membership).filter(role__in=lost).delete()


def remove_member(membership: Membership, *, by: Membership | None) -> None:
    """Delete a membership and the open invitations that it made. by: as in `change_role`.

    Raises Forbidden, NotFound if the member is gone, and Conflict if no owner would be left.
    """
    with _members_locked(membership, by=by):
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        _end(membership)


def leave(membership: Membership) -> None:
    """Delete one's own membership and the open invitations that it made.

    Raises NotFound if it was deleted before, and Conflict for the last owner.
    """
    with _members_locked(membership, by=membership):
        _end(membership)


def _end(membership: Membership) -> None:
    _must_not_be_last_owner(membership)
    # Otherwise a person could invite a second address of theirs before they are removed, and come back.
    _invitations_by(membership).delete()
    membership.delete()


@contextmanager
def _members_locked(membership: Membership, *, by: Membership | None) -> Iterator[None]:
    """Open a transaction that locks the members of the organization. Read both members again.

    Raises NotFound if one of them was removed while this call waited for the lock.
    """
    with transaction.atomic():
        Organization.objects.select_for_update().filter(pk=membership.organization_id).first()
        try:
            membership.refresh_from_db()
            if by is not None:
                by.refresh_from_db()
        except Membership.DoesNotExist as error:
            raise NotFound("This person is not a member any more.") from error
        yield


def _invitations_by(membership: Membership) -> QuerySet[Invitation]:
    return Invitation.objects.filter(
        organization_id=membership.organization_id, invited_by_id=membership.user_id, accepted_at__isnull=True
    )


def _must_outrank(by: Membership | None, *, organization: Organization, role: Role) -> None:
    if by is None:
        return
    if by.organization_id != organization.pk or not _may_offer(by, role=role):
        raise Forbidden("Your role does not allow this.")


def _may_offer(by: Membership, *, role: Role) -> bool:
    return by.may(Role.ADMIN) and by.may(role)


def _must_not_be_last_owner(membership: Membership) -> None:
    others = Membership.objects.filter(organization_id=membership.organization_id, role=Role.OWNER).exclude(
        pk=membership.pk
    )
    if membership.role == Role.OWNER and not others.exists():
        raise Conflict("An organization needs an owner. Make another member an owner first.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _invitation_is_over() -> NotFound:
    return NotFound("This invitation is no longer valid. Ask for a new one.")


def _personal_name(email: str) -> str:
    """Return the part before the @ without unsafe characters, which it may have in quotes (RFC 5322, section 3.2.4)."""
    local_part, _, _ = email.partition("@")
    kept = "".join(character for character in local_part if not _is_unsafe(character))
    return kept.strip('" ')[:MAX_NAME_LENGTH] or "Personal"


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in UNSAFE_CATEGORIES and character not in JOINERS
