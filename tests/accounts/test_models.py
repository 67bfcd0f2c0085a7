"""What must never be false of people, members, invitations and keys, and the questions about one row."""

from datetime import timedelta

import pytest
from django.db import IntegrityError
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, IdempotencyRecord, Invitation, Membership, Role, User

NOW = timezone.now()


def invite(organization, email, *, token, **fields):
    return Invitation.objects.create(
        organization=organization, email=email, token_sha256=token, expires_at=NOW + timedelta(days=1), **fields
    )


def test_two_spellings_of_an_address_are_one_person(alice):
    with pytest.raises(IntegrityError):
        User(email="ALICE@example.com").save()


def test_person_is_found_by_any_spelling_of_their_address(alice):
    assert User.objects.get_by_natural_key("Alice@Example.COM") == alice


def test_person_is_a_member_once(organization, alice):
    with pytest.raises(IntegrityError):
        Membership.objects.create(organization=organization, user=alice)


def test_member_has_a_known_role(organization, charlie):
    with pytest.raises(IntegrityError):
        Membership.objects.create(organization=organization, user=charlie, role="king")


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        (Role.MEMBER, {Role.MEMBER}),
        (Role.ADMIN, {Role.MEMBER, Role.ADMIN}),
        (Role.OWNER, {Role.MEMBER, Role.ADMIN, Role.OWNER}),
    ],
)
def test_role_includes_the_rights_of_lower_ones(role, rights):
    assert {wanted for wanted in Role if Membership(role=role).may(wanted)} == rights


def test_admins_and_owners_are_led_to_paying():
    assert {role for role in Role if Membership(role=role).may_pay} == {Role.ADMIN, Role.OWNER}


def test_address_has_one_open_invitation(organization, charlies):
    invite(organization, "dora@example.com", token="1")
    invite(charlies, "dora@example.com", token="2")
    with pytest.raises(IntegrityError):
        invite(organization, "DORA@example.com", token="3")


def test_accepted_invitation_stands_in_no_ones_way(organization):
    invite(organization, "dora@example.com", token="1", accepted_at=NOW)
    invite(organization, "dora@example.com", token="2")


@pytest.mark.parametrize(
    ("fields", "is_open"),
    [
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"expires_at": NOW + timedelta(days=1), "accepted_at": NOW}, False),
    ],
)
def test_invitation_is_open_until_it_expires_or_is_accepted(fields, is_open):
    assert Invitation(**fields).is_open(now=NOW) is is_open


@pytest.mark.parametrize(
    ("fields", "is_live"),
    [
        ({}, True),
        ({"expires_at": NOW + timedelta(seconds=1)}, True),
        ({"expires_at": NOW}, False),
        ({"revoked_at": NOW - timedelta(days=1)}, False),
        ({"revoked_at": NOW, "expires_at": NOW + timedelta(days=1)}, False),
    ],
)
def test_key_is_live_until_it_expires_or_is_revoked(organization, fields, is_live):
    """The row and the query say the same."""
    key = api_keys.issue(organization, name="server", by=None)[0]
    ApiKey.objects.filter(pk=key.pk).update(**fields)
    key.refresh_from_db()
    assert key.is_live(now=NOW) is is_live
    assert ApiKey.objects.live(now=NOW).exists() is is_live


def test_keys_are_reached_by_their_organization(organization, charlies):
    key = api_keys.issue(organization, name="server", by=None)[0]
    assert list(ApiKey.objects.of(organization)) == [key]
    assert list(ApiKey.objects.of(charlies)) == []


def test_limit_of_a_key_is_not_negative(organization):
    api_keys.issue(organization, name="server", by=None)
    with pytest.raises(IntegrityError):
        ApiKey.objects.update(monthly_limit_micros=-1)


def test_idempotency_key_has_one_response_for_each_organization(organization, charlies):
    for owner in (organization, charlies):
        IdempotencyRecord.objects.create(organization=owner, key="k", fingerprint="f")
    with pytest.raises(IntegrityError):
        IdempotencyRecord.objects.create(organization=organization, key="k", fingerprint="g")
