"""Organizations and their members: create, verify, invite, accept, change roles, remove, leave."""

import hashlib
import logging
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage
from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.dispatch import Signal
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.http import urlsafe_base64_encode

from accounts import api_keys, audit_log, mail_queue
from accounts.errors import Conflict, Forbidden, InvalidField, NotFound, UpstreamFailed
from accounts.models import ApiKey, AuditAction, Invitation, Membership, Organization, Role, User

logger = logging.getLogger(__name__)

MAX_NAME_LENGTH = 100
# Names appear in mail subjects and next to other names. So they must not have control characters, line breaks, or marks
# that change the text direction. The joiners are allowed because Persian, Hindi and some emoji need them.
UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
JOINERS = "\u200c\u200d"
# Letters and signs that are drawn as nothing: the fillers of Hangul, and the empty pattern of Braille.
BLANK = "\u115f\u1160\u2800\u3164\uffa0"

# Sent once, inside the transaction that verifies an organization. Argument: organization.
organization_verified = Signal()
# Sent inside the transaction that renames an organization. Argument: organization.
organization_renamed = Signal()


def create(*, name: str, owner: User, is_personal: bool = False) -> Organization:
    """Create an organization with its first owner. Raises InvalidField unless the name is one plain line."""
    name = _plain_line(name)
    with transaction.atomic():
        organization = Organization.objects.create(name=name, is_personal=is_personal)
        Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
        audit_log.record(organization, AuditAction.ORGANIZATION_CREATED, name, by=owner)
    return organization


def rename(organization: Organization, *, name: str) -> None:
    """Rename an organization. Its addresses stay. Raises InvalidField unless the name is one plain line."""
    before, organization.name = organization.name, _plain_line(name)
    with transaction.atomic():
        organization.save(update_fields=["name"])
        audit_log.record(organization, AuditAction.ORGANIZATION_RENAMED, f"{before} → {organization.name}")
        organization_renamed.send(sender=Organization, organization=organization)


def _plain_line(name: str) -> str:
    name = name.strip()
    if not any(map(_is_seen, name)) or len(name) > MAX_NAME_LENGTH or any(map(_is_unsafe, name)):
        raise InvalidField(
            "name", f"A name is one line of 1 to {MAX_NAME_LENGTH} characters, without control characters."
        )
    return name


