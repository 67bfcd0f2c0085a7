"""Who calls: the key of the headers, and what is said of a key that does not open."""

import base64
from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from accounts import api_keys
from accounts.errors import Forbidden, Unauthorized
from accounts.gate import authentication
from accounts.models import ApiKey, Organization


@pytest.fixture
def issued(organization):
    """(row, key)"""
    return api_keys.issue(organization, name="server", by=None)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"X-API-Key": " one "}, "one"),
        ({"Authorization": "Bearer two"}, "two"),
        ({"Authorization": "bearer   two "}, "two"),
        ({"X-API-Key": "one", "Authorization": "Bearer two"}, "one"),
        ({"X-API-Key": " ", "Authorization": "Bearer two"}, "two"),
        ({"Authorization": "Basic dHdv"}, ""),
        ({"Authorization": "two"}, ""),
        ({"Authorization": "Bearer"}, ""),
        ({}, ""),
    ],
)
def test_key_is_taken_from_either_header(headers, key):
    assert authentication.key_in(headers) == key


def basic(text):
    return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        (basic("vxp_live_one:"), "vxp_live_one"),
        (basic("user:vxp_live_one"), "vxp_live_one"),
        (basic("vxp_live_one:password"), "vxp_live_one"),
        (basic(":vxp_live_one"), "vxp_live_one"),
        (basic("vxp_live_one"), "vxp_live_one"),
        (basic("user:wrong:key"), "wrong:key"),
        (basic(":"), ""),
        ({"Authorization": "Basic"}, ""),
        ({"Authorization": "Basic not/base64!"}, ""),
        ({"Authorization": "Basic /w=="}, ""),
        ({"Authorization": "Basic d\xfcdv"}, ""),
        ({"Authorization": "basic dHdv"}, "two"),
        ({"Authorization": "Token two"}, "two"),
        ({"Authorization": "token two"}, "two"),
        ({"Authorization": "Bearer two"}, "two"),
        ({"Authorization": "Digest two"}, ""),
        ({"X-API-Key": "one", **basic("user:two")}, "one"),
    ],
)
def test_dialect_reads_the_schemes_that_it_names(headers, key):
    schemes = (authentication.BEARER, authentication.TOKEN, authentication.BASIC)
    assert authentication.key_in(headers, schemes=schemes) == key


def test_caller_is_told_how_this_dialect_takes_a_key(db):
    with pytest.raises(Unauthorized) as caught:
        authentication.authenticate({}, schemes=(authentication.TOKEN, authentication.BASIC))
    assert "'Authorization: Token <key>'" in caught.value.message
    assert "Basic" in caught.value.message
    assert authentication.challenge((authentication.BEARER, authentication.BASIC)) == 'Bearer, Basic realm="Voxsite"'


@pytest.mark.parametrize("name", ["X-API-Key", "Authorization"])
def test_caller_is_the_organization_of_the_key(organization, issued, name):
    row, key = issued
    caller = authentication.authenticate({name: key if name == "X-API-Key" else f"Bearer {key}"})
    assert caller == authentication.Caller(organization=organization, api_key=row)


def test_missing_key_is_told_how_to_send_one(db):
    with pytest.raises(Unauthorized) as caught:
        authentication.authenticate({})
    assert caught.value.type == "missing_api_key"
    assert "X-API-Key" in caught.value.message
    assert "Authorization: Bearer" in caught.value.message


def test_unknown_revoked_and_expired_keys_are_told_the_same(organization, issued):
    """Otherwise a thief would learn that a key was once right."""
    row, key = issued
    now = timezone.now()
    told = []
    for fields in ({"revoked_at": now}, {"revoked_at": None, "expires_at": now - timedelta(days=1)}):
        ApiKey.objects.filter(pk=row.pk).update(**fields)
        with pytest.raises(Unauthorized) as caught:
            authentication.authenticate({"X-API-Key": key})
        told.append((caught.value.type, caught.value.message, caught.value.data))
    with pytest.raises(Unauthorized) as caught:
        authentication.authenticate({"X-API-Key": api_keys.generate()})
    told.append((caught.value.type, caught.value.message, caught.value.data))
    assert told[0][0] == "invalid_api_key"
    assert told[0] == told[1] == told[2]


def test_key_of_an_unverified_owner_is_forbidden(issued):
    Organization.objects.update(verified_at=None)
    with pytest.raises(Forbidden) as caught:
        authentication.authenticate({"X-API-Key": issued[1]})
    assert caught.value.type == "email_not_verified"


def test_body_is_read_for_a_live_key_or_a_session(issued, alice, client_of):
    row, key = issued
    session = client_of(alice).session.session_key
    cookies = {settings.SESSION_COOKIE_NAME: session}
    assert authentication.is_known({"X-API-Key": key}, cookies={})
    assert authentication.is_known({}, cookies=cookies)
    api_keys.revoke(row.organization, key_id=row.pk)
    assert not authentication.is_known({"X-API-Key": key}, cookies={})
    # The key is what the request will be judged by.
    assert not authentication.is_known({"X-API-Key": key}, cookies=cookies)


def test_body_of_a_visitor_is_not_read(db, client):
    session = client.session
    assert session.exists(session.session_key)
    assert not authentication.is_known({}, cookies={settings.SESSION_COOKIE_NAME: session.session_key})
    assert not authentication.is_known({}, cookies={})
