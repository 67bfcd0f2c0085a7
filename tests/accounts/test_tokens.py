"""Tokens of browsers: they never have more than their key, and lose what it loses."""

from datetime import timedelta

import pytest
import time_machine
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import api_keys, organizations, tokens
from accounts.errors import Conflict, Forbidden, InvalidField, NotFound, Unauthorized
from accounts.models import ApiKey, Membership, Role, Scope

HOUR = timedelta(hours=1)


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="server", by=None, scopes=["transcribe", "chat"])[0]


def issue(key, **fields):
    facts = {"name": "t", "scopes": ["chat"], "lifetime": HOUR, "spend_limit_micros": 5, **fields}
    return tokens.issue(key, **facts)


def fresh(row):
    return ApiKey.objects.get(pk=row.pk)


def works(secret):
    return api_keys.find(secret) is not None


def test_token_is_found_and_looks_like_one(key, organization):
    row, secret = issue(key)
    assert secret.startswith("vxp_temp_")
    assert api_keys.is_well_formed(secret)
    found = api_keys.find(secret)
    assert (found.pk, found.parent_id, found.organization, found.scopes) == (row.pk, key.pk, organization, "chat")
    assert secret not in {str(value) for value in ApiKey.objects.filter(pk=row.pk).values().get().values()}


def test_token_ends_by_itself(key):
    row, secret = issue(key, lifetime=timedelta(seconds=30))
    with time_machine.travel(row.expires_at - timedelta(seconds=1), tick=False):
        assert works(secret)
    with time_machine.travel(row.expires_at, tick=False):
        assert not works(secret)


@pytest.mark.parametrize("scope", ["admin", "billing", "everything"])
def test_token_has_no_scope_that_pays_or_manages(organization, scope):
    key, _ = api_keys.issue(organization, name="all", by=None, scopes=list(Scope))
    with pytest.raises(InvalidField):
        issue(key, scopes=["chat", scope])


@pytest.mark.parametrize("scopes", ["admin chat", "billing"])
def test_database_knows_no_token_that_pays_or_manages(key, scopes):
    row, _ = issue(key)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.filter(pk=row.pk).update(scopes=scopes)


@pytest.mark.parametrize("fact", ["expires_at", "monthly_limit_micros"])
def test_database_knows_no_token_without_an_end_and_a_limit(key, fact):
    row, _ = issue(key)
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.filter(pk=row.pk).update(**{fact: None})


def test_key_gives_no_scope_that_it_does_not_have(key):
    with pytest.raises(Forbidden, match="does not have: read"):
        issue(key, scopes=["chat", "read"])


@pytest.mark.parametrize("lifetime", [timedelta(0), timedelta(seconds=-1), HOUR + timedelta(seconds=1)])
def test_token_lives_for_an_hour_at_most(key, lifetime):
    with pytest.raises(InvalidField):
        issue(key, lifetime=lifetime)


def test_token_ends_with_its_key_at_the_latest(organization):
    ends = timezone.now() + timedelta(minutes=7)
    key, _ = api_keys.issue(organization, name="short", by=None, expires_at=ends)
    assert issue(key)[0].expires_at == ends


def test_token_makes_no_token(key):
    row, _ = issue(key)
    with pytest.raises(Forbidden):
        issue(row)


def test_live_tokens_of_a_key_are_limited_and_no_keys(key, organization, settings):
    settings.MAX_LIVE_TOKENS, settings.MAX_LIVE_API_KEYS = 2, 2
    row, _ = issue(key)
    issue(key)
    with pytest.raises(Conflict):
        issue(key)
    tokens.revoke(key, token_id=row.pk)
    issue(key)
    other, _ = api_keys.issue(organization, name="other", by=None)
    issue(other)
    assert set(ApiKey.objects.of(organization)) == {key, other}
    with pytest.raises(NotFound):
        api_keys.of_organization(organization, key_id=row.pk)


