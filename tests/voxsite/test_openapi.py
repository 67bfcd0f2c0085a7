"""The OpenAPI document against the URLconf: what is documented exists, and what programs can call is documented."""

import re
from datetime import date

import pytest
from django.urls import URLPattern, URLResolver, get_resolver
from openapi_spec_validator import validate

from accounts.errors import InvalidField, RateLimited
from accounts.gate.views import GateView, UnknownAddress
from billing.ledger.errors import limit_reached, shortfall


def document(client):
    response = client.get("/openapi.json")
    assert response.status_code == 200
    return response.json()


def gate_patterns(resolver=None, prefix="/"):
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from gate_patterns(pattern, path)
        elif isinstance(pattern, URLPattern):
            view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
            if view and issubclass(view, GateView) and not issubclass(view, UnknownAddress):
                yield re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", path), view


def plain_patterns(resolver=None, prefix="/"):
    """Views that are no DRF views and answer programs all the same: they say which methods they take."""
    for pattern in (resolver or get_resolver()).url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from plain_patterns(pattern, path)
        elif getattr(pattern.callback, "methods", ()):
            yield from ((path, method.lower()) for method in pattern.callback.methods)


@pytest.mark.long
def test_document_is_valid(client, db):
    validate(document(client))


def test_document_has_exactly_the_addresses_of_the_gate(client, db):
    documented = {(path, method) for path, methods in document(client)["paths"].items() for method in methods}
    served = {
        (path, method)
        for path, view in gate_patterns()
        for method in ("get", "post", "put", "patch", "delete")
        if hasattr(view, method)
    }
    assert documented == served | set(plain_patterns())


def test_every_operation_says_what_it_does_and_how_it_fails(client, db):
    for path, methods in document(client)["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (path, method)
            if path.startswith("/v1/"):
                assert "401" in operation["responses"], (path, method)


ERRORS = {
    "Error": ("properties", "error"),
    "OpenAiError": ("properties", "error"),
    "SttError": ("properties", "error"),
    "AsrError": (),
    "DeepgramError": (),
    "TranscribeApiError": (),
    "ChatError": ("properties", "error"),
}


@pytest.mark.parametrize(
    "error",
    [
        InvalidField("model", "No."),
        RateLimited(retry_after=3),
        shortfall(required_micros=2, available_micros=1),
        limit_reached(limit="key", limit_micros=3, left_micros=1, required_micros=2, month=date(2026, 11, 1)),
    ],
    ids=lambda error: error.type,
)
def test_errors_of_every_dialect_have_the_data_that_is_described(client, db, error):
    schemas = document(client)["components"]["schemas"]
    for name, inside in ERRORS.items():
        described = schemas[name]
        for step in inside:
            described = described[step]
        if "$ref" in described:
            described = schemas[described["$ref"].rpartition("/")[2]]
        assert set(error.data) <= set(described["properties"]), name


def test_bodies_are_required(client, db):
    bodies = [
        operation["requestBody"]
        for methods in document(client)["paths"].values()
        for operation in methods.values()
        if "requestBody" in operation
    ]
    assert len(bodies) > 5
    assert all(body["required"] for body in bodies)


def test_streams_are_described_as_text_and_by_their_events(client, db):
    described = document(client)
    for path, method in (
        ("/v1/audio/transcriptions", "post"),
        ("/v1/jobs/{job_id}/events", "get"),
        ("/v1/apex/chat/completions", "post"),
    ):
        content = described["paths"][path][method]["responses"]["200"]["content"]
        event, text = content["text/event-stream"]["schema"]["anyOf"]
        if "$ref" in event:
            event = described["components"]["schemas"][event["$ref"].rpartition("/")[2]]
        assert event["properties"]["data"]["type"] == "string"
        assert text == {"type": "string"}
