"""Retention of stored webhook deliveries (dj-stripe's "webhook event triggers") and of the events in them.

Both are kept for STRIPE_DELIVERY_DAYS. A stored event is not processed again, so events are kept at least as long as
Stripe may resend them. If an event is resent later all the same, the top-up's and refund's rows show that it was
processed.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from djstripe.models import Event, WebhookEventTrigger

from billing.models.payments import UnmatchedEvent

BATCH_SIZE = 1000
# "List events, going back up to 30 days" (docs.stripe.com/api/events, read 2026-11-20): older ones cannot be resent.
STRIPE_KNOWS_EVENTS_FOR = timedelta(days=30)


def purge_deliveries(*, now: datetime, batch_size: int = BATCH_SIZE) -> int:
    """Delete old deliveries. Returns how many.

    Deliveries that a receiver failed to process are kept, and those about an unresolved unmatched event: an operator
    may need them.
    """
    # Of a refused delivery `webhook` stores only the reason and no body, so nothing in it could be needed.
    refused, done = Q(body=""), Q(processed=True)
    if unresolved_ids := _unresolved_ids():
        done &= ~Q(event__in=_events_about(unresolved_ids))
    old = WebhookEventTrigger.objects.filter(
        refused | done, created__lt=now - timedelta(days=settings.STRIPE_DELIVERY_DAYS)
    )
    return _delete(old, batch_size=batch_size)


def purge_events(*, now: datetime, batch_size: int = BATCH_SIZE) -> int:
    """Delete old events that have no stored delivery. Returns how many.

    Events about an unresolved unmatched event are kept, and those that Stripe may still resend.
    """
    kept_for = max(timedelta(days=settings.STRIPE_DELIVERY_DAYS), STRIPE_KNOWS_EVENTS_FOR)
    # Deliveries refer to their event by Stripe's id (DJSTRIPE_FOREIGN_KEY_TO_FIELD).
    delivered = WebhookEventTrigger.objects.filter(event=OuterRef("id"))
    old = Event.objects.filter(~Exists(delivered), djstripe_created__lt=now - kept_for)
    if unresolved_ids := _unresolved_ids():
        old = old.exclude(id__in=_events_about(unresolved_ids))
    return _delete(old, batch_size=batch_size)


def _delete(rows: QuerySet[Any], *, batch_size: int) -> int:
    count = 0
    # In batches: the first run may delete years of rows.
    while ids := list(rows.order_by("pk").values_list("pk", flat=True)[:batch_size]):
        count += rows.model.objects.filter(pk__in=ids).delete()[0]
    return count


def _events_about(stripe_ids: list[str]) -> QuerySet[Any]:
    events: QuerySet[Any] = Event.objects.filter(data__object__id__in=stripe_ids)
    return events.values("id")


def _unresolved_ids() -> list[str]:
    """Return Stripe's ids of unresolved unmatched events and of the payments that they are about."""
    rows = UnmatchedEvent.objects.filter(resolved_at=None).values_list("stripe_id", "details")
    return sorted({name for stripe_id, details in rows for name in (stripe_id, details.get("payment_intent")) if name})
