"""The background thread sends webhooks to the site's address, and ends when nothing is left."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import urlsplit

import pytest
import stripe
from django.conf import settings as django_settings

from billing.sandbox import background_thread

DEADLINE_SECONDS = 20


class Endpoint(BaseHTTPRequestHandler):
    """Verifies the signature, and answers with the next of the server's statuses, then with 200."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        secret = django_settings.STRIPE_WEBHOOK_SECRET
        stripe.WebhookSignature.verify_header(body, self.headers["Stripe-Signature"], secret, 300)
        self.server.received.append((self.path, self.headers["Host"], json.loads(body)["type"]))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.end_headers()

    def log_message(self, *args):
        """Log nothing."""


@pytest.fixture
def endpoint(stripe_sandbox, settings):
    server = HTTPServer(("127.0.0.1", 0), Endpoint)
    server.received, server.statuses = [], []
    settings.HOST, settings.PORT = "127.0.0.1", server.server_port
    settings.STRIPE_SANDBOX_SENDS_WEBHOOKS = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    wait_for(lambda: not running())
    server.shutdown()
    server.server_close()


def running():
    return [thread for thread in threading.enumerate() if thread.name == "payment sandbox"]


def wait_for(condition):
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_thread_sends_events_and_ends(endpoint, stripe_sandbox, checkout):
    session = checkout()
    stripe_sandbox.expire(session.id)
    background_thread.wake()
    background_thread.wake()
    wait_for(lambda: not running())
    # The site accepts only its own host name, whatever address it listens on.
    host = urlsplit(django_settings.SITE_URL).netloc
    assert endpoint.received == [("/stripe/webhook", host, "checkout.session.expired")]
    assert stripe_sandbox.pending_events() == []


@pytest.mark.long
def test_thread_sends_again_what_was_not_accepted(endpoint, stripe_sandbox, checkout):
    endpoint.statuses = [500]
    stripe_sandbox.expire(checkout().id)
    background_thread.wake()
    wait_for(lambda: not running())
    assert [kind for _, _, kind in endpoint.received] == ["checkout.session.expired"] * 2


def test_thread_completes_a_bank_transfer_that_is_due(endpoint, stripe_sandbox, checkout):
    session = checkout()
    stripe_sandbox.pay(session.id, "transfer_paid")
    with stripe_sandbox.state() as state:
        state.database.execute("UPDATE scheduled_actions SET due_at = 0")
    background_thread.wake()
    wait_for(lambda: not running())
    assert stripe_sandbox.get(session.id)["payment_status"] == "paid"
    assert endpoint.received[-1][2] == "checkout.session.async_payment_succeeded"


def test_transfer_that_the_developer_settled_before_is_left_alone(endpoint, stripe_sandbox, checkout):
    session = checkout()
    stripe_sandbox.pay(session.id, "transfer_paid")
    stripe_sandbox.settle(session.id, is_paid=False)
    with stripe_sandbox.state() as state:
        state.database.execute("UPDATE scheduled_actions SET due_at = 0")
    background_thread.wake()
    wait_for(lambda: not running())
    assert stripe_sandbox.get(session.id)["payment_status"] == "unpaid"


def test_no_thread_runs_where_webhooks_are_not_sent(stripe_sandbox, checkout):
    checkout()
    background_thread.wake()
    assert running() == []
