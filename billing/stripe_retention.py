"""What Stripe's webhooks brought: the letters (dj-stripe's "webhook event triggers") and the events in them.

Both are kept for some months. An event that is stored is not acted on again, so it outlives Stripe's own memory of it;
were it sent once more after all, our rows know what was credited and what went back.
"""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db.models import Exists, OuterRef, Q, QuerySet
from djstripe.models import Event, WebhookEventTrigger

from billing.models.payments import UnmatchedEvent

BATCH_SIZE = 1000
# "List events, going back up to 30 days" (docs.stripe.com/api/events, read 2026-11-20): older ones nobody can resend.
STRIPE_KNOWS_EVENTS_FOR = timedelta(days=30)


def purge_deliveries(*, now: datetime) -> int:
    """Delete old deliveries and refusals. Returns how many.

    What our receivers failed at stays, and what is about something that is parked and not resolved: an operator may
    still want to read it.
    """
    # Of what was refused at the door nothing is kept but the reason (`webhook`): no body, and nothing to look into.
    refused, done = Q(body=""), Q(processed=True)
    if unresolved_ids := _unresolved_ids():
        done &= ~Q(event__in=_events_about(unresolved_ids))
    old = WebhookEventTrigger.objects.filter(
        refused | done, created__lt=now - timedelta(days=settings.STRIPE_DELIVERY_DAYS)
    )
    return _delete(old)


def purge_events(*, now: datetime) -> int:
    """Delete old events of which no delivery is kept any more (`purge`). Returns how many.

    What is about something that is parked and not resolved stays, and what Stripe may still send again.
    """
    kept_for = max(timedelta(days=settings.STRIPE_DELIVERY_DAYS), STRIPE_KNOWS_EVENTS_FOR)
    # Deliveries name their event by Stripe's id (DJSTRIPE_FOREIGN_KEY_TO_FIELD).
    delivered = WebhookEventTrigger.objects.filter(event=OuterRef("id"))
    old = Event.objects.filter(~Exists(delivered), djstripe_created__lt=now - kept_for)
    if unresolved_ids := _unresolved_ids():
        old = old.exclude(id__in=_events_about(unresolved_ids))
    return _delete(old)


def _delete(rows: QuerySet[Any]) -> int:
    count = 0
    # Not in one piece: the first time it may be years of them.
    while ids := list(rows.order_by("pk").values_list("pk", flat=True)[:BATCH_SIZE]):
        count += rows.model.objects.filter(pk__in=ids).delete()[0]
    return count


def _events_about(stripe_ids: list[str]) -> QuerySet[Any]:
    events: QuerySet[Any] = Event.objects.filter(data__object__id__in=stripe_ids)
    return events.values("id")


def _unresolved_ids() -> list[str]:
    """Return Stripe's ids of what waits for an operator, and of the payments that it is about."""
    rows = UnmatchedEvent.objects.filter(resolved_at=None).values_list("stripe_id", "details")
    return sorted({name for stripe_id, details in rows for name in (stripe_id, details.get("payment_intent")) if name})
