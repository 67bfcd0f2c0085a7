"""Keys over HTTP: who may make, see, change, rotate and revoke which, and never more than they have."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey
from billing import ledger
from billing.models import EntryKind
from tests.conftest import Api

ALL = ["transcribe", "chat", "read", "billing", "admin"]


class Manager(Api):
    """A program that manages keys, in JSON."""

    def send(self, method, path, fields=None):
        body = {} if fields is None else fields
        return self.client.generic(
            method, path, json.dumps(body), content_type="application/json", headers={"X-API-Key": self.key}
        )


@pytest.fixture
def manager_with(organization, alice):
    def make(scopes=ALL, **facts):
        row, key = api_keys.issue(organization, name="manager", by=alice, scopes=scopes, **facts)
        manager = Manager(key)
        manager.row = row
        return manager

    return make


@pytest.fixture
def manager(manager_with):
    return manager_with()


@pytest.fixture
def funds(organization):
    ledger.credit(organization, amount_micros=100_000_000, kind=EntryKind.PAYMENT, reference="topup:keys")


def error_of(response, *, status):
    assert response.status_code == status, response.content
    error = response.json()["error"]
    assert error["code"] == status
    assert error["request_id"]
    return error


def test_key_is_made_and_its_secret_works_and_is_shown_once(manager, organization, alice):
    response = manager.send("POST", "/v1/keys", {"name": "nightly", "scopes": ["read", "billing"]})
    assert response.status_code == 201
    assert response["Cache-Control"] == "no-store"
    made = response.json()
    secret = made.pop("secret")
    assert Api(secret).get("/v1/balance").status_code == 200
    shown = manager.send("GET", f"/v1/keys/{made['id']}").json()
    assert shown == {**made, "last_used_at": shown["last_used_at"]}
    assert secret not in manager.send("GET", "/v1/keys").content.decode()
    assert (made["scopes"], made["status"], made["created_by"]) == (["read", "billing"], "live", alice.email)
    assert (made["monthly_limit_micros"], made["spent_micros"], made["expires_at"]) == (None, 0, None)


def test_list_has_the_newest_first_and_only_live_ones_unless_asked(manager):
    first = manager.send("POST", "/v1/keys", {"name": "first", "scopes": ["read"]}).json()["id"]
    second = manager.send("POST", "/v1/keys", {"name": "second", "scopes": ["read"]}).json()["id"]
    assert manager.send("DELETE", f"/v1/keys/{first}").json()["status"] == "revoked"
    assert [key["id"] for key in manager.get("/v1/keys").json()["keys"]] == [second, str(manager.row.pk)]
    everyone = manager.get("/v1/keys", status="all").json()["keys"]
    assert [key["id"] for key in everyone] == [second, first, str(manager.row.pk)]
    assert error_of(manager.get("/v1/keys", status="dead"), status=400)["param"] == "status"
    assert error_of(manager.get("/v1/keys", page="2"), status=400)["type"] == "unknown_field"


@pytest.mark.parametrize("scopes", [["transcribe", "chat", "read", "billing"], ["read"]])
def test_key_without_admin_manages_nothing(manager_with, scopes):
    caller = manager_with(scopes)
    path = f"/v1/keys/{caller.row.pk}"
    for method, address in (
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/rotate"),
    ):
        error = error_of(caller.send(method, address), status=403)
        assert (error["type"], error["required_scopes"]) == ("insufficient_scope", ["admin"])
    caller.row.refresh_from_db()
    assert caller.row.revoked_at is None


def test_nobody_without_a_key_manages_keys(db):
    for method in ("GET", "POST"):
        assert error_of(Manager("").send(method, "/v1/keys"), status=401)["type"] == "missing_api_key"


def test_key_of_another_organization_is_no_key(manager, charlies):
    theirs, secret = api_keys.issue(charlies, name="theirs", by=None)
    path = f"/v1/keys/{theirs.pk}"
    for address in (path, f"/v1/keys/{uuid.uuid4()}", "/v1/keys/none"):
        for method in ("GET", "PATCH", "DELETE"):
            assert error_of(manager.send(method, address), status=404)["message"] == "There is no such key."
        assert error_of(manager.send("POST", f"{address}/rotate"), status=404)
    assert str(theirs.pk) not in manager.get("/v1/keys", status="all").content.decode()
    assert api_keys.find(secret)


# --- Never more than it has ------------------------------------------------------------------------------------------


def test_key_gives_no_scope_that_it_lacks(manager_with):
    caller = manager_with(["read", "admin"])
    other = manager_with(["chat"])
    error = error_of(caller.send("POST", "/v1/keys", {"name": "x", "scopes": ["read", "chat"]}), status=403)
    assert error["type"] == "forbidden"
    for row in (caller.row, other.row):
        assert error_of(caller.send("PATCH", f"/v1/keys/{row.pk}", {"scopes": ["chat", "billing"]}), status=403)
    # What it took away from another key it cannot give back.
    assert caller.send("PATCH", f"/v1/keys/{other.row.pk}", {"scopes": ["read"]}).status_code == 200
    assert error_of(caller.send("PATCH", f"/v1/keys/{other.row.pk}", {"scopes": ["read", "chat"]}), status=403)


def test_scopes_that_a_key_has_already_may_stay(manager_with):
    caller, other = manager_with(["read", "admin"]), manager_with(["chat"])
    shown = caller.send("PATCH", f"/v1/keys/{other.row.pk}", {"scopes": ["chat", "read"]}).json()
    assert shown["scopes"] == ["chat", "read"]


def test_key_that_expires_makes_none_that_lasts_longer(manager_with):
    until = timezone.now() + timedelta(days=10)
    caller = manager_with(expires_at=until)
    new = {"name": "x", "scopes": ["read"]}
    later = (until + timedelta(seconds=1)).isoformat()
    assert error_of(caller.send("POST", "/v1/keys", {**new, "expires_at": later}), status=403)["type"] == "forbidden"
    for fields in (new, {**new, "expires_at": None}):
        made = caller.send("POST", "/v1/keys", fields).json()
        assert made["expires_at"] == until.strftime("%Y-%m-%d %H:%M:%S")
    assert error_of(caller.send("PATCH", f"/v1/keys/{made['id']}", {"expires_at": None}), status=403)
    assert error_of(caller.send("PATCH", f"/v1/keys/{caller.row.pk}", {"expires_at": later}), status=403)
    sooner = (until - timedelta(days=1)).isoformat()
    assert caller.send("PATCH", f"/v1/keys/{made['id']}", {"expires_at": sooner}).status_code == 200
    assert caller.send("PATCH", f"/v1/keys/{made['id']}", {"expires_at": until.isoformat()}).status_code == 200


def test_what_a_limited_key_gives_is_taken_from_its_own_limit(manager_with):
    caller = manager_with(monthly_limit_micros=10_000_000)
    new = {"name": "x", "scopes": ["read", "admin"]}
    for limit in (None, 10_000_001):
        assert error_of(caller.send("POST", "/v1/keys", {**new, "monthly_limit_micros": limit}), status=403)
    assert error_of(caller.send("POST", "/v1/keys", new), status=403)
    assert ApiKey.objects.count() == 1
    child = caller.send("POST", "/v1/keys", {**new, "monthly_limit_micros": 4_000_000}).json()
    assert child["monthly_limit_micros"] == 4_000_000
    assert caller.send("GET", f"/v1/keys/{caller.row.pk}").json()["monthly_limit_micros"] == 6_000_000
    # The child cannot give back more than it has either, and not in two steps.
    nephew = Manager(child["secret"])
    path = f"/v1/keys/{caller.row.pk}"
    assert error_of(nephew.send("PATCH", path, {"monthly_limit_micros": 10_000_001}), status=403)
    assert error_of(nephew.send("PATCH", path, {"monthly_limit_micros": None}), status=403)
    assert nephew.send("PATCH", path, {"monthly_limit_micros": 10_000_000}).status_code == 200
    assert nephew.send("GET", f"/v1/keys/{child['id']}").json()["monthly_limit_micros"] == 0


def test_spent_money_is_given_to_nobody(manager_with, organization, funds):
    caller = manager_with(monthly_limit_micros=10_000_000)
    ledger.reserve(organization, amount_micros=7_000_000, reference="job:spent", api_key=caller.row)
    new = {"name": "x", "scopes": ["read"]}
    assert error_of(caller.send("POST", "/v1/keys", {**new, "monthly_limit_micros": 3_000_001}), status=403)
    assert caller.send("POST", "/v1/keys", {**new, "monthly_limit_micros": 3_000_000}).status_code == 201
    with pytest.raises(ledger.SpendLimitReached):
        ledger.reserve(organization, amount_micros=1, reference="job:more", api_key=caller.row)


def test_no_key_raises_its_own_limit(manager_with):
    caller = manager_with(monthly_limit_micros=5)
    path = f"/v1/keys/{caller.row.pk}"
    for limit in (6, None):
        error = error_of(caller.send("PATCH", path, {"monthly_limit_micros": limit}), status=403)
        assert error["message"] == "An API key cannot raise its own limit."
    assert caller.send("PATCH", path, {"monthly_limit_micros": 4}).json()["monthly_limit_micros"] == 4


def test_refused_change_changes_nothing_at_all(manager_with):
    caller = manager_with(monthly_limit_micros=5)
    fields = {"name": "renamed", "scopes": ["admin"], "monthly_limit_micros": 6}
    assert error_of(caller.send("PATCH", f"/v1/keys/{caller.row.pk}", fields), status=403)
    caller.row.refresh_from_db()
    assert (caller.row.name, len(caller.row.scope_set)) == ("manager", 5)


# --- Rotation --------------------------------------------------------------------------------------------------------


def test_rotated_key_is_the_same_key_with_another_secret(manager, organization, funds):
    row, old = api_keys.issue(organization, name="server", by=None, monthly_limit_micros=9)
    ledger.reserve(organization, amount_micros=7, reference="job:1", api_key=row)
    shown = manager.send("POST", f"/v1/keys/{row.pk}/rotate").json()
    assert (shown["id"], shown["monthly_limit_micros"], shown["spent_micros"]) == (str(row.pk), 9, 7)
    assert api_keys.find(old) is None
    assert api_keys.find(shown["secret"]) == row
    assert shown["previous_secret_until"] is None
    assert shown["secret"].startswith(shown["prefix"])


def test_old_secret_works_until_the_overlap_ends_and_manages_nothing(manager):
    with time_machine.travel(datetime(2026, 4, 19, 18, tzinfo=UTC), tick=False) as clock:
        path = f"/v1/keys/{manager.row.pk}"
        shown = manager.send("POST", f"{path}/rotate", {"overlap_seconds": 60}).json()
        assert shown["previous_secret_until"] == "2026-04-19 18:01:00"
        assert manager.get("/v1/balance").status_code == 200
        for method, address in (("POST", f"{path}/rotate"), ("PATCH", path), ("POST", "/v1/keys"), ("GET", path)):
            assert error_of(manager.send(method, address), status=403)["type"] == "insufficient_scope"
        assert Manager(shown["secret"]).send("GET", path).status_code == 200
        clock.shift(60)
        assert manager.get("/v1/balance").status_code == 401
        assert Manager(shown["secret"]).send("GET", path).json()["previous_secret_until"] is None


def test_second_rotation_ends_the_first_secret(manager, organization):
    row, first = api_keys.issue(organization, name="server", by=None)
    address = f"/v1/keys/{row.pk}/rotate"
    second = manager.send("POST", address, {"overlap_seconds": 3600}).json()["secret"]
    third = manager.send("POST", address, {"overlap_seconds": 3600}).json()["secret"]
    assert [api_keys.find(secret) for secret in (first, second, third)] == [None, row, row]


def test_revoked_key_is_revoked_with_both_secrets(manager, organization):
    row, old = api_keys.issue(organization, name="server", by=None)
    new = manager.send("POST", f"/v1/keys/{row.pk}/rotate", {"overlap_seconds": 3600}).json()["secret"]
    manager.send("DELETE", f"/v1/keys/{row.pk}")
    assert [Api(secret).get("/v1/balance").status_code for secret in (old, new)] == [401, 401]
    for method, address in (("POST", f"/v1/keys/{row.pk}/rotate"), ("PATCH", f"/v1/keys/{row.pk}")):
        assert error_of(manager.send(method, address), status=409)["type"] == "conflict"


def test_rotation_is_no_way_to_a_stronger_key(manager_with):
    until = timezone.now() + timedelta(days=1)
    strong = manager_with()
    for weak in (manager_with(["read", "admin"]), manager_with(expires_at=until), manager_with(monthly_limit_micros=5)):
        assert error_of(weak.send("POST", f"/v1/keys/{strong.row.pk}/rotate"), status=403)["type"] == "forbidden"
        assert weak.send("POST", f"/v1/keys/{weak.row.pk}/rotate").status_code == 200
    assert strong.get("/v1/balance").status_code == 200


@pytest.mark.parametrize("overlap", [-1, 604_801, "long", None])
def test_wrong_overlap_is_refused(manager, overlap):
    address = f"/v1/keys/{manager.row.pk}/rotate"
    error = error_of(manager.send("POST", address, {"overlap_seconds": overlap}), status=400)
    assert error["param"] == "overlap_seconds"


# --- Bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"name": None}, "name"),
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"scopes": "read"}, "scopes"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "9999-12-31T23:59:59-01:00"}, "expires_at"),
        ({"expires_at": "soon"}, "expires_at"),
        ({"monthly_limit_micros": -1}, "monthly_limit_micros"),
        ({"monthly_limit_micros": 10**12 + 1}, "monthly_limit_micros"),
        ({"monthly_limit_micros": True}, "monthly_limit_micros"),
        ({"limit": 5}, "limit"),
    ],
)
def test_wrong_field_is_named(manager, changed, param):
    fields = {"name": "x", "scopes": ["read"], **changed}
    assert error_of(manager.send("POST", "/v1/keys", fields), status=400)["param"] == param
    assert error_of(manager.send("PATCH", f"/v1/keys/{manager.row.pk}", changed), status=400)["param"] == param
    assert ApiKey.objects.count() == 1


def test_missing_field_is_named(manager):
    assert error_of(manager.send("POST", "/v1/keys", {"scopes": ["read"]}), status=400)["type"] == "missing_field"
    assert error_of(manager.send("POST", "/v1/keys", []), status=400)["type"] == "invalid_request"


def test_organization_with_the_most_keys_gets_no_more(manager, settings):
    settings.MAX_LIVE_API_KEYS = 1
    error = error_of(manager.send("POST", "/v1/keys", {"name": "x", "scopes": ["read"]}), status=409)
    assert "1 live keys" in error["message"]


def test_secret_is_not_kept_for_an_idempotency_key(manager):
    headers = {"X-API-Key": manager.key, "Idempotency-Key": "once"}
    secrets = {
        manager.client.post(
            "/v1/keys", {"name": "x", "scopes": ["read"]}, content_type="application/json", headers=headers
        ).json()["secret"]
        for _ in range(2)
    }
    assert len(secrets) == 2
