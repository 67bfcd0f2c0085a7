"""Sends spans to a collector of OpenTelemetry's protocol (OTLP over HTTP), where the operator names one.

OpenTelemetry's instrumentations of Django, Redis and HTTP clients would trace each query, and send addresses,
statements and headers of customers. Here are the site's own spans alone (`accounts.tracing`), with ids, names of views
and statuses.
"""

import importlib.util
import mmap
import os
import struct
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accounts import log_context, tracing
from voxsite import env

if TYPE_CHECKING:
    from opentelemetry.trace import Span as OtelSpan

_PROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"
# How long the end of a task waits for its spans to be sent, and how long one request to the collector may take.
FLUSH_SECONDS = 2.0
SEND_SECONDS = 5
# After a wait in vain, no end of a task waits for as long: each would lose the time again.
PAUSE_SECONDS = 60.0
_TIME = struct.Struct("d")


def begin(endpoint: str, *, environment: str, percent: int) -> None:
    """Trace this process, and its forks.

    endpoint: the address of a collector, to which "/v1/traces" is added; "" for no traces. percent: how many of all
    traces are kept. Loads nothing and starts no thread before the first span. Raises ValueError for a bad address, and
    without the packages.
    """
    if not endpoint:
        return
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError("The address of the collector must begin with http:// or https://.")
    if importlib.util.find_spec("opentelemetry") is None:
        raise ValueError("OpenTelemetry's packages are missing. requirements-traces.txt has them.")
    tracing.install(
        OtlpTracer(f"{endpoint.rstrip('/')}/v1/traces", environment=environment, sampled=min(percent, 100) / 100)
    )


class _Span:
    """One span of OpenTelemetry."""

    def __init__(self, span: "OtelSpan") -> None:
        self._span = span

    def set(self, **attributes: tracing.Value) -> None:
        self._span.set_attributes(dict(attributes))

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def fail(self, reason: str) -> None:
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR, reason)


class OtlpTracer:
    """Implements `accounts.tracing.Tracer`. Each process has a provider of its own: threads do not survive a fork."""

    def __init__(self, address: str, *, environment: str, sampled: float) -> None:
        self._address, self._environment, self._sampled = address, environment, sampled
        self._lock = threading.Lock()
        self._made: tuple[int, Any, Any] | None = None  # (process id, provider, tracer)
        # Shared with all forks: when the ends of tasks wait again, on the machine's clock. Each task has a new child.
        self._resumes_at = mmap.mmap(-1, _TIME.size)
        os.register_at_fork(after_in_child=self._forget)

    def prepare(self) -> None:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace.export
        import opentelemetry.trace.propagation.tracecontext  # noqa: F401 - only loaded

    def flush(self) -> None:
        """Send what was not sent yet, for FLUSH_SECONDS at most. Sends nothing for a while after it took longer.

        The thread may go on behind that. Two children may both wait in vain before one of them has written it down.
        """
        made = self._made
        if made is None or made[0] != os.getpid() or time.monotonic() < _TIME.unpack(self._resumes_at[:])[0]:
            return
        # The SDK ignores its own argument for a time-out (1.45.2; opentelemetry-python, issue 4568).
        sending = threading.Thread(target=made[1].force_flush, name="traces", daemon=True)
        sending.start()
        sending.join(FLUSH_SECONDS)
        if sending.is_alive():
            self._resumes_at[:] = _TIME.pack(time.monotonic() + PAUSE_SECONDS)

    def context(self) -> str:
        if self._made is None:
            return ""
        from opentelemetry import trace

        context = trace.get_current_span().get_span_context()
        if not context.is_valid:
            return ""
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"

    def span(
        self,
        name: str,
        *,
        kind: tracing.Kind,
        parent: str,
        is_current: bool,
        attributes: Mapping[str, tracing.Value],
    ) -> AbstractContextManager[tracing.Span]:
        return self._span(name, kind=kind, parent=parent, is_current=is_current, attributes=attributes)

    @contextmanager
    def _span(
        self,
        name: str,
        *,
        kind: tracing.Kind,
        parent: str,
        is_current: bool,
        attributes: Mapping[str, tracing.Value],
    ) -> Iterator[tracing.Span]:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carried = TraceContextTextMapPropagator().extract({"traceparent": parent}) if parent else None
        made = self._tracer().start_span(
            name, context=carried, kind=trace.SpanKind[kind.upper()], attributes=dict(attributes)
        )
        shown = _Span(made)
        try:
            if is_current:
                with trace.use_span(made, record_exception=False, set_status_on_exception=False):
                    yield shown
            else:
                yield shown
        except GeneratorExit:
            raise
        except BaseException as error:
            # Its text may be of a customer.
            shown.fail(type(error).__name__)
            raise
        finally:
            made.set_attributes(dict(log_context.ids_now()))
            made.end()

    def _tracer(self) -> Any:
        with self._lock:
            if self._made is None:
                self._made = (os.getpid(), *self._make())
            return self._made[2]

    def _make(self) -> tuple[Any, Any]:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

        version = tomllib.loads(_PROJECT.read_text())["project"]["version"]
        # libpq's variable, which `voxsite.serve.child` sets for each process.
        program = env.text("PGAPPNAME", default="voxsite").removeprefix("voxsite ")
        provider = TracerProvider(
            # Not Resource.create, which adds what the environment variables of OpenTelemetry say.
            resource=Resource(
                {
                    "service.name": "voxsite",
                    "service.version": version,
                    "service.instance.id": f"{program}-{os.getpid()}",
                    "deployment.environment.name": self._environment,
                }
            ),
            sampler=ParentBased(TraceIdRatioBased(self._sampled)),
            shutdown_on_exit=True,
        )
        exporter = OTLPSpanExporter(endpoint=self._address, timeout=SEND_SECONDS)
        provider.add_span_processor(BatchSpanProcessor(exporter))
        return provider, provider.get_tracer("voxsite", version)

    def _forget(self) -> None:
        """In a fork: the provider's thread is not there, and its spans are the parent's to send."""
        self._lock = threading.Lock()
        self._made = None
