"""Organizations and the people in them: create, verify, invite, accept, change roles, remove, leave."""

import hashlib
import secrets
from datetime import datetime, timedelta

from django.conf import settings
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.dispatch import Signal
from django.utils import timezone

from accounts.errors import Conflict, Forbidden, NotFound
from accounts.models import Invitation, Membership, Organization, Role, User

# Sent once, inside the transaction that verifies an organization. Argument: organization.
organization_verified = Signal()


def create(*, name: str, owner: User, is_personal: bool = False) -> Organization:
    """Make an organization with its first owner."""
    with transaction.atomic():
        organization = Organization.objects.create(name=name[:100], is_personal=is_personal)
        Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    return organization


def ensure_personal(user: User) -> Organization:
    """Return the person's own organization, made on the first call."""
    with transaction.atomic():
        # The lock on the person keeps two verifications at the same moment from making two.
        user = User.objects.select_for_update().get(pk=user.pk)
        existing = Organization.objects.filter(
            is_personal=True, memberships__user=user, memberships__role=Role.OWNER
        ).first()
        if existing:
            return existing
        return create(name=user.email.split("@")[0], owner=user, is_personal=True)


def verify(organization: Organization, *, now: datetime | None = None) -> bool:
    """Mark an organization as one whose owner has proved an e-mail address. Returns False if it was before."""
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
    """Give a person whose address is now proved an organization, and verify those that they own."""
    ensure_personal(user)
    for organization in Organization.objects.filter(
        memberships__user=user, memberships__role=Role.OWNER, verified_at__isnull=True
    ):
        verify(organization)


def invite(organization: Organization, *, email: str, role: Role, by: Membership) -> tuple[Invitation, str]:
    """Offer a person membership. Returns the invitation and its token, which is nowhere kept.

    Raises Forbidden unless the inviter is an admin (an owner, to invite an owner), and Conflict for a member.
    """
    _must_outrank(by, organization=organization, role=role)
    if Membership.objects.filter(organization=organization, user__email__iexact=email).exists():
        raise Conflict(f"{email} is a member already.")
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    with transaction.atomic():
        Invitation.objects.filter(organization=organization, email__iexact=email, accepted_at__isnull=True).delete()
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
        transaction.on_commit(lambda: _mail(invitation, token=token, inviter=by.user))
    return invitation, token


def withdraw(invitation: Invitation, *, by: Membership) -> None:
    """Take an offer back. Raises Forbidden unless it is one that this member could have made."""
    _must_outrank(by, organization=invitation.organization, role=Role(invitation.role))
    invitation.delete()


def invitation_for(token: str) -> Invitation:
    """Return the open invitation of this token. Raises NotFound when there is none or it is too old."""
    invitation = Invitation.objects.select_related("organization").filter(token_sha256=_hash(token)).first()
    if invitation is None or not invitation.is_open(now=timezone.now()):
        raise NotFound("This invitation is not valid any more. Ask for a new one.")
    return invitation


def accept(token: str, *, user: User) -> Membership:
    """Make the invited person a member. Raises NotFound for a bad token and Forbidden for another person's."""
    with transaction.atomic():
        invitation = Invitation.objects.select_for_update().get(pk=invitation_for(token).pk)
        # A forwarded link must not admit whoever opens it.
        if invitation.email.lower() != user.email.lower():
            raise Forbidden(f"This invitation is for {invitation.email}. Sign in with that address.")
        if not invitation.is_open(now=timezone.now()):
            raise NotFound("This invitation is not valid any more. Ask for a new one.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        membership, _ = Membership.objects.get_or_create(
            organization_id=invitation.organization_id, user=user, defaults={"role": invitation.role}
        )
    return membership


def change_role(membership: Membership, *, role: Role, by: Membership) -> None:
    """Give a member another role. Raises Forbidden, or Conflict when the last owner would go."""
    _must_outrank(by, organization=membership.organization, role=role)
    with _owners_locked(membership):
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        if membership.role == Role.OWNER and role != Role.OWNER:
            _must_not_be_last_owner(membership)
        membership.role = role
        membership.save(update_fields=["role"])


def remove_member(membership: Membership, *, by: Membership) -> None:
    """End a membership. Raises Forbidden, or Conflict when the last owner would go."""
    with _owners_locked(membership):
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        _must_not_be_last_owner(membership)
        membership.delete()


def leave(membership: Membership) -> None:
    """End one's own membership. Raises Conflict for the last owner."""
    with _owners_locked(membership):
        _must_not_be_last_owner(membership)
        membership.delete()


class _owners_locked(transaction.Atomic):  # noqa: N801 - used as a verb
    """A transaction in which nobody else changes the memberships of the same organization."""

    def __init__(self, membership: Membership) -> None:
        super().__init__(using=None, savepoint=True, durable=False)
        self.membership = membership

    def __enter__(self) -> None:
        super().__enter__()
        Organization.objects.select_for_update().get(pk=self.membership.organization_id)
        self.membership.refresh_from_db()


def _must_outrank(by: Membership, *, organization: Organization, role: Role) -> None:
    if by.organization_id != organization.pk or not by.may(Role.ADMIN) or not by.may(role):
        raise Forbidden("Your role does not allow this.")


def _must_not_be_last_owner(membership: Membership) -> None:
    others = Membership.objects.filter(organization_id=membership.organization_id, role=Role.OWNER).exclude(
        pk=membership.pk
    )
    if membership.role == Role.OWNER and not others.exists():
        raise Conflict("An organization needs an owner. Make somebody else an owner first.")


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _mail(invitation: Invitation, *, token: str, inviter: User) -> None:
    send_mail(
        subject=f"{inviter.email} invites you to {invitation.organization.name} on Voxsite",
        message=(
            f"{inviter.email} invites you to join {invitation.organization.name} on Voxsite.\n\n"
            f"Accept here:\n{settings.SITE_URL}/invitations/{token}/\n\n"
            f"The link works for {settings.INVITATION_DAYS} days, for {invitation.email} only.\n"
            "If you did not expect this, do nothing.\n"
        ),
        from_email=None,
        recipient_list=[invitation.email],
    )
