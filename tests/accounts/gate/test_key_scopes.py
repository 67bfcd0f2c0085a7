"""Which scope each address needs: every address of the product has a line, and each API refuses in its own shape."""

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import api_keys
from accounts.errors import InsufficientScope
from accounts.gate import key_scopes
from accounts.gate.views import GateView
from accounts.models import ApiKey, Scope
from apex import views as apex_views
from tests.conftest import Api
from tests.dialects.faces import FACES

METHODS = ("get", "post", "put", "patch", "delete")


def addresses(resolver=None, namespace=""):
    """Yield (name, view) of every address of the product."""
    for entry in (resolver or get_resolver()).url_patterns:
        if isinstance(entry, URLResolver):
            inner = f"{namespace}{entry.namespace}:" if entry.namespace else namespace
            yield from addresses(entry, inner)
        else:
            assert isinstance(entry, URLPattern)
            yield f"{namespace}{entry.name}", entry.callback


def methods_with_key():
    """Return for each address that asks for a key its methods: GateViews, and the views of the chat endpoint."""
    found = {}
    for name, view in addresses():
        view_class = getattr(view, "view_class", None)
        if view_class is not None and issubclass(view_class, GateView):
            if view_class.needs_key:
                found[name] = {method.upper() for method in METHODS if hasattr(view_class, method)}
        elif view.__module__ == apex_views.__name__ and view.methods:
            found[name] = set(view.methods)
    return found


def test_every_address_that_asks_for_a_key_has_scopes_for_each_method():
    assert {name: set(methods) for name, methods in key_scopes.ROUTES.items()} == methods_with_key()


def test_no_address_is_free_by_an_empty_set():
    assert all(scopes for methods in key_scopes.ROUTES.values() for scopes in methods.values())


def test_only_the_admin_scope_manages_keys_limits_and_alerts():
    """Nobody but an admin changes what keys may do, whichever addresses come."""
    managed = ("v1-key", "v1-limits", "v1-alerts")
    for name, methods in key_scopes.ROUTES.items():
        if name.startswith(managed):
            assert methods == dict.fromkeys(methods, frozenset({Scope.ADMIN})), name


def test_address_without_a_line_is_served_to_nobody():
    with pytest.raises(KeyError):
        key_scopes.require(ApiKey(), route="v1-brand-new", method="GET")


def test_head_is_as_get():
    with pytest.raises(InsufficientScope):
        key_scopes.require(ApiKey(scopes="chat"), route="v1-jobs", method="HEAD")
    key_scopes.require(ApiKey(scopes="read"), route="v1-jobs", method="HEAD")


def test_unknown_scope_of_a_newer_version_gives_nothing():
    assert ApiKey(scopes="chat everything").scope_set == {Scope.CHAT}


@pytest.fixture
def key_with(organization):
    return lambda *scopes: Api(api_keys.issue(organization, name="scoped", by=None, scopes=scopes)[1])


# The chat endpoint asks the database in threads of its own, which see only what is committed.
@pytest.mark.django_db(transaction=True)
def test_key_of_before_may_do_all_that_it_could(api):
    assert ApiKey.objects.get().scope_set == {Scope.TRANSCRIBE, Scope.CHAT, Scope.READ, Scope.BILLING}
    for path in ("/v1/balance", "/v1/usage", "/v1/jobs", "/v1/models", "/v1/apex/models"):
        assert api.get(path).status_code == 200, path


@pytest.mark.parametrize(
    ("scopes", "path", "required"),
    [
        (["transcribe", "chat", "read", "admin"], "/v1/balance", ["billing"]),
        (["transcribe", "chat", "billing", "admin"], "/v1/jobs", ["read"]),
        (["chat", "billing", "admin"], "/v1/status/00000000-0000-0000-0000-000000000007", ["transcribe", "read"]),
    ],
)
def test_key_without_the_scope_is_refused(key_with, scopes, path, required):
    response = key_with(*scopes).get(path)
    assert response.status_code == 403
    error = response.json()["error"]
    assert (error["type"], error["code"], error["required_scopes"]) == ("insufficient_scope", 403, required)
    assert error["request_id"]
    assert response["X-RateLimit-Limit-Requests"]  # a refusal counts too


@pytest.mark.django_db(transaction=True)
def test_key_without_chat_is_refused_in_the_words_of_openai(key_with):
    response = key_with("transcribe", "read", "billing", "admin").post(
        "/v1/apex/chat/completions",
        {"model": "apex-latest", "messages": [{"role": "user", "content": "Hi"}]},
        content_type="application/json",
    )
    assert response.status_code == 403
    assert response.json()["error"]["type"] == "insufficient_scope"
    assert response.json()["error"]["message"]
    assert key_with("admin").get("/v1/apex/models").status_code == 200


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.name)
def test_each_dialect_refuses_in_its_own_shape(face, key_with, client):
    reader = key_with("chat", "read", "billing", "admin")
    failure = face.failure(face.submit(client, key=reader.key, content=b"not looked at"))
    assert (failure.status, failure.type) == (403, "insufficient_scope")
    assert "transcribe" in failure.message


def test_changed_scopes_count_from_the_next_request_on(organization):
    row, key = api_keys.issue(organization, name="scoped", by=None, scopes=["billing"])
    api = Api(key)
    assert api.get("/v1/balance").status_code == 200
    api_keys.set_scopes(organization, key_id=row.pk, scopes=["read"])
    assert api.get("/v1/balance").status_code == 403
