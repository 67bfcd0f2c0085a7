import re
from datetime import timedelta

import pytest
from django.core import mail
from django.db import IntegrityError
from django.utils import timezone

from accounts import organizations
from accounts.errors import Conflict, Forbidden, NotFound
from accounts.models import Invitation, Membership, Organization, Role, User


@pytest.fixture
def owner(organization, alice):
    return Membership.objects.get(organization=organization, user=alice)


@pytest.fixture
def member(organization, bob):
    return Membership.objects.get(organization=organization, user=bob)


def test_verified_person_gets_one_organization_of_their_own(alice):
    organizations.email_was_verified(alice)
    organization = Organization.objects.get(memberships__user=alice)
    assert organization.is_personal
    assert organization.is_verified
    assert organization.memberships.get().role == Role.OWNER


def test_verification_is_announced_once(alice, organization):
    heard = []

    def hear(**kwargs):
        heard.append(kwargs["organization"])

    organizations.organization_verified.connect(hear)
    try:
        assert not organizations.verify(organization)
        Organization.objects.update(verified_at=None)
        assert organizations.verify(organization)
        assert heard == [organization]
    finally:
        organizations.organization_verified.disconnect(hear)


def test_invited_person_joins(owner, charlie, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.ADMIN, by=owner)
    assert mail.outbox[0].to == [charlie.email]
    assert re.search(rf"/invitations/{token}/", mail.outbox[0].body)
    assert token not in str(Invitation.objects.values().get())
    membership = organizations.accept(token, user=charlie)
    assert (membership.organization, membership.role) == (owner.organization, Role.ADMIN)
    with pytest.raises(NotFound):
        organizations.accept(token, user=charlie)


def test_forwarded_invitation_admits_nobody_else(owner, charlie):
    _, token = organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=owner)
    with pytest.raises(Forbidden):
        organizations.accept(token, user=charlie)
    assert not Membership.objects.filter(user=charlie, organization=owner.organization).exists()


def test_old_or_wrong_invitation_is_not_found(owner, charlie):
    _, token = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    for offered in (token, "nonsense", ""):
        with pytest.raises(NotFound):
            organizations.accept(offered, user=charlie)


def test_new_invitation_replaces_the_old(owner, charlie):
    _, old = organizations.invite(owner.organization, email=charlie.email, role=Role.MEMBER, by=owner)
    _, new = organizations.invite(owner.organization, email=charlie.email.upper(), role=Role.ADMIN, by=owner)
    with pytest.raises(NotFound):
        organizations.accept(old, user=charlie)
    assert organizations.accept(new, user=charlie).role == Role.ADMIN


def test_members_and_strangers_invite_nobody(owner, member, charlie):
    strangers_own = Membership.objects.get(user=charlie)
    for by in (member, strangers_own):
        with pytest.raises(Forbidden):
            organizations.invite(owner.organization, email="dora@example.com", role=Role.MEMBER, by=by)


def test_admin_makes_no_owners(owner, member):
    organizations.change_role(member, role=Role.ADMIN, by=owner)
    member.refresh_from_db()
    with pytest.raises(Forbidden):
        organizations.invite(owner.organization, email="dora@example.com", role=Role.OWNER, by=member)
    with pytest.raises(Forbidden):
        organizations.change_role(member, role=Role.OWNER, by=member)
    with pytest.raises(Forbidden):
        organizations.change_role(owner, role=Role.MEMBER, by=member)
    with pytest.raises(Forbidden):
        organizations.remove_member(owner, by=member)


def test_member_is_not_invited_again(owner, bob):
    with pytest.raises(Conflict):
        organizations.invite(owner.organization, email="BOB@example.com", role=Role.MEMBER, by=owner)


def test_last_owner_stays(owner, member):
    for leave in (
        lambda: organizations.leave(owner),
        lambda: organizations.change_role(owner, role=Role.MEMBER, by=owner),
        lambda: organizations.remove_member(owner, by=owner),
    ):
        with pytest.raises(Conflict):
            leave()
    organizations.change_role(member, role=Role.OWNER, by=owner)
    organizations.leave(owner)
    assert not Membership.objects.filter(pk=owner.pk).exists()


def test_member_leaves_and_is_removed(owner, member):
    organizations.remove_member(member, by=owner)
    assert not Membership.objects.filter(pk=member.pk).exists()


def test_two_spellings_of_an_address_are_one_person(alice):
    with pytest.raises(IntegrityError):
        User(email="ALICE@example.com").save()