def test_revoked_key_takes_its_tokens_with_it_and_no_others(key, organization):
    _, secret = issue(key)
    _, other = issue(api_keys.issue(organization, name="other", by=None)[0])
    api_keys.revoke(organization, key_id=key.pk)
    assert (works(secret), works(other)) == (False, True)
    with pytest.raises(Unauthorized):
        issue(key)


def test_narrowed_key_narrows_its_tokens(key, organization):
    both, chat = issue(key, scopes=["chat", "transcribe"]), issue(key)
    api_keys.set_scopes(organization, key_id=key.pk, scopes=["transcribe", "read"])
    assert api_keys.find(both[1]).scope_set == {Scope.TRANSCRIBE}
    assert not works(chat[1])
    # What the key gains again, its tokens do not.
    api_keys.set_scopes(organization, key_id=key.pk, scopes=["transcribe", "chat"])
    assert api_keys.find(both[1]).scope_set == {Scope.TRANSCRIBE}
    with pytest.raises(Forbidden):
        issue(key, scopes=["read"])


def test_shortened_key_shortens_its_tokens(key):
    short, long = issue(key, lifetime=timedelta(minutes=1))[0], issue(key)[0]
    end = timezone.now() + timedelta(minutes=30)
    api_keys.change(key, expires_at=end)
    assert fresh(long).expires_at == end
    assert fresh(short).expires_at == short.expires_at
    api_keys.change(key, expires_at=None)
    assert fresh(long).expires_at == end


def test_rotated_key_ends_its_tokens_with_the_old_secret(key):
    _, secret = issue(key)
    api_keys.rotate(key, overlap=timedelta(0), by=None)
    assert not works(secret)


def test_tokens_last_for_the_overlap_of_a_rotation_and_no_longer(key):
    row, secret = issue(key)
    api_keys.rotate(key, overlap=timedelta(minutes=10), by=None)
    key = fresh(key)
    assert works(secret)
    assert fresh(row).expires_at == key.previous_until
    # The older secret ends with the next rotation, whatever is left of its overlap.
    api_keys.rotate(key, overlap=timedelta(minutes=30), by=None)
    assert not works(secret)


def test_token_by_the_old_secret_ends_with_it(organization):
    row, old = api_keys.issue(organization, name="rotated", by=None)
    new = api_keys.rotate(row, overlap=timedelta(minutes=10), by=None)
    by_old, by_new = issue(api_keys.find(old))[0], issue(api_keys.find(new))[0]
    assert by_old.expires_at == fresh(row).previous_until
    assert by_new.expires_at > by_old.expires_at
    stale = api_keys.find(old)
    api_keys.end_overlaps(organization)
    assert fresh(by_old).revoked_at is not None
    with pytest.raises(Unauthorized):
        issue(stale)


def test_key_that_was_rotated_meanwhile_makes_no_token(organization):
    row, secret = api_keys.issue(organization, name="rotated", by=None)
    stale = api_keys.find(secret)
    api_keys.rotate(row, overlap=timedelta(minutes=10), by=None)
    with pytest.raises(Unauthorized):
        issue(stale)


def test_key_that_is_gone_makes_no_token(key):
    stale = fresh(key)
    key.delete()
    with pytest.raises(Unauthorized):
        issue(stale)


def test_tokens_go_with_the_keys_of_a_member_who_goes(organization, alice, bob):
    mine = Membership.objects.get(user=bob)
    owner = Membership.objects.get(user=alice)
    organizations.change_role(mine, role=Role.ADMIN, by=owner)
    mine.refresh_from_db()
    key, _ = api_keys.issue(organization, name="bobs", by=bob)
    _, secret = issue(key)
    organizations.remove_member(mine, by=owner)
    assert not works(secret)


def test_token_of_another_key_is_hidden(key, organization):
    row, secret = issue(key)
    other, _ = api_keys.issue(organization, name="other", by=None)
    for act in (tokens.of_key, tokens.revoke):
        with pytest.raises(NotFound):
            act(other, token_id=row.pk)
    assert works(secret)
