"""One trace from a request to its result and its webhook, through all processes of the running product."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from tests import collector, product
from tests.apex import scripted
from tests.conftest import AUDIO
from tests.whole.customer import Customer, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.enable_socket, pytest.mark.timeout(600)]


@pytest.fixture
def receiver():
    """A customer's server, which takes webhooks."""
    came = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            came.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}", came
        server.shutdown()


def test_one_trace_leads_from_the_request_to_result_and_webhook(tmp_path, receiver):
    address, came = receiver
    with collector.collecting() as collected, scripted.running() as upstream:
        switches = {
            "VOXSITE_TRACES_URL": collected.address,
            "VOXSITE_ALLOW_PRIVATE_ADDRESSES": address,
            "APEX_UPSTREAM_BASE_URL": f"{upstream.address}/first",
            "APEX_UPSTREAM_API_KEY": "none",
        }
        with product.running(tmp_path, **switches) as site:
            customer = Customer(site, "ann@example.com")
            with (AUDIO / "dialogue.flac").open("rb") as file:
                answer = requests.post(
                    f"{site.address}/v1/transcribe",
                    headers=customer.headers,
                    files={"file": ("ann-and-bob.flac", file)},
                    data={"webhook_url": f"http://{address}/hook?token=secret"},
                    timeout=60,
                )
            job_id = answer.json()["job_id"]
            customer.wait(job_id, seconds=120)
            text = customer.text(job_id)
            body = {"model": "apex-latest", "messages": [{"role": "user", "content": "normal 5"}]}
            chat = requests.post(
                f"{site.address}/v1/apex/chat/completions", json=body, headers=customer.headers, timeout=60
            )
            assert chat.status_code == 200
            wait_for(lambda: came, seconds=60, what="no webhook came")
            expected = {"transcribe", "decode", "recognise", "diarize", "store", "webhook", "upstream"}
            wait_for(
                lambda: expected <= {span.name for span in collected.spans()},
                seconds=60,
                what=f"not all spans came: {sorted({span.name for span in collected.spans()})}",
            )
            assert site.rows("SELECT count(*) FROM transcription_job WHERE trace_context = ''") == [(0,)]
    spans = collected.spans()
    (work,) = [span for span in spans if span.name == "transcribe"]
    trace = [span for span in spans if span.trace_id == work.trace_id]
    by_name = {span.name: span for span in trace}
    (request,) = [span for span in trace if not span.parent_id]
    assert request.name.startswith("POST ")
    assert request.attributes["request_id"] == answer.headers["X-Request-ID"]
    assert {span.name for span in trace} == (expected - {"upstream"}) | {request.name}
    assert work.parent_id == by_name["webhook"].parent_id == request.span_id
    for stage in ("decode", "recognise", "diarize", "store"):
        assert by_name[stage].parent_id == work.span_id
        assert by_name[stage].attributes["job_id"] == job_id
    assert [span.process.rpartition("-")[0].rstrip("-0123456789") for span in (request, work, by_name["webhook"])] == [
        "web",
        "worker",
        "deliverer",
    ]
    (asked,) = [span for span in spans if span.name == "upstream"]
    (chat_request,) = [span for span in spans if span.span_id == asked.parent_id]
    assert chat_request.attributes["http.response.status_code"] == 200
    sent = b"".join(collected.raw)
    for private in ("ann@example.com", "ann-and-bob", "secret", customer.headers["X-API-Key"], text[:30], "normal 5"):
        assert private.encode() not in sent
