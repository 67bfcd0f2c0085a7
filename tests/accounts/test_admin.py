"""Operators read accounts and change them through the verbs, whose rules hold for them too."""

from django.contrib.admin.models import LogEntry

from accounts import organizations
from accounts.models import ApiKey, Invitation, Membership, Organization, User
from tests.accounts.conftest import act, address, messages_of


def test_digests_are_not_shown(operator, key, invitation):
    for row, digest in ((key, key.sha256), (invitation, invitation.token_sha256)):
        assert digest not in operator.get(address(type(row), row.pk, page="change")).content.decode()


def test_operator_makes_a_member_owner_and_removes_the_owner_before(operator, membership, bob, organization):
    bobs = Membership.objects.get(user=bob, organization=organization)
    assert messages_of(act(operator, "make_owner", bobs)) == ["Is owner now: 1."]
    act(operator, "remove", membership)
    assert list(Membership.objects.filter(organization=organization)) == [bobs]
    assert LogEntry.objects.filter(object_id=str(bobs.pk)).exists()


def test_person_cannot_be_deleted_with_a_last_membership(operator, alice):
    assert operator.post(address(User, alice.pk, page="delete"), {"post": "yes"}).status_code == 403


def test_operator_revokes_a_key(operator, key):
    act(operator, "revoke", key)
    assert ApiKey.objects.get(pk=key.pk).revoked_at is not None


def test_operator_withdraws_an_invitation(operator, invitation):
    act(operator, "withdraw", invitation)
    assert not Invitation.objects.exists()


def test_operator_verifies_an_organization(operator, bob):
    unverified = organizations.create(name="Unverified", owner=bob)
    act(operator, "verify", unverified)
    assert Organization.objects.get(pk=unverified.pk).verified_at is not None
