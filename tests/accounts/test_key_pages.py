"""The page of API keys: who may see, create, limit, narrow, rotate and revoke them."""

import re
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey

KEY = re.compile(r"vxp_live_[0-9A-Za-z]{38}")


@pytest.fixture
def key(organization):
    return api_keys.issue(organization, name="production", by=None)[0]


def test_limit_of_a_key_is_changed_shown_and_lifted(alice, organization, key, client_of):
    client = client_of(alice)
    page = client.post(f"/keys/{key.pk}/limit/", {"monthly_limit": "12.5"}, follow=True).content.decode()
    key.refresh_from_db()
    assert key.monthly_limit_micros == 12_500_000
    assert "can spend up to $12.50 a month" in page
    assert "limit $12.50" in page
    assert 'value="12.50"' in page
    client.post(f"/keys/{key.pk}/limit/", {"monthly_limit": ""})
    key.refresh_from_db()
    assert key.monthly_limit_micros is None


@pytest.mark.parametrize("limit", ["-1", "-0.01", "much", "1.001", "NaN"])
def test_odd_limit_of_a_key_changes_nothing_and_is_explained(alice, organization, key, client_of, limit):
    api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=5_000_000)
    page = client_of(alice).post(f"/keys/{key.pk}/limit/", {"monthly_limit": limit}, follow=True).content.decode()
    assert "Limit not changed." in page
    key.refresh_from_db()
    assert key.monthly_limit_micros == 5_000_000


def test_key_with_a_limit_of_nothing_is_not_shown_as_one_without(alice, organization, key, client_of):
    page = client_of(alice).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "0"}, follow=True).content.decode()
    key.refresh_from_db()
    assert key.monthly_limit_micros == 0
    assert "cannot spend anything now. Free requests still work." in page
    assert re.search(r'<span class="soft small">\s*spending blocked\s*</span>', page)
    assert 'value="0.00"' in page
    assert 'min="0"' in page


def test_member_cannot_change_the_limit_of_a_key_nor_a_stranger(bob, charlie, organization, key, client_of):
    assert client_of(bob).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "1"}).status_code == 403
    assert client_of(charlie).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "1"}).status_code == 404
    key.refresh_from_db()
    assert key.monthly_limit_micros is None


def test_scopes_of_a_key_are_shown_and_changed(alice, key, client_of):
    client = client_of(alice)
    page = client.post(f"/keys/{key.pk}/scopes/", {"scopes": ["admin", "read"]}, follow=True).content.decode()
    assert "Scopes of “production” changed" in page
    key.refresh_from_db()
    assert key.scopes == "read admin"


@pytest.mark.parametrize("scopes", [[], ["everything"], ["read", "everything"]])
def test_wrong_scopes_change_nothing(alice, key, client_of, scopes):
    page = client_of(alice).post(f"/keys/{key.pk}/scopes/", {"scopes": scopes}, follow=True).content.decode()
    assert "Scopes not changed" in page
    key.refresh_from_db()
    assert key.scopes == "transcribe chat read billing"


def test_member_and_stranger_change_no_scopes(bob, charlie, key, client_of):
    assert client_of(bob).post(f"/keys/{key.pk}/scopes/", {"scopes": "admin"}).status_code == 403
    assert client_of(charlie).post(f"/keys/{key.pk}/scopes/", {"scopes": "admin"}).status_code == 404
    key.refresh_from_db()
    assert "admin" not in key.scopes


def test_new_key_is_shown_once_and_works(alice, organization, client_of):
    client = client_of(alice)
    fields = {
        "name": "production",
        "expires_on": timezone.now().date() + timedelta(days=30),
        "monthly_limit": "12.50",
        "scopes": ["read", "billing"],
    }
    # A redirect: whoever reloads the page that shows the key creates no other one.
    assert client.post("/keys/", fields).url == f"/o/{organization.pk}/keys/"
    response = client.get("/keys/")
    assert "no-store" in response["Cache-Control"]
    (shown,) = set(KEY.findall(response.content.decode()))
    row = api_keys.find(shown)
    assert row.organization == organization
    assert row.monthly_limit_micros == 12_500_000
    assert row.expires_at.hour == 0
    assert row.created_by == alice
    assert row.scopes == "read billing"
    assert not KEY.search(client.get("/keys/").content.decode())


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "required"),
        ({"name": "x" * 81}, "at most 80"),
        ({"name": "a", "expires_on": "2020-01-01"}, "today or a later day"),
        ({"name": "a", "expires_on": "tomorrow"}, "valid date"),
        ({"name": "a", "monthly_limit": "-0.01"}, "greater than or equal to 0"),
        ({"name": "a", "monthly_limit": "much"}, "Enter a number"),
        ({"name": "a"}, "one or more scopes"),
    ],
)
def test_bad_key_is_answered_beside_the_field(alice, organization, client_of, fields, says):
    response = client_of(alice).post("/keys/", fields)
    assert response.status_code == 400
    assert says in response.content.decode()
    assert not ApiKey.objects.exists()


def test_key_over_the_most_is_refused_in_words(alice, organization, client_of, settings):
    settings.MAX_LIVE_API_KEYS = 0
    response = client_of(alice).post("/keys/", {"name": "a", "scopes": "read"})
    assert response.status_code == 400
    assert "can have 0 live keys" in response.content.decode()


def test_owner_revokes_a_key(alice, organization, key, client_of):
    response = client_of(alice).post(f"/keys/{key.pk}/revoke/", follow=True)
    assert "revoked. Requests with it now get 401" in response.content.decode()
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_member_sees_keys_but_neither_makes_nor_revokes_them(bob, key, client_of):
    client = client_of(bob)
    page = client.get("/keys/").content.decode()
    assert key.prefix in page
    assert "New key" not in page
    assert client.post("/keys/", {"name": "mine"}).status_code == 403
    assert client.post(f"/keys/{key.pk}/revoke/").status_code == 403
    assert ApiKey.objects.get().revoked_at is None


def test_stranger_cannot_see_or_revoke_a_key(charlie, key, client_of):
    client = client_of(charlie)
    assert key.prefix not in client.get("/keys/").content.decode()
    response = client.post(f"/keys/{key.pk}/revoke/")
    assert response.status_code == 404
    assert "Page not found" in response.content.decode()
    key.refresh_from_db()
    assert key.revoked_at is None


def test_name_of_a_key_is_shown_as_text(alice, organization, client_of):
    client = client_of(alice)
    client.post("/keys/", {"name": "<script>alert(1)</script>", "scopes": "read"})
    page = client.get("/keys/").content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page
