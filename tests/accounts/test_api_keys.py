import threading
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts import api_keys
from accounts.errors import Conflict, InvalidField, NotFound
from accounts.models import ApiKey, Organization


def test_key_is_found_again(organization):
    row, key = api_keys.issue(organization, name=" server ", by=None)
    assert row.name == "server"
    found = api_keys.find(key)
    assert found == row
    assert found.organization == organization


def test_key_is_found_as_it_is_stored(organization):
    """Past the ORM, on either database: every field of the key and of its organization, as the ORM reads them."""
    later = timezone.now() + timedelta(days=1)
    row, key = api_keys.issue(organization, name="CI", by=None, expires_at=later, monthly_limit_micros=7)
    api_keys.find(key)
    found = api_keys.find(key)
    for one, stored in (
        (found, ApiKey.objects.get(pk=row.pk)),
        (found.organization, Organization.objects.get(pk=organization.pk)),
    ):
        for field in stored._meta.concrete_fields:
            assert getattr(one, field.attname) == getattr(stored, field.attname), field
            assert type(getattr(one, field.attname)) is type(getattr(stored, field.attname)), field


def test_key_itself_is_nowhere_kept(organization):
    row, key = api_keys.issue(organization, name="server", by=None)
    stored = ApiKey.objects.values().get(pk=row.pk)
    assert key not in str(stored)
    assert key.startswith(stored["prefix"])
    assert len(stored["prefix"]) < 15


def test_keys_have_a_mark_and_a_checksum():
    key = api_keys.generate()
    assert key.startswith("vxp_live_")
    assert len(key) == len("vxp_live_") + 32 + 6
    assert api_keys.is_well_formed(key)
    assert api_keys.generate() != key


@given(position=st.integers(9, 46), char=st.sampled_from(api_keys.ALPHABET))
def test_one_mistyped_character_is_noticed_without_the_database(position, char):
    key = "vxp_live_" + "abcdefghijklmnopqrstuvwxyz012345" + api_keys._checksum("abcdefghijklmnopqrstuvwxyz012345")
    other = key[:position] + char + key[position + 1 :]
    assert api_keys.is_well_formed(other) == (other == key)


@given(st.text(max_size=60))
def test_any_text_may_be_offered_as_a_key(text):
    assert not api_keys.is_well_formed(text)


def test_revoked_key_is_not_found(organization):
    row, key = api_keys.issue(organization, name="server", by=None)
    first = api_keys.revoke(organization, key_id=row.pk).revoked_at
    assert api_keys.find(key) is None
    assert api_keys.revoke(organization, key_id=row.pk).revoked_at == first


def test_expired_key_is_not_found(organization):
    row, key = api_keys.issue(organization, name="server", by=None, expires_at=timezone.now() + timedelta(days=1))
    assert api_keys.find(key)
    ApiKey.objects.filter(pk=row.pk).update(expires_at=timezone.now())
    assert api_keys.find(key) is None


def test_stranger_cannot_revoke(organization, charlies):
    row, key = api_keys.issue(organization, name="server", by=None)
    with pytest.raises(NotFound):
        api_keys.revoke(charlies, key_id=row.pk)
    assert api_keys.find(key)


def test_live_keys_are_bounded(organization, settings):
    settings.MAX_LIVE_API_KEYS = 2
    row, _ = api_keys.issue(organization, name="one", by=None)
    api_keys.issue(organization, name="two", by=None)
    with pytest.raises(Conflict):
        api_keys.issue(organization, name="three", by=None)
    api_keys.revoke(organization, key_id=row.pk)
    api_keys.issue(organization, name="three", by=None)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "  "},
        {"name": "x" * 81},
        {"name": "two\nlines"},
        {"name": "server", "monthly_limit_micros": -1},
        {"name": "server", "expires_at": timezone.now() - timedelta(seconds=1)},
    ],
)
def test_impossible_keys_are_refused(organization, fields):
    with pytest.raises(InvalidField):
        api_keys.issue(organization, by=None, **fields)
    assert not ApiKey.objects.exists()


def test_last_use_is_written_at_most_once_a_minute(organization):
    row, key = api_keys.issue(organization, name="server", by=None)
    api_keys.find(key)
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    api_keys.find(key)
    row.refresh_from_db()
    assert row.last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(minutes=2))
    api_keys.find(key)
    row.refresh_from_db()
    assert row.last_used_at >= first


def test_monthly_limit_is_changed_lifted_and_never_by_a_stranger(organization, charlies):
    row, _ = api_keys.issue(organization, name="capped", by=None, monthly_limit_micros=5)
    assert api_keys.set_monthly_limit(organization, key_id=row.pk, limit_micros=7).monthly_limit_micros == 7
    with pytest.raises(InvalidField):
        api_keys.set_monthly_limit(organization, key_id=row.pk, limit_micros=-1)
    with pytest.raises(NotFound):
        api_keys.set_monthly_limit(charlies, key_id=row.pk, limit_micros=None)
    row.refresh_from_db()
    assert row.monthly_limit_micros == 7
    assert api_keys.set_monthly_limit(organization, key_id=row.pk, limit_micros=0).monthly_limit_micros == 0
    assert api_keys.set_monthly_limit(organization, key_id=row.pk, limit_micros=None).monthly_limit_micros is None


def test_key_may_be_made_that_spends_nothing(organization):
    row, key = api_keys.issue(organization, name="reader", by=None, monthly_limit_micros=0)
    assert api_keys.find(key) == row
    assert row.monthly_limit_micros == 0


def test_change_leaves_what_somebody_else_changed_meanwhile(organization):
    row, _ = api_keys.issue(organization, name="old", by=None)
    stale = ApiKey.objects.get(pk=row.pk)
    soon = timezone.now() + timedelta(hours=1)
    api_keys.change(row, expires_at=soon, scopes=["read"])
    api_keys.change(stale, name="new")
    stale.refresh_from_db()
    assert (stale.name, stale.expires_at, stale.scopes) == ("new", soon, "read")


@pytest.mark.django_db(transaction=True)
def test_request_does_not_wait_for_who_changes_its_key(organization):
    """Only to note its use. On SQLite a writer waits for every other one."""
    if connection.vendor == "sqlite":
        pytest.skip("one writer at a time")
    row, key = api_keys.issue(organization, name="busy", by=None)
    is_locked, may_end = threading.Event(), threading.Event()

    def lock():
        with transaction.atomic():
            ApiKey.objects.select_for_update().get(pk=row.pk)
            is_locked.set()
            may_end.wait(30)
        connection.close()

    other = threading.Thread(target=lock)
    other.start()
    try:
        assert is_locked.wait(30)
        assert api_keys.find(key) == row
    finally:
        may_end.set()
        other.join()
    assert ApiKey.objects.get(pk=row.pk).last_used_at is None
    api_keys.find(key)
    assert ApiKey.objects.get(pk=row.pk).last_used_at is not None
