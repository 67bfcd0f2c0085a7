"""Tokens over HTTP: who makes, sees and revokes them, and what they open."""

import uuid
from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts import api_keys
from accounts.models import ApiKey, Scope
from tests.billing.test_key_api import Manager, error_of
from tests.conftest import Api

FIELDS = {"scopes": ["transcribe"], "spend_limit_micros": 50_000}


@pytest.fixture
def server(organization):
    row, key = api_keys.issue(organization, name="server", by=None, scopes=["transcribe", "chat", "read"])
    program = Manager(key)
    program.row = row
    return program


def make(server, **fields):
    response = server.send("POST", "/v1/tokens", {**FIELDS, **fields})
    assert response.status_code == 201, response.content
    return response.json()


def test_token_is_made_shown_once_and_works(server):
    response = server.send("POST", "/v1/tokens", {**FIELDS, "name": "customer 7"})
    assert (response.status_code, response["Cache-Control"]) == (201, "no-store")
    made = response.json()
    secret = made.pop("secret")
    assert Api(secret).get("/v1/models").status_code == 200
    shown = server.send("GET", f"/v1/tokens/{made['id']}").json()
    assert shown == {**made, "last_used_at": shown["last_used_at"]}
    assert server.send("GET", "/v1/tokens", {}).json() == {"tokens": [shown]}
    row = ApiKey.objects.get(pk=made["id"])
    assert row.expires_at - row.created_at == timedelta(minutes=10)
    assert (made["name"], made["scopes"], made["status"]) == ("customer 7", ["transcribe"], "live")
    assert (made["spend_limit_micros"], made["spent_micros"]) == (50_000, 0)
    assert secret.startswith(made["prefix"])


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"scopes": ["admin"]}, "scopes"),
        ({"scopes": ["billing"]}, "scopes"),
        ({"scopes": []}, "scopes"),
        ({"scopes": None}, "scopes"),
        ({"spend_limit_micros": -1}, "spend_limit_micros"),
        ({"spend_limit_micros": None}, "spend_limit_micros"),
        ({"spend_limit_micros": 10**12 + 1}, "spend_limit_micros"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": 3601}, "expires_in_seconds"),
        ({"name": "a\nb"}, "name"),
        ({"expires_at": "2030-01-01"}, "expires_at"),
    ],
)
def test_wrong_field_is_named_and_makes_nothing(server, fields, param):
    error = error_of(server.send("POST", "/v1/tokens", {**FIELDS, **fields}), status=400)
    assert error["param"] == param
    assert not ApiKey.objects.filter(parent__isnull=False).exists()


@pytest.mark.parametrize("missing", ["scopes", "spend_limit_micros"])
def test_scopes_and_limit_are_required(server, missing):
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    assert error_of(server.send("POST", "/v1/tokens", fields), status=400)["param"] == missing


def test_key_gives_no_scope_that_it_lacks(organization):
    key = Manager(api_keys.issue(organization, name="chat", by=None, scopes=["chat", "admin"])[1])
    error_of(key.send("POST", "/v1/tokens", FIELDS), status=403)


def test_token_manages_nothing(server):
    made = make(server, scopes=["transcribe", "chat", "read"])
    token = Manager(made["secret"])
    for method, path in (
        ("GET", "/v1/tokens"),
        ("POST", "/v1/tokens"),
        ("GET", f"/v1/tokens/{made['id']}"),
        ("DELETE", f"/v1/tokens/{made['id']}"),
        ("GET", "/v1/balance"),
        ("GET", "/v1/usage"),
        ("GET", "/v1/keys"),
        ("POST", "/v1/keys"),
        ("GET", f"/v1/keys/{server.row.pk}"),
        ("POST", f"/v1/keys/{made['id']}/rotate"),
        ("DELETE", f"/v1/keys/{made['id']}"),
        ("PUT", "/v1/limits"),
        ("PUT", "/v1/alerts"),
        ("GET", "/v1/automatic-topup"),
        ("POST", "/transcribeapi/v1/add-funds"),
    ):
        assert token.send(method, path, FIELDS).status_code == 403, (method, path)
    assert Api(made["secret"]).get("/v1/models").status_code == 200


def test_no_key_manages_the_tokens_of_another(server, organization, charlies):
    made = make(server)
    for owner in (organization, charlies):
        other = Manager(api_keys.issue(owner, name="other", by=None, scopes=list(Scope))[1])
        assert other.send("GET", "/v1/tokens").json() == {"tokens": []}
        for path in (f"/v1/tokens/{made['id']}", f"/v1/tokens/{uuid.uuid4()}", "/v1/tokens/7"):
            error_of(other.send("GET", path), status=404)
            error_of(other.send("DELETE", path), status=404)
    assert Api(made["secret"]).get("/v1/models").status_code == 200


@pytest.mark.long
def test_tokens_are_not_in_lists_of_keys_nor_managed_as_keys(server, organization, alice, client_of):
    made = make(server, name="browser of a customer")
    manager = Manager(api_keys.issue(organization, name="manager", by=None, scopes=list(Scope))[1])
    keys = {key["id"] for key in manager.send("GET", "/v1/keys").json()["keys"]}
    limits = {key["key_id"] for key in manager.get("/v1/limits").json()["keys"]}
    assert made["id"] not in keys | limits
    assert str(server.row.pk) in keys & limits
    for method, path, fields in (
        ("GET", f"/v1/keys/{made['id']}", {}),
        ("PATCH", f"/v1/keys/{made['id']}", {"expires_at": None}),
        ("POST", f"/v1/keys/{made['id']}/rotate", {}),
        ("PUT", "/v1/limits", {"key_id": made["id"], "monthly_limit_micros": 10**9}),
        ("PUT", "/v1/alerts", {"key_id": made["id"], "percents": [50]}),
    ):
        error_of(manager.send(method, path, fields), status=404)
    for page in ("/keys/", "/organization/", "/billing/usage/", "/docs/"):
        assert "browser of a customer" not in client_of(alice).get(page, follow=True).content.decode(), page


def test_revoked_token_is_refused_by_its_next_request(server):
    made = make(server)
    assert server.send("DELETE", f"/v1/tokens/{made['id']}").json()["status"] == "revoked"
    error_of(Api(made["secret"]).get("/v1/models"), status=401)
    assert server.send("GET", "/v1/tokens").json() == {"tokens": []}
    assert server.send("GET", f"/v1/tokens/{made['id']}").json()["status"] == "revoked"


@pytest.mark.parametrize("act", ["revoke", "rotate", "expire", "narrow"])
def test_what_a_key_loses_by_http_its_tokens_lose(server, organization, act):
    manager = Manager(api_keys.issue(organization, name="manager", by=None, scopes=list(Scope))[1])
    path, soon = f"/v1/keys/{server.row.pk}", timezone.now() + timedelta(seconds=30)
    token = Api(make(server)["secret"])
    method, address, fields, status = {
        "revoke": ("DELETE", path, {}, 401),
        "rotate": ("POST", f"{path}/rotate", {}, 401),
        "expire": ("PATCH", path, {"expires_at": soon.isoformat()}, 401),
        "narrow": ("PATCH", path, {"scopes": ["chat"]}, 401),
    }[act]
    assert manager.send(method, address, fields).status_code == 200
    with time_machine.travel(soon, tick=False):
        assert token.get("/v1/jobs").status_code == status
