"""Webhooks are signed, sent again until they are accepted, and duplicated, delayed or reordered by the settings."""

import json
import time

import pytest
import stripe
from django.conf import settings

from billing.sandbox import webhook_sender
from billing.sandbox.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store.sqlite3")


@pytest.fixture
def emit(store):
    """Emit events with these ids. Returns the ids."""

    def make(*ids):
        with store.transaction() as state:
            for event_id in ids:
                webhook_sender.enqueue(
                    state, state.put({"id": event_id, "object": "event", "type": "customer.created"})
                )
        return list(ids)

    return make


class Site:
    """A webhook endpoint that answers with these statuses, and then with 200."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.received = []

    def __call__(self, body, headers):
        stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], settings.STRIPE_WEBHOOK_SECRET, 300)
        self.received.append(json.loads(body)["id"])
        return self.statuses.pop(0) if self.statuses else 200


def set_settings(store, **values):
    with store.transaction() as state:
        for name, value in values.items():
            state.set_setting(name, value)


def make_due(store):
    """Make all pending webhooks due."""
    with store.transaction() as state:
        state.database.execute("UPDATE webhooks SET due_at = 0 WHERE is_done = 0")


def test_events_are_sent_once_in_order_and_signed(store, emit):
    ids, site = emit("evt_1", "evt_2", "evt_3"), Site()
    assert webhook_sender.send_due(store, post=site) == 0
    assert site.received == ids
    webhook_sender.send_due(store, post=site)
    assert site.received == ids


def test_duplicate_setting_sends_each_event_twice(store, emit):
    set_settings(store, duplicate="on")
    emit("evt_1")
    site = Site()
    webhook_sender.send_due(store, post=site)
    assert site.received == ["evt_1", "evt_1"]


def test_delay_setting_sends_events_late(store, emit):
    set_settings(store, delay_seconds="60")
    emit("evt_1")
    site = Site()
    assert webhook_sender.send_due(store, post=site) == 1
    assert site.received == []
    make_due(store)
    assert webhook_sender.send_due(store, post=site) == 0
    assert site.received == ["evt_1"]


def test_order_setting_reverses_events(store, emit):
    set_settings(store, order="reversed")
    ids, site = emit("evt_1", "evt_2", "evt_3"), Site()
    # The first event waits for the others.
    assert webhook_sender.send_due(store, post=site) == 3
    make_due(store)
    webhook_sender.send_due(store, post=site)
    assert site.received == ids[::-1]


@pytest.mark.parametrize("error", [0, 400, 500, 302])
def test_event_that_is_not_accepted_is_sent_again_later(store, emit, error):
    emit("evt_1")
    site = Site(error)
    assert webhook_sender.send_due(store, post=site) == 1
    assert webhook_sender.send_due(store, post=site) == 1
    assert site.received == ["evt_1"]
    make_due(store)
    assert webhook_sender.send_due(store, post=site) == 0
    assert site.received == ["evt_1", "evt_1"]


def test_event_is_given_up_after_the_last_attempt(store, emit):
    emit("evt_1")
    site = Site(*[500] * (webhook_sender.MAX_ATTEMPTS + 5))
    for _ in range(webhook_sender.MAX_ATTEMPTS + 5):
        webhook_sender.send_due(store, post=site)
        make_due(store)
    assert len(site.received) == webhook_sender.MAX_ATTEMPTS


def test_two_processes_do_not_send_the_same_event(store, emit):
    emit("evt_1")
    sent = []

    def meanwhile(body, headers):
        sent.append("first")
        # Another process sends while this one still waits for the response.
        webhook_sender.send_due(store, post=lambda *_: sent.append("second") or 200)
        return 200

    webhook_sender.send_due(store, post=meanwhile)
    assert sent == ["first"]


def test_signature_has_the_time_that_it_was_given():
    body, headers = webhook_sender.sign({"id": "evt_1"}, now=time.time() - 301)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], settings.STRIPE_WEBHOOK_SECRET, 300)