def ensure_personal(user: User) -> Organization:
    """Return the person's personal organization. It is created on the first call."""
    with transaction.atomic():
        # The lock prevents two simultaneous verifications from creating two.
        user = User.objects.select_for_update().get(pk=user.pk)
        existing = Organization.objects.filter(
            is_personal=True, closed_at__isnull=True, memberships__user=user, memberships__role=Role.OWNER
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

    Inviting again renews the open invitation: its link stays the same, and works as long as a new one would.
    Raises Forbidden unless the inviter is an admin (an owner, to invite an owner or to renew such an invitation), and
    Conflict if the person is a member, or is invited with another role.
    """
    now = timezone.now()
    with _members_locked(by, by=by):
        _must_outrank(by, organization=organization, role=role)
        if Membership.objects.filter(organization=organization, user__email__iexact=email).exists():
            raise Conflict(f"{email} is already a member.")
        waiting = Invitation.objects.filter(organization=organization, email__iexact=email, accepted_at__isnull=True)
        earlier = waiting.first()
        if earlier is not None and earlier.is_open(now=now):
            return _renew(earlier, role=role, by=by, now=now)
        waiting.delete()
        invitation_id = uuid.uuid4()
        token = _invitation_token(invitation_id, secret=settings.SECRET_KEY)
        try:
            invitation = Invitation.objects.create(
                pk=invitation_id,
                organization=organization,
                email=email.lower(),
                role=role,
                token_sha256=_hash(token),
                invited_by=by.user,
                expires_at=now + timedelta(days=settings.INVITATION_DAYS),
            )
        except IntegrityError as error:
            raise Conflict(f"{email} was invited a moment ago.") from error
        told = f"as {role.label.lower()}"
        audit_log.record(organization, AuditAction.MEMBER_INVITED, told, address=invitation.email)
    return invitation, token


def resend(organization: Organization, *, invitation_id: uuid.UUID, by: Membership) -> tuple[Invitation, str]:
    """Renew an open invitation, with its link. Returns it and its token.

    Raises NotFound if it was withdrawn, accepted or has expired, and Forbidden unless this member could have made it.
    """
    now = timezone.now()
    with _members_locked(by, by=by):
        waiting = Invitation.objects.select_for_update().filter(organization=organization, pk=invitation_id)
        invitation = waiting.filter(accepted_at__isnull=True).first()
        if invitation is None or not invitation.is_open(now=now):
            raise _invitation_is_over()
        return _renew(invitation, role=Role(invitation.role), by=by, now=now)


def _renew(invitation: Invitation, *, role: Role, by: Membership, now: datetime) -> tuple[Invitation, str]:
    earlier_role = Role(invitation.role)
    if not by.may(earlier_role):
        raise Forbidden(f"{invitation.email} is already invited as {earlier_role.label.lower()}.")
    if earlier_role != role:
        raise Conflict(
            f"{invitation.email} is already invited as {earlier_role.label.lower()}. "
            "To change the role, withdraw that invitation first."
        )
    keys = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    tokens = [_invitation_token(invitation.pk, secret=secret) for secret in keys]
    # None of them fits after the key was lost, and for invitations of earlier versions. Those get a new link.
    token = next((one for one in tokens if _hash(one) == invitation.token_sha256), tokens[0])
    invitation.token_sha256 = _hash(token)
    invitation.invited_by = by.user
    invitation.expires_at = now + timedelta(days=settings.INVITATION_DAYS)
    invitation.save(update_fields=["token_sha256", "invited_by", "expires_at"])
    return invitation, token


def _invitation_token(invitation_id: uuid.UUID, *, secret: str) -> str:
    """Return the token of an invitation. It can be made again for a second mail, so it need not be stored."""
    mac = salted_hmac("accounts.invitation", str(invitation_id), secret=secret, algorithm="sha256")
    return urlsafe_base64_encode(mac.digest())


def mail_invitation(invitation: Invitation, *, token: str) -> None:
    """Mail the link of an invitation to the invited person. Call it outside transactions: it waits for the network.

    Raises UpstreamFailed if the mail server does not take it. The invitation stays; inviting again sends its link.
    """
    organization, inviter = invitation.organization, invitation.invited_by
    assert inviter is not None, "the inviter exists, because the invitation was made just now"
    subject = f"{inviter.email} invited you to join {organization.name} on Voxsite"
    mail = EmailMessage(
        # Old names were not checked and may have line breaks, which a subject must not have.
        " ".join(subject.split()),
        f"{inviter.email} invited you to join {organization.name} on Voxsite.\n\n"
        f"Accept the invitation:\n{settings.SITE_URL}/invitations/{token}/\n\n"
        f"The link works for {settings.INVITATION_DAYS} days, and only for {invitation.email}.\n"
        "If you did not expect this invitation, you can ignore this email.\n",
        to=[invitation.email],
    )
    try:
        # Not by the queue: the inviter waits for the answer.
        mail_queue.send_now(mail)
    except OSError as error:
        # Its text may contain addresses.
        reason = mail_queue.describe(error)
        logger.error("The mail of invitation %s was not sent: %s", invitation.pk, reason)  # noqa: TRY400
        raise UpstreamFailed("The email could not be sent.") from error


def withdraw(invitation: Invitation, *, by: Membership | None) -> None:
    """Withdraw an invitation. Raises Forbidden unless this member could have made it.

    by: as in `change_role`.
    """
    _must_outrank(by, organization=invitation.organization, role=Role(invitation.role))
    with transaction.atomic():
        _end_invitation(invitation)


def invitation_for(token: str) -> Invitation:
    """Return the open invitation with this token. Raises NotFound if there is none or it has expired.

    None into a closed organization is open.
    """
    sent = Invitation.objects.select_related("organization").filter(organization__closed_at__isnull=True)
    invitation = sent.filter(token_sha256=_hash(token)).first()
    if invitation is None or not invitation.is_open(now=timezone.now()):
        raise _invitation_is_over()
    return invitation


def membership_from(token: str, *, user: User) -> Membership | None:
    """Return the membership of a person who has accepted the invitation with this token before, None without one."""
    invitation = Invitation.objects.filter(token_sha256=_hash(token), accepted_at__isnull=False).first()
    if invitation is None or invitation.email.lower() != user.email.lower():
        return None
    memberships = Membership.objects.of_open_organizations()
    return memberships.filter(organization_id=invitation.organization_id, user=user).first()


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
        label = Role(membership.role).label.lower()
        audit_log.invited_joined(invitation.organization, address=invitation.email, person=user)
        audit_log.record(invitation.organization, AuditAction.MEMBER_JOINED, f"as {label}", person=user, by=user)
    return membership


def change_role(membership: Membership, *, role: Role, by: Membership | None, revokes_keys: bool = True) -> list[str]:
    """Give a member another role. Delete their open invitations that the new role could not have made.

    by: None for an operator of the service, who may do everything. revokes_keys: whether the live keys that the member
    made end with a role below admin, which manages no keys. Returns the names of those keys, revoked or not, and of
    none for other roles.

    Raises Forbidden, NotFound if the member is gone, and Conflict if no owner would be left.
    """
    with _members_locked(membership, by=by):
        _must_outrank(by, organization=membership.organization, role=role)
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        if membership.role == Role.OWNER and role != Role.OWNER:
            _must_not_be_last_owner(membership)
        was, membership.role = Role(membership.role), role
        membership.save(update_fields=["role"])
        told = f"{was.label.lower()} → {role.label.lower()}"
        audit_log.record(membership.organization, AuditAction.ROLE_CHANGED, told, person=membership.user)
        lost = [offered for offered in Role if not _may_offer(membership, role=offered)]
        for invitation in _invitations_by(membership).filter(role__in=lost):
            _end_invitation(invitation)
        return _end_keys(membership, was=was, revokes_keys=revokes_keys) if role.rank < Role.ADMIN.rank else []


def issue_key(membership: Membership, **facts: Any) -> tuple[ApiKey, str]:
    """Create a key for a member, as `api_keys.issue` does. Raises its errors, Forbidden unless they are an admin, and
    NotFound if they are no member any more: a removal at the same moment revokes the keys that it finds.
    """
    with _members_locked(membership, by=membership):
        if not membership.may(Role.ADMIN):
            raise Forbidden
        return api_keys.issue(membership.organization, by=membership.user, **facts)


def rotate_key(membership: Membership, *, key_id: uuid.UUID, overlap: timedelta) -> tuple[ApiKey, str]:
    """Give a key a new secret for a member, as `api_keys.rotate` does. Returns the key and the secret.

    The member is the key's maker from then on. Raises as `issue_key`, and NotFound for another organization's key.
    """
    with _members_locked(membership, by=membership):
        if not membership.may(Role.ADMIN):
            raise Forbidden
        row = api_keys.of_organization(membership.organization, key_id=key_id)
        secret = api_keys.rotate(row, overlap=overlap, by=membership.user)
        row.refresh_from_db()
        return row, secret


def remove_member(membership: Membership, *, by: Membership | None, revokes_keys: bool = True) -> list[str]:
    """Delete a membership and the open invitations that it made. by: as in `change_role`.

    revokes_keys: whether the live keys that the member made end too. Whoever made a key has seen its secret, and can
    use it from anywhere. Returns the names of those keys, revoked or not.
    Raises Forbidden, NotFound if the member is gone, and Conflict if no owner would be left.
    """
    with _members_locked(membership, by=by):
        _must_outrank(by, organization=membership.organization, role=Role(membership.role))
        audit_log.record(membership.organization, AuditAction.MEMBER_REMOVED, person=membership.user)
        return _end(membership, revokes_keys=revokes_keys)


def leave(membership: Membership, *, revokes_keys: bool = True) -> list[str]:
    """Delete one's own membership and the open invitations that it made. Keys: as in `remove_member`.

    Raises NotFound if it was deleted before, and Conflict for the last owner.
    """
    with _members_locked(membership, by=membership):
        user = membership.user
        audit_log.record(membership.organization, AuditAction.MEMBER_LEFT, person=user, by=user)
        return _end(membership, revokes_keys=revokes_keys)


def _end(membership: Membership, *, revokes_keys: bool) -> list[str]:
    _must_not_be_last_owner(membership)
    names = _end_keys(membership, was=Role(membership.role), revokes_keys=revokes_keys)
    # Otherwise a person could invite a second address of theirs before they are removed, and come back.
    for invitation in _invitations_by(membership):
        _end_invitation(invitation)
    membership.delete()
    return names


def _end_invitation(invitation: Invitation) -> None:
    address = invitation.email.lower()
    audit_log.record(invitation.organization, AuditAction.INVITATION_WITHDRAWN, address=address)
    invitation.delete()


def _end_keys(membership: Membership, *, was: Role, revokes_keys: bool) -> list[str]:
    keys = list(api_keys.made_by(membership.organization, person=membership.user))
    if revokes_keys:
        for key in keys:
            api_keys.revoke(membership.organization, key_id=key.pk)
        # Who rotates a key is its maker from then on, and the member may have its old secret.
        if was.rank >= Role.ADMIN.rank:
            api_keys.end_overlaps(membership.organization)
    return [key.name for key in keys]


@contextmanager
def _members_locked(membership: Membership, *, by: Membership | None) -> Iterator[None]:
    """Open a transaction that locks the members of the organization. Read both members again.

    Raises NotFound if one of them was removed while this call waited for the lock.
    """
    with transaction.atomic():
        # It lets others insert rows that refer to the organization, such as completions.
        Organization.objects.select_for_update(no_key=True).filter(pk=membership.organization_id).first()
        try:
            membership.refresh_from_db()
            if by is not None:
                by.refresh_from_db()
        except Membership.DoesNotExist as error:
            raise NotFound("This person is no longer a member.") from error
        yield


def _invitations_by(membership: Membership) -> QuerySet[Invitation]:
    return Invitation.objects.select_related("organization").filter(
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


def _is_seen(character: str) -> bool:
    """Tell whether a reader sees anything: a letter, number, sign or mark of punctuation that is not blank."""
    return unicodedata.category(character)[0] in "LNPS" and character not in BLANK


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in UNSAFE_CATEGORIES and character not in JOINERS
