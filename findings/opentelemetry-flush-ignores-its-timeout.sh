#!/bin/sh
# `force_flush` of OpenTelemetry's tracer provider waits as long as the exporter takes, whatever time-out it is given.
#
# Guess: `provider.force_flush(timeout_millis=500)` returns after half a second, and says False if not all spans are sent.
# What happens: the batch processor ignores the time and exports in the calling thread. With an exporter that takes 3 s it
#   returns after 3 s, and says True. Its own source names this as work to do (opentelemetry-python, issue 4568).
# Why it matters: a worker that forks a child for each task must flush before the child ends. While the collector of traces
#   does not answer, each task loses the whole time-out of the exporter: 10 s, as it is shipped.
#
# Found with opentelemetry-sdk 1.45.2 in 2026-12.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -qq opentelemetry-sdk==1.45.2
cat >"$work/flush.py" <<'END'
import time
from importlib.metadata import version

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult


class SlowExporter(SpanExporter):
    def export(self, spans):
        time.sleep(3)
        return SpanExportResult.SUCCESS


provider = TracerProvider(shutdown_on_exit=False)
provider.add_span_processor(BatchSpanProcessor(SlowExporter(), schedule_delay_millis=60_000))
with provider.get_tracer("finding").start_as_current_span("work"):
    pass
started = time.monotonic()
is_sent = provider.force_flush(timeout_millis=500)
seconds = time.monotonic() - started
print(f"opentelemetry-sdk {version('opentelemetry-sdk')}: {seconds:.1f} s of 0.5 s, answer {is_sent}")
assert seconds > 2.9, seconds
assert is_sent is True, is_sent
print("as found: the time-out is ignored")
END
"$work/venv/bin/python" "$work/flush.py"
