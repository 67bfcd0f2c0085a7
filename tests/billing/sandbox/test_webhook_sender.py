"""Webhooks as Stripe sends them: signed, again and again until they are taken, and badly if asked to."""

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
def happen(store):
    """Let events happen; return their ids."""

    def make(*ids):
        with store.change() as state:
            for event_id in ids:
                webhook_sender.take(state, state.put({"id": event_id, "object": "event", "type": "thing.happened"}))
        return list(ids)

    return make


class Site:
    """A site that takes what comes, or does not."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)
        self.came = []

    def __call__(self, body, headers):
        stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], settings.STRIPE_WEBHOOK_SECRET, 300)
        self.came.append(json.loads(body)["id"])
        return self.statuses.pop(0) if self.statuses else 200


def turn(store, **knobs):
    with store.change() as state:
        for name, value in knobs.items():
            state.turn(name, value)


def let_time_pass(store):
    """Make everything due that waits."""
    with store.change() as state:
        state.database.execute("UPDATE deliveries SET due_at = 0 WHERE is_done = 0")


def test_events_come_once_in_their_order_and_signed(store, happen):
    ids, site = happen("evt_1", "evt_2", "evt_3"), Site()
    assert webhook_sender.carry(store, post=site) == 0
    assert site.came == ids
    webhook_sender.carry(store, post=site)
    assert site.came == ids


def test_twice_if_asked_to(store, happen):
    turn(store, duplicate="on")
    happen("evt_1")
    site = Site()
    webhook_sender.carry(store, post=site)
    assert site.came == ["evt_1", "evt_1"]


def test_late_if_asked_to(store, happen):
    turn(store, late="60")
    happen("evt_1")
    site = Site()
    assert webhook_sender.carry(store, post=site) == 1
    assert site.came == []
    let_time_pass(store)
    assert webhook_sender.carry(store, post=site) == 0
    assert site.came == ["evt_1"]


def test_backwards_if_asked_to(store, happen):
    turn(store, order="reversed")
    ids, site = happen("evt_1", "evt_2", "evt_3"), Site()
    # The first waits for those that come after it.
    assert webhook_sender.carry(store, post=site) == 3
    let_time_pass(store)
    webhook_sender.carry(store, post=site)
    assert site.came == ids[::-1]


@pytest.mark.parametrize("refusal", [0, 400, 500, 302])
def test_what_was_not_taken_comes_again_later(store, happen, refusal):
    happen("evt_1")
    site = Site(refusal)
    assert webhook_sender.carry(store, post=site) == 1
    assert webhook_sender.carry(store, post=site) == 1
    assert site.came == ["evt_1"]
    let_time_pass(store)
    assert webhook_sender.carry(store, post=site) == 0
    assert site.came == ["evt_1", "evt_1"]


def test_hopeless_event_is_given_up(store, happen):
    happen("evt_1")
    site = Site(*[500] * (webhook_sender.ATTEMPTS + 5))
    for _ in range(webhook_sender.ATTEMPTS + 5):
        webhook_sender.carry(store, post=site)
        let_time_pass(store)
    assert len(site.came) == webhook_sender.ATTEMPTS


def test_two_processes_do_not_carry_the_same(store, happen):
    happen("evt_1")
    came = []

    def meanwhile(body, headers):
        came.append("first")
        # Another process looks while this one still waits for the answer.
        webhook_sender.carry(store, post=lambda *_: came.append("second") or 200)
        return 200

    webhook_sender.carry(store, post=meanwhile)
    assert came == ["first"]


def test_signature_of_long_ago_is_as_old_as_it_says():
    body, headers = webhook_sender.signed({"id": "evt_1"}, now=time.time() - 301)
    with pytest.raises(stripe.SignatureVerificationError):
        stripe.WebhookSignature.verify_header(body, headers["Stripe-Signature"], settings.STRIPE_WEBHOOK_SECRET, 300)


def test_change_that_fails_leaves_nothing(store, happen):
    def change():
        with store.change() as state:
            state.put({"id": "cus_1", "object": "customer"})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change()
    with store.change() as state:
        assert state.find("cus_1") is None
