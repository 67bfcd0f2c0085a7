"""The access to Stripe against real sockets that refuse, fail or stay silent."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from django.db import transaction

from accounts.errors import NotConfigured
from billing import stripe_api


class Answer(BaseHTTPRequestHandler):
    """Answers every request with the server's status and body."""

    def do_GET(self):
        body = self.server.body.encode()
        self.server.requests.append(dict(self.headers))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def address(settings, request):
    """Point the client at an address of this machine, without the sandbox."""

    def point(port):
        settings.STRIPE_SANDBOX = False
        # There is one cached client for each API key.
        settings.STRIPE_API_KEY = f"sk_test_{request.node.name}_{port}"
        settings.STRIPE_API_BASE = f"http://127.0.0.1:{port}"
        settings.STRIPE_READ_SECONDS = 0.2

    return point


@pytest.fixture
def answering(address):
    servers = []

    def start(status, body):
        server = HTTPServer(("127.0.0.1", 0), Answer)
        server.status, server.body, server.requests = status, body, []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        address(server.server_port)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def ask():
    with stripe_api.calling() as stripe:
        return stripe.v1.customers.retrieve("cus_1")


def test_refused_connection_is_told(address):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address(probe.getsockname()[1])
    with pytest.raises(stripe_api.StripeFailed):
        ask()


def test_silence_is_not_waited_for(address):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address(silent.getsockname()[1])
        with pytest.raises(stripe_api.StripeFailed):
            ask()


@pytest.mark.long
@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_failure_of_theirs_is_told_without_their_words(answering, status):
    answering(status, '{"error": {"type": "api_error", "message": "secret sk_live_123"}}')
    with pytest.raises(stripe_api.StripeFailed) as raised:
        ask()
    assert "secret" not in raised.value.message


def test_answer_that_is_no_json_is_told(answering):
    answering(200, "<html>proxy</html>")
    with pytest.raises(stripe_api.StripeFailed):
        ask()


def test_key_and_version_are_sent(answering, settings):
    server = answering(200, '{"id": "cus_1", "object": "customer"}')
    assert ask().id == "cus_1"
    assert server.requests[0]["Authorization"] == f"Bearer {settings.STRIPE_API_KEY}"
    assert server.requests[0]["Stripe-Version"] == settings.STRIPE_API_VERSION


def test_failure_is_tried_once_more(answering):
    server = answering(500, "{}")
    with pytest.raises(stripe_api.StripeFailed):
        ask()
    assert len(server.requests) == 1 + stripe_api.RETRIES


def test_unknown_object_and_refused_call_are_told_apart(answering):
    server = answering(404, '{"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No"}}')
    with pytest.raises(stripe_api.StripeMissing):
        ask()
    server.status = 400
    with pytest.raises(stripe_api.StripeRefused) as raised:
        ask()
    assert raised.value.stripe_code == "resource_missing"


def test_no_call_inside_a_transaction(stripe_sandbox):
    with transaction.atomic(), pytest.raises(RuntimeError):
        ask()


@pytest.mark.django_db(transaction=True)
def test_no_call_inside_the_outermost_transaction():
    with transaction.atomic(), pytest.raises(RuntimeError):
        ask()


@pytest.mark.parametrize("missing", ["STRIPE_API_KEY", "STRIPE_WEBHOOK_SECRET"])
def test_half_set_up_site_takes_no_payments(settings, missing):
    setattr(settings, missing, "")
    assert not stripe_api.is_configured()
    with pytest.raises(NotConfigured):
        ask()
