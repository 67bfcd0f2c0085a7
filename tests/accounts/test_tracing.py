"""Spans where nobody traces, and where somebody does."""

from contextlib import contextmanager

import pytest

from accounts import tracing


class Recorder:
    """Remembers what it is asked for."""

    def __init__(self):
        self.spans = []

    @contextmanager
    def span(self, name, *, kind, parent, is_current, attributes):
        self.spans.append((name, kind, parent, is_current, dict(attributes)))
        yield tracing._NOTHING

    def context(self):
        return "00-a-b-01"

    def prepare(self):
        self.spans.append("prepared")

    def flush(self):
        self.spans.append("flushed")


@pytest.fixture
def recorder():
    tracing.install(made := Recorder())
    yield made
    tracing.install(None)


def test_without_a_tracer_nothing_happens():
    assert not tracing.is_on()
    with tracing.span("work", parent="00-a-b-01", attempt=1) as span:
        span.set(status=200)
        span.rename("other work")
        span.fail("broken")
        assert tracing.context() == ""
    tracing.prepare()
    tracing.flush()


def test_tracer_gets_names_parents_and_attributes(recorder):
    assert tracing.is_on()
    with tracing.span("work", kind="consumer", parent="00-a-b-01", attempt=2), tracing.stage("decode"):
        assert tracing.context() == "00-a-b-01"
    tracing.prepare()
    tracing.flush()
    assert recorder.spans == [
        ("work", "consumer", "00-a-b-01", True, {"attempt": 2}),
        ("decode", "internal", "", False, {}),
        "prepared",
        "flushed",
    ]
