"""Every answer of the application is counted once, whichever part of it answers."""

import asyncio

import pytest
from prometheus_client.core import REGISTRY

from accounts import api_keys
from voxsite import asgi

pytestmark = pytest.mark.django_db(transaction=True)


def ask(path, *, method="GET", headers=(), leaves=False):
    """Ask the application. Returns the status, None if nothing was answered."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"host", b"localhost"), *headers],
        "client": ("127.0.0.1", 1),
        "server": ("localhost", 80),
        "scheme": "http",
        "http_version": "1.1",
        "asgi": {"version": "3.0"},
    }
    sent, asked = [], []

    async def receive():
        asked.append(1)
        if len(asked) > 1 or leaves:
            # A client that stays says nothing more.
            await asyncio.sleep(0 if leaves else 60)
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    asyncio.run(asgi.application(scope, receive, send))
    return sent[0]["status"] if sent else None


def counts():
    """Return how often each of (view, method, status) was counted."""
    samples = [
        sample for family in REGISTRY.collect() if family.name == "voxsite_http_requests" for sample in family.samples
    ]
    return {
        tuple(sample.labels[name] for name in ("view", "method", "status")): sample.value
        for sample in samples
        if sample.name.endswith("_total")
    }


@pytest.mark.parametrize(
    ("path", "fields", "counted"),
    [
        ("/", {}, ("landing", "GET", "200")),
        ("/health", {}, ("health", "GET", "200")),
        ("/v1/balance", {}, ("v1-balance", "GET", "401")),
        ("/v1/apex/models", {}, ("apex-models", "GET", "401")),
        ("/v1/audio/transcriptions", {"method": "PUT"}, ("openai-transcriptions", "PUT", "401")),
        ("/uploads/no/such/thing", {}, ("signed-uploads", "GET", "405")),
        ("/no/such/page/", {}, ("none", "GET", "404")),
        ("/no/such/page/", {"method": "BREW"}, ("none", "other", "404")),
        ("/", {"leaves": True}, ("none", "GET", "499")),
    ],
)
def test_answer_is_counted_once_under_names_that_no_stranger_chooses(path, fields, counted):
    before = counts()
    ask(path, **fields)
    after = counts()
    assert {name: value - before.get(name, 0) for name, value in after.items() if value != before.get(name, 0)} == {
        counted: 1
    }


def test_body_that_is_refused_before_any_view_is_counted(organization):
    key = api_keys.issue(organization, name="test", by=None)[1]
    headers = [(b"x-api-key", key.encode()), (b"content-length", b"99999999999999")]
    before = counts()
    status = ask("/v1/transcribe", method="POST", headers=headers)
    assert status == 413
    assert counts()["none", "POST", "413"] == before.get(("none", "POST", "413"), 0) + 1
