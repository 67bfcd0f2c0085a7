"""Deliveries of Stripe's webhooks are forgotten after some months, but not what somebody may still want to read."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from djstripe.models import Event, WebhookEventTrigger

from accounts.models import Organization
from billing import duties, stripe_deliveries
from billing.payments import ParkedEvent
from tests.billing.stripe_objects import intent_of, make_topup, refund_of, session_of, tell
from tests.stripe import StripeSandbox

Grow = Callable[[int], None]


@pytest.fixture
def grow_old() -> Grow:
    def grow_old(days: int) -> None:
        WebhookEventTrigger.objects.update(created=timezone.now() - timedelta(days=days))

    return grow_old


def purge() -> int:
    return stripe_deliveries.purge(now=timezone.now())


def test_deliveries_go_after_90_days_and_events_stay(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    for _ in range(2):
        assert tell("checkout.session.completed", session_of(topup)) == 200
    grow_old(89)
    assert purge() == 0
    grow_old(91)
    assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    assert (purge(), purge()) == (2, 0)
    assert WebhookEventTrigger.objects.count() == 1
    assert Event.objects.count() == 3


def test_days_are_a_setting(acme: Organization, grow_old: Grow, settings) -> None:
    assert tell("checkout.session.completed", session_of(make_topup(acme))) == 200
    grow_old(11)
    settings.STRIPE_DELIVERY_DAYS = 10
    assert purge() == 1


def test_delivery_that_failed_stays(acme: Organization, grow_old: Grow) -> None:
    # A refund before its payment: Stripe shall send it again.
    assert tell("refund.created", refund_of(make_topup(acme), 100)) == 500
    grow_old(1_000)
    assert purge() == 0


def test_delivery_about_what_is_parked_stays_until_it_is_resolved(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, amount_total=1)) == 200
    assert tell("payment_intent.succeeded", intent_of(topup, amount_received=1)) == 200
    other = make_topup(acme)
    assert tell("checkout.session.completed", session_of(other)) == 200
    assert ParkedEvent.objects.count() >= 1
    grow_old(1_000)
    assert purge() == 1
    ParkedEvent.objects.update(resolved_at=timezone.now())
    assert purge() == 2


def test_refusals_go_too(stripe_sandbox: StripeSandbox, grow_old: Grow) -> None:
    assert stripe_sandbox.post({"id": "evt_1", "type": "any"}, secret="whsec_another") == 400
    assert WebhookEventTrigger.objects.count() == 1
    grow_old(91)
    assert purge() == 1


def test_many_go_in_batches(acme: Organization, grow_old: Grow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_deliveries, "BATCH_COUNT", 2)
    topup = make_topup(acme)
    for _ in range(5):
        tell("checkout.session.completed", session_of(topup))
    grow_old(91)
    assert purge() == 5


def test_clock_does_it(acme: Organization, grow_old: Grow) -> None:
    tell("checkout.session.completed", session_of(make_topup(acme)))
    grow_old(91)
    for _, duty in duties.DUTIES:
        if duty is duties.forget_deliveries:
            duty()
    assert not WebhookEventTrigger.objects.exists()
