"""Spans of what this process does, for a collector of traces where the operator names one. Pure: no Django.

Nothing is traced until `install` is called (`voxsite/traces.py`). Until then a span costs one comparison. A span has
a name of the site's own and the ids that log lines have. It has no texts, no names, no addresses of customers and no
keys.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Literal, Protocol

# As OpenTelemetry has them: who asks and who answers, over the network or through a queue.
Kind = Literal["internal", "server", "client", "producer", "consumer"]
Value = str | int | float | bool


class Span(Protocol):
    """What is going on."""

    def set(self, **attributes: Value) -> None:
        """Add attributes."""
        ...

    def rename(self, name: str) -> None:
        """Give the span the name that is known by now."""
        ...

    def fail(self, reason: str) -> None:
        """Mark the span as failed. reason: a word of the site's own."""
        ...


class Tracer(Protocol):
    """Makes spans, and sends them."""

    def span(
        self, name: str, *, kind: Kind, parent: str, is_current: bool, attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]: ...

    def context(self) -> str: ...

    def prepare(self) -> None: ...

    def flush(self) -> None: ...


class _Nothing:
    """The span of a process that traces nothing."""

    def set(self, **attributes: Value) -> None:
        """Do nothing."""

    def rename(self, name: str) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""


_NOTHING = _Nothing()
_tracer: Tracer | None = None


def install(tracer: Tracer | None) -> None:
    """Trace this process, and its forks. None: no more."""
    global _tracer  # noqa: PLW0603 - a fact of the process
    _tracer = tracer


def is_on() -> bool:
    """Tell whether this process is traced."""
    return _tracer is not None


@contextmanager
def span(
    name: str, *, kind: Kind = "internal", parent: str = "", is_current: bool = True, **attributes: Value
) -> Iterator[Span]:
    """Trace what happens within the context. An exception marks the span as failed, by its class alone.

    parent: what `context` returned elsewhere; "" stands for the current span, and for a new trace if there is none.
    is_current: spans that begin within it, in this thread or task, are parts of it. False for one that others overlap.
    """
    if _tracer is None:
        yield _NOTHING
        return
    with _tracer.span(name, kind=kind, parent=parent, is_current=is_current, attributes=attributes) as made:
        yield made


def stage(name: str) -> AbstractContextManager[object]:
    """Trace a stage of a work whose stages overlap."""
    return span(name, is_current=False)


def context() -> str:
    """Return the current trace and span as W3C's header `traceparent` has them, "" without any."""
    return "" if _tracer is None else _tracer.context()


def prepare() -> None:
    """Load what a fork needs to trace, and start no thread. A worker forks for each task."""
    if _tracer is not None:
        _tracer.prepare()


def flush() -> None:
    """Send what was not sent yet. For processes that end without the usual steps."""
    if _tracer is not None:
        _tracer.flush()
