"""The span of a request: its name, its status, and which requests have none."""

import asyncio
from contextlib import contextmanager

import pytest

from accounts import tracing
from voxsite import request_metrics
from voxsite.traced_requests import TracesRequests


class Span:
    def __init__(self, name):
        self.name, self.attributes, self.reason = name, {}, ""

    def set(self, **attributes):
        self.attributes |= attributes

    def rename(self, name):
        self.name = name

    def fail(self, reason):
        self.reason = reason


class Tracer:
    def __init__(self):
        self.spans = []

    @contextmanager
    def span(self, name, *, kind, parent, is_current, attributes):
        self.spans.append(made := Span(name))
        made.set(**attributes)
        yield made


@pytest.fixture
def tracer():
    tracing.install(made := Tracer())
    yield made
    tracing.install(None)


def ask(path, *, status=200, view="transcribe", headers=()):
    async def application(scope, receive, send):
        request_metrics.set_view(scope, view)
        await send({"type": "http.response.start", "status": status, "headers": [(b"X-Request-ID", b"req_1")]})

    async def send(message):
        sent.append(message["status"])

    sent = []
    scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
    asyncio.run(TracesRequests(application)(scope, None, send))
    return sent


def test_span_names_the_view_and_not_the_address(tracer):
    forged = [(b"traceparent", b"00-00000000000000000000000000000001-0000000000000002-01")]
    assert ask("/v1/transcribe/someone@example.com", headers=forged) == [200]
    (span,) = tracer.spans
    assert (span.name, span.reason) == ("POST transcribe", "")
    assert span.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": "transcribe",
        "request_id": "req_1",
    }


def test_fault_of_the_site_is_a_failed_span(tracer):
    ask("/v1/transcribe", status=503)
    ask("/v1/transcribe", status=404)
    assert [span.reason for span in tracer.spans] == ["503", ""]


def test_questions_of_monitors_have_no_span(tracer):
    for path in ("/health/serving", "/metrics", "/static/site.css"):
        assert ask(path) == [200]
    assert tracer.spans == []


def test_without_a_tracer_requests_are_answered():
    assert ask("/v1/transcribe") == [200]
