"""The page of API keys: who may see, create, limit, narrow, rotate and revoke them."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys, organizations
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
    assert "<dd>$12.50 a month</dd>" in page
    assert 'value="12.50"' in page
    client.post(f"/keys/{key.pk}/limit/", {"monthly_limit": ""})
    key.refresh_from_db()
    assert key.monthly_limit_micros is None


@pytest.mark.long
@pytest.mark.parametrize("limit", ["-1", "-0.01", "much", "1.001", "NaN"])
def test_odd_limit_of_a_key_changes_nothing_and_is_explained(alice, organization, key, client_of, limit):
    api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=5_000_000)
    response = client_of(alice).post(f"/keys/{key.pk}/limit/", {"monthly_limit": limit})
    assert response.status_code == 400
    assert 'id="id_monthly_limit_error"' in response.content.decode()
    key.refresh_from_db()
    assert key.monthly_limit_micros == 5_000_000


def test_key_with_a_limit_of_nothing_is_not_shown_as_one_without(alice, organization, key, client_of):
    page = client_of(alice).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "0"}, follow=True).content.decode()
    key.refresh_from_db()
    assert key.monthly_limit_micros == 0
    assert "cannot spend anything now. Free requests still work." in page
    assert "<dd>spending blocked</dd>" in page
    assert 'value="0.00"' in page
    assert 'min="0"' in page


def test_member_cannot_change_the_limit_of_a_key_nor_a_stranger(bob, charlie, organization, key, client_of):
    assert client_of(bob).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "1"}).status_code == 403
    assert client_of(charlie).post(f"/keys/{key.pk}/limit/", {"monthly_limit": "1"}).status_code == 404
    key.refresh_from_db()
    assert key.monthly_limit_micros is None


# --- A limit that is raised for a time -------------------------------------------------------------------------------


@pytest.mark.long
def test_raise_of_a_keys_limit_counts_to_the_end_of_its_day_and_ends_by_itself(alice, key, client_of):
    with time_machine.travel("2026-12-30 12:00", tick=False):
        client = client_of(alice)
        fields = {"monthly_limit": "25", "raised_limit": "100", "raised_on": "2026-12-31"}
        page = client.post(f"/keys/{key.pk}/limit/", fields, follow=True).content.decode()
        assert "can spend up to $100.00 a month until the end of 31 Dec 2026, then $25.00" in page
        assert 'value="100.00"' in page
        assert 'value="2026-12-31"' in page
        key.refresh_from_db()
    ends = datetime(2027, 1, 1, tzinfo=UTC)
    assert key.limit_at(ends - timedelta(seconds=1)) == 100_000_000
    assert key.limit_at(ends) == 25_000_000
    with time_machine.travel(ends, tick=False):
        for path in ("/keys/", f"/keys/{key.pk}/"):
            page = client_of(alice).get(path, follow=True).content.decode()
            assert "$25.00" in page
            assert "100.00" not in page


def test_limit_that_is_saved_without_its_raise_ends_the_raise(alice, key, client_of):
    client = client_of(alice)
    soon = timezone.now().date() + timedelta(days=3)
    client.post(f"/keys/{key.pk}/limit/", {"monthly_limit": "25", "raised_limit": "100", "raised_on": soon})
    client.post(f"/keys/{key.pk}/limit/", {"monthly_limit": "25"})
    key.refresh_from_db()
    assert key.limit_at(timezone.now()) == 25_000_000


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"raised_on": ""}, "needs an amount and its last day"),
        ({"raised_limit": ""}, "needs an amount and its last day"),
        ({"raised_on": "2020-01-01"}, "today or a later day"),
        ({"raised_on": "9999-12-31"}, "Choose an earlier day"),
        ({"raised_on": "2400-01-01"}, "within 366 days"),
        ({"raised_limit": "9.99"}, "must not be lower"),
        ({"raised_limit": "-1"}, "greater than or equal to 0"),
        ({"monthly_limit": ""}, "no monthly limit to raise"),
    ],
)
def test_raise_that_is_none_changes_nothing_not_even_the_limit(alice, organization, key, client_of, changes, says):
    api_keys.set_monthly_limit(organization, key_id=key.pk, limit_micros=5_000_000)
    soon = timezone.now().date() + timedelta(days=3)
    fields = {"monthly_limit": "10", "raised_limit": "100", "raised_on": soon, **changes}
    response = client_of(alice).post(f"/keys/{key.pk}/limit/", fields)
    assert response.status_code == 400
    assert says in response.content.decode()
    key.refresh_from_db()
    assert (key.monthly_limit_micros, key.raised_limit_micros) == (5_000_000, None)


# --- Scopes ----------------------------------------------------------------------------------------------------------


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


@pytest.mark.long
@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": ""}, "required"),
        ({"name": "x" * 81}, "at most 80"),
        ({"name": "a", "expires_on": "2020-01-01"}, "today or a later day"),
        ({"name": "a", "expires_on": "tomorrow"}, "valid date"),
        ({"name": "a", "expires_on": "9999-12-31"}, "Choose an earlier day"),
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


# --- Rotation --------------------------------------------------------------------------------------------------------


def rotate(client, key, overlap="86400", **fields):
    return client.post(f"/keys/{key.pk}/rotate/", {"overlap": overlap, **fields})


@pytest.fixture
def secret(organization):
    return api_keys.issue(organization, name="rotated", by=None)[1]


@pytest.mark.long
def test_new_secret_is_shown_once_and_the_old_one_works_for_its_grace(alice, organization, secret, client_of):
    client, key = client_of(alice), api_keys.find(secret)
    assert rotate(client, key).url == f"/o/{organization.pk}/keys/{key.pk}/"
    response = client.get(f"/o/{organization.pk}/keys/{key.pk}/")
    assert "no-store" in response["Cache-Control"]
    (new,) = set(KEY.findall(response.content.decode()))
    assert "<dt>Old secret</dt>" in response.content.decode()
    assert not KEY.search(client.get(f"/o/{organization.pk}/keys/{key.pk}/").content.decode())
    assert api_keys.find(new).pk == api_keys.find(secret).pk == key.pk
    assert api_keys.find(new).created_by == alice
    with time_machine.travel(timezone.now() + timedelta(days=1, seconds=1)):
        assert api_keys.find(secret) is None
        assert api_keys.find(new) is not None


def test_old_secret_that_ends_now_works_no_more(alice, secret, client_of):
    client = client_of(alice)
    page = client.get(rotate(client, api_keys.find(secret), overlap="0").url).content.decode()
    assert "The old one no longer works." in page
    assert "<dt>Old secret</dt>" not in page
    assert api_keys.find(secret) is None


def test_form_that_is_sent_twice_rotates_once(alice, secret, client_of):
    """A second rotation would end the old secret, whose grace the person has chosen."""
    client, key = client_of(alice), api_keys.find(secret)
    token = str(uuid.uuid4())
    first, second = (rotate(client, key, form_token=token) for _ in range(2))
    assert first.url == second.url
    (new,) = set(KEY.findall(client.get(second.url).content.decode()))
    assert api_keys.find(new) is not None
    assert api_keys.find(secret) is not None


@pytest.mark.long
@pytest.mark.parametrize("overlap", ["", "-1", "5", "604801", "much"])
def test_other_grace_rotates_nothing(alice, secret, client_of, overlap):
    response = rotate(client_of(alice), api_keys.find(secret), overlap=overlap)
    assert response.status_code == 400
    assert "Choose how long it works." in response.content.decode()
    assert not KEY.search(response.content.decode())
    assert ApiKey.objects.get().sha256 == api_keys.digest(secret)


def test_revoked_key_is_neither_rotated_nor_offered_for_it(alice, organization, key, client_of):
    api_keys.revoke(organization, key_id=key.pk)
    client = client_of(alice)
    assert rotate(client, key).status_code == 400
    page = client.get(f"/o/{organization.pk}/keys/{key.pk}/").content.decode()
    assert "revoked" in page
    assert "Rotate key" not in page
    key.refresh_from_db()
    assert key.previous_sha256 is None


@pytest.mark.long
def test_member_and_stranger_rotate_no_key(bob, charlie, secret, client_of):
    key = api_keys.find(secret)
    for client, status in ((client_of(bob), 403), (client_of(charlie), 404)):
        assert rotate(client, key).status_code == status
        assert client.get(f"/keys/{key.pk}/", follow=True).status_code == status
    assert api_keys.find(secret) is not None
    assert ApiKey.objects.get().previous_sha256 is None


def test_secret_of_a_rotation_is_not_shown_in_another_organization(alice, secret, client_of):
    client = client_of(alice)
    other = organizations.create(name="Other", owner=alice)
    rotate(client, api_keys.find(secret))
    assert not KEY.search(client.get(f"/o/{other.pk}/keys/").content.decode())


def test_pages_of_many_keys_ask_12_queries_at_most(alice, organization, client_of, django_assert_max_num_queries):
    for number in range(20):
        api_keys.issue(organization, name=f"key {number}", by=alice)
    client, one = client_of(alice), ApiKey.objects.first()
    for path in (f"/o/{organization.pk}/keys/", f"/o/{organization.pk}/keys/{one.pk}/"):
        client.get(path)
        with django_assert_max_num_queries(12):
            client.get(path)
