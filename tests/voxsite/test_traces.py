"""Spans that are sent to a collector, which listens here."""

import json
import socket
import subprocess
import sys

import pytest

from tests import collector
from tests.product import PROJECT_DIR, environment_of
from voxsite import traces

pytestmark = pytest.mark.enable_socket

SECRET = "vxp_live_secret"
WORK = f"""
import os
import django
django.setup()
from accounts import log_context, tracing

log_context.begin(job_id="job-1")
with tracing.span("request", kind="server") as span:
    span.rename("GET page")
    carried = tracing.context()
    with tracing.stage("decode"):
        assert tracing.context() == carried
    try:
        with tracing.span("store"):
            raise RuntimeError("{SECRET}")
    except RuntimeError:
        pass
tracing.flush()
if os.fork() == 0:
    log_context.begin(item_id="item-1")
    with tracing.span("transcribe", kind="consumer", parent=carried, attempt=1):
        pass
    tracing.flush()
    os._exit(0)
os.wait()
print(carried)
"""
ENDS_OF_TASKS = """
import os
import sys
import time
from accounts import tracing
from voxsite import traces

traces.begin(sys.argv[1], environment="test", percent=100)
tracing.prepare()
took = []
for _ in range(2):
    reader, writer = os.pipe()
    if os.fork() == 0:
        with tracing.span("transcribe"):
            pass
        started = time.monotonic()
        tracing.flush()
        os.write(writer, str(time.monotonic() - started).encode())
        os._exit(0)
    os.wait()
    took.append(float(os.read(reader, 100)))
print(took)
"""
IDLE = """
import sys
import django
django.setup()
from accounts import tracing
with tracing.span("work"):
    pass
# redis-py loads OpenTelemetry's metrics wherever they are installed, as in this environment.
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk.trace", "opentelemetry.exporter"))])
"""


def run(code: str, folder, **switches: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT_DIR,
        env=environment_of(
            DJANGO_SETTINGS_MODULE="voxsite.settings",
            VOXSITE_ENV="development",
            VOXSITE_DATA_DIR=str(folder),
            REDIS_URL="redis://x",
            PGAPPNAME="voxsite worker",
            **switches,
        ),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_spans_of_two_processes_are_one_trace_with_ids_and_without_texts(tmp_path):
    with collector.collecting() as collected:
        carried = run(WORK, tmp_path, VOXSITE_TRACES_URL=collected.address)
    spans = {span.name: span for span in collected.spans()}
    assert spans.keys() == {"GET page", "decode", "store", "transcribe"}
    request = spans.pop("GET page")
    assert request.parent_id == ""
    # The flags of W3C: kept, and of random ids.
    assert carried == f"00-{request.trace_id}-{request.span_id}-03"
    assert {(span.trace_id, span.parent_id) for span in spans.values()} == {(request.trace_id, request.span_id)}
    assert (request.attributes, spans["transcribe"].attributes) == (
        {"job_id": "job-1"},
        {"attempt": 1, "item_id": "item-1"},
    )
    assert [name for name, span in spans.items() if span.is_failed] == ["store"]
    assert request.process.startswith("worker-")
    assert request.process != spans["transcribe"].process
    assert SECRET.encode() not in b"".join(collected.raw)
    assert collected.paths == {"/v1/traces"}


@pytest.mark.long
def test_nothing_is_loaded_and_nothing_sent_without_the_switch(tmp_path):
    assert run(IDLE, tmp_path) == "[]"


@pytest.mark.long
def test_nothing_is_sent_of_traces_that_are_not_kept(tmp_path):
    with collector.collecting() as collected:
        carried = run(WORK, tmp_path, VOXSITE_TRACES_URL=collected.address, VOXSITE_TRACES_PERCENT="0")
    # Whoever joins it knows that it is not kept.
    assert carried.endswith("-02")
    assert collected.spans() == []


@pytest.mark.long
def test_tasks_lose_little_time_by_a_collector_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = subprocess.run(
            [sys.executable, "-c", ENDS_OF_TASKS, address],
            cwd=PROJECT_DIR,
            env=environment_of(),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    first, second = json.loads(done.stdout)
    # The request alone would take its whole time.
    assert traces.FLUSH_SECONDS - 0.1 < first < traces.SEND_SECONDS - 1
    # The next task has another child, which knows it.
    assert second < 1


def test_bad_address_is_refused():
    with pytest.raises(ValueError, match="http"):
        traces.begin("collector:4318", environment="development", percent=100)
