"""Pages of other sites reach what a token may call, and nothing else."""

import asyncio
import json

import pytest

from accounts import api_keys
from accounts.gate import key_scopes
from accounts.models import Scope
from voxsite import asgi
from voxsite.cross_origin import methods_for_pages

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "https://customer.example"
JOB = "00000000-0000-0000-0000-000000000007"
OPEN = {
    "/v1/transcribe": {"POST"},
    "/v1/estimate": {"POST"},
    "/v1/jobs": {"GET"},
    f"/v1/jobs/{JOB}": {"GET", "DELETE"},
    f"/v1/jobs/{JOB}/events": {"GET"},
    f"/v1/jobs/{JOB}/result": {"GET"},
    f"/v1/jobs/{JOB}/result.srt": {"GET"},
    f"/v1/jobs/{JOB}/cancel": {"POST"},
    "/v1/models": {"GET"},
    "/v1/apex/chat/completions": {"POST"},
    "/v1/audio/transcriptions": {"POST"},
    "/v1/stt": {"POST"},
    "/v1/listen": {"POST"},
    "/asr": {"POST"},
    "/transcribeapi/v1/transcribe": {"POST"},
    f"/transcribeapi/v1/results/{JOB}": {"GET"},
}
CLOSED = (
    "/",
    "/keys/",
    f"/o/{JOB}/keys/",
    f"/o/{JOB}/transcripts/",
    "/overview/",
    "/billing/",
    "/accounts/login/",
    "/admin/",
    "/stripe/webhook",
    "/health",
    "/v1/upload",
    "/v1/tokens",
    f"/v1/tokens/{JOB}",
    "/v1/keys",
    f"/v1/keys/{JOB}/rotate",
    "/v1/limits",
    "/v1/alerts",
    "/v1/balance",
    "/v1/usage",
    "/v1/automatic-topup",
    "/transcribeapi/v1/add-funds",
    "/v1/nothing-here",
)


def call(method, path, *, headers=(), body=b"", origin=PAGE):
    """Return (status, headers, body) of a request of a page on PAGE."""
    sent, left = [], [{"type": "http.request", "body": body}]
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"origin", origin.encode()),
            *(headers or ((b"content-length", str(len(body)).encode()),)),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }

    async def receive():
        if left:
            return left.pop()
        return await asyncio.sleep(3600)

    async def send(message):
        sent.append(message)

    asyncio.run(asgi.application(scope, receive, send))
    names = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], names, b"".join(message.get("body", b"") for message in sent[1:])


def preflight(path, method="POST", **fields):
    asked = ((b"access-control-request-method", method.encode()), (b"access-control-request-headers", b"authorization"))
    return call("OPTIONS", path, headers=asked, **fields)


@pytest.mark.long
@pytest.mark.parametrize("path", OPEN)
def test_preflight_allows_what_a_token_may_call(path):
    status, headers, body = preflight(path)
    assert (status, body) == (204, b"")
    assert headers["access-control-allow-origin"] == "*"
    assert set(headers["access-control-allow-methods"].split(", ")) == OPEN[path]
    assert headers["access-control-allow-headers"] == "authorization"
    assert "access-control-allow-credentials" not in headers


def test_obsidian_is_a_page_of_another_site():
    """Its Whisper plugin runs in Electron, where the origin is no address of the web."""
    status, headers, _ = preflight("/v1/audio/transcriptions", origin="app://obsidian.md")
    assert (status, headers["access-control-allow-origin"]) == (204, "*")


@pytest.mark.long
@pytest.mark.parametrize("path", CLOSED)
def test_everything_else_is_closed_to_pages_of_other_sites(path):
    for _, headers, _ in (preflight(path), call("GET", path)):
        assert not [name for name in headers if name.startswith("access-control")]


def test_no_address_for_admins_or_money_is_ever_open():
    closed = frozenset({Scope.ADMIN, Scope.BILLING})
    for name, methods in key_scopes.ROUTES.items():
        if all(scopes <= closed for scopes in methods.values()):
            assert not name.startswith("apex"), name
    assert methods_for_pages("/v1/keys") == methods_for_pages("/v1/balance") == ()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/models", 401),
        ("POST", "/v1/apex/chat/completions", 401),
        ("POST", "/v1/audio/transcriptions", 401),
        ("POST", "/v1/listen", 401),
    ],
)
def test_page_can_read_a_refusal(method, path, status):
    answered, headers, body = call(method, path, headers=((b"content-type", b"application/json"),), body=b"{}")
    assert (answered, headers["access-control-allow-origin"]) == (status, "*")
    assert json.loads(body)


def test_page_can_read_an_answer_with_all_its_headers(organization):
    key = api_keys.issue(organization, name="page", by=None)[1]
    status, headers, _ = call("GET", "/v1/models", headers=((b"authorization", f"Bearer {key}".encode()),))
    assert (status, headers["access-control-allow-origin"], headers["access-control-expose-headers"]) == (200, "*", "*")
    assert "x-request-id" in headers


def test_page_can_read_that_its_body_is_too_large(organization):
    key = api_keys.issue(organization, name="page", by=None)[1]
    large = ((b"authorization", f"Bearer {key}".encode()), (b"content-length", str(10**12).encode()))
    status, headers, _ = call("POST", "/v1/transcribe", headers=large)
    assert (status, headers["access-control-allow-origin"]) == (413, "*")


def test_cookies_of_a_visitor_open_nothing(alice, client_of):
    cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in client_of(alice).cookies.items())
    status, headers, _ = call("GET", "/v1/jobs", headers=((b"cookie", cookies.encode()),))
    assert status == 401
    assert "access-control-allow-credentials" not in headers
