"""Deliveries and events are deleted after some months, but not those that an operator may need."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from djstripe.models import Event, WebhookEventTrigger

from accounts.models import Organization
from billing import periodic, stripe_retention
from billing.models.payments import UnmatchedEvent
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import (
    deliver,
    dispute_of,
    event_of,
    intent_of,
    make_topup,
    refund_of,
    session_of,
    tell,
)
from tests.stripe import StripeSandbox

Grow = Callable[[int], None]


@pytest.fixture
def grow_old() -> Grow:
    def grow_old(days: int) -> None:
        past = timezone.now() - timedelta(days=days)
        WebhookEventTrigger.objects.update(created=past)
        Event.objects.update(djstripe_created=past)

    return grow_old


def purge_deliveries(*, batch_size: int = stripe_retention.BATCH_SIZE) -> int:
    return stripe_retention.purge_deliveries(now=timezone.now(), batch_size=batch_size)


def test_deliveries_go_after_90_days_and_events_stay(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    for _ in range(2):
        assert tell("checkout.session.completed", session_of(topup)) == 200
    grow_old(89)
    assert purge_deliveries() == 0
    grow_old(91)
    assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    assert (purge_deliveries(), purge_deliveries()) == (2, 0)
    assert WebhookEventTrigger.objects.count() == 1
    assert Event.objects.count() == 3


def test_days_are_a_setting(acme: Organization, grow_old: Grow, settings) -> None:
    assert tell("checkout.session.completed", session_of(make_topup(acme))) == 200
    grow_old(11)
    settings.STRIPE_DELIVERY_DAYS = 10
    assert purge_deliveries() == 1


def test_delivery_that_failed_stays(acme: Organization, grow_old: Grow) -> None:
    # A refund before its payment fails, so that Stripe sends it again.
    assert tell("refund.created", refund_of(make_topup(acme), 100)) == 500
    grow_old(1_000)
    assert purge_deliveries() == 0


def test_delivery_about_an_unmatched_event_stays_until_it_is_resolved(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, amount_total=1)) == 200
    assert tell("payment_intent.succeeded", intent_of(topup, amount_received=1)) == 200
    other = make_topup(acme)
    assert tell("checkout.session.completed", session_of(other)) == 200
    assert UnmatchedEvent.objects.count() >= 1
    grow_old(1_000)
    assert purge_deliveries() == 1
    UnmatchedEvent.objects.update(resolved_at=timezone.now())
    assert purge_deliveries() == 2


def test_refusals_go_too(stripe_sandbox: StripeSandbox, grow_old: Grow) -> None:
    assert stripe_sandbox.post({"id": "evt_1", "type": "any"}, secret="whsec_another") == 400
    assert WebhookEventTrigger.objects.count() == 1
    grow_old(91)
    assert purge_deliveries() == 1


def test_many_go_in_batches(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    for _ in range(5):
        tell("checkout.session.completed", session_of(topup))
    grow_old(91)
    assert purge_deliveries(batch_size=2) == 5


def purge_all(*, batch_size: int = stripe_retention.BATCH_SIZE) -> tuple[int, int]:
    """Return how many deliveries and how many events were deleted."""
    deliveries = purge_deliveries(batch_size=batch_size)
    return deliveries, stripe_retention.purge_events(now=timezone.now(), batch_size=batch_size)


def test_events_go_with_their_last_delivery(acme: Organization, grow_old: Grow) -> None:
    first, second = make_topup(acme), make_topup(acme)
    assert tell("checkout.session.completed", session_of(first)) == 200
    grow_old(89)
    assert purge_all() == (0, 0)
    event = event_of("checkout.session.completed", session_of(second))
    assert deliver(event) == 200
    grow_old(91)
    # Delivered again only now: the new delivery keeps its event.
    assert deliver(event) == 200
    assert purge_all() == (2, 1)
    assert Event.objects.get().id == event["id"]
    grow_old(91)
    assert purge_all() == (1, 1)


def test_event_stays_for_as_long_as_stripe_may_send_it_again_whatever_the_setting(
    acme: Organization, grow_old: Grow, settings
) -> None:
    settings.STRIPE_DELIVERY_DAYS = 1
    assert tell("checkout.session.completed", session_of(make_topup(acme))) == 200
    grow_old(29)
    assert purge_all() == (1, 0)
    grow_old(31)
    assert purge_all() == (0, 1)


def test_event_about_an_unmatched_event_stays_until_it_is_resolved(acme: Organization, grow_old: Grow) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, amount_total=1)) == 200
    # Its delivery is deleted, its payment is unmatched.
    WebhookEventTrigger.objects.all().delete()
    # An event about an object without an id: comparing NULL with the ids of unmatched events must not keep it.
    assert tell("checkout.session.completed", session_of(make_topup(acme))) == 200
    assert tell("balance.available", {"object": "balance"}) == 200
    grow_old(1_000)
    assert purge_all() == (2, 2)
    UnmatchedEvent.objects.update(resolved_at=timezone.now())
    assert purge_all() == (0, 1)


def test_delivery_that_waits_to_be_processed_keeps_its_event(acme: Organization, grow_old: Grow) -> None:
    assert tell("checkout.session.completed", session_of(make_topup(acme))) == 200
    WebhookEventTrigger.objects.update(processed=False)
    grow_old(1_000)
    assert purge_all() == (0, 0)


def test_events_go_in_batches(acme: Organization, grow_old: Grow) -> None:
    for _ in range(5):
        tell("checkout.session.completed", session_of(make_topup(acme)))
    grow_old(91)
    assert purge_all(batch_size=2) == (5, 5)


def test_event_that_comes_again_after_it_was_forgotten_moves_no_money(
    stripe_sandbox: StripeSandbox, acme: Organization, grow_old: Grow
) -> None:
    """Then only the top-up's row prevents a second credit."""
    topup = make_topup(acme)
    events = [
        event_of("checkout.session.completed", session_of(topup)),
        event_of("payment_intent.succeeded", intent_of(topup)),
        event_of("refund.created", refund_of(topup, 5_000)),
        event_of("charge.dispute.funds_withdrawn", dispute_of(topup, 1_000)),
        event_of("charge.dispute.funds_reinstated", dispute_of(topup, 1_000, status="won")),
    ]
    assert [deliver(event) for event in events] == [200] * 5
    before = money_of(acme)
    grow_old(91)
    assert purge_all(batch_size=2) == (5, 5)
    assert [deliver(event) for event in reversed(events)] == [200] * 5
    assert money_of(acme) == before


def test_clock_does_it(acme: Organization, grow_old: Grow) -> None:
    tell("checkout.session.completed", session_of(make_topup(acme)))
    grow_old(91)
    for _, duty in periodic.DUTIES:
        if duty in (periodic.forget_deliveries, periodic.forget_events):
            duty()
    assert not WebhookEventTrigger.objects.exists()
    assert not Event.objects.exists()
