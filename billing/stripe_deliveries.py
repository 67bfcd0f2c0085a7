"""What Stripe's webhooks brought, letter by letter (dj-stripe's "webhook event triggers"): kept for some months.

The events themselves stay: they are what makes a second delivery of one do nothing.
"""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q
from djstripe.models import Event, WebhookEventTrigger

from billing.payments import ParkedEvent

BATCH_COUNT = 1000


def purge(*, now: datetime) -> int:
    """Delete old deliveries and refusals. Returns how many.

    What our receivers failed at stays, and what is about something that is parked and not resolved: an operator may
    still want to read it.
    """
    # Of what was refused at the door nothing is kept but the reason (`webhook`): no body, and nothing to look into.
    refused, done = Q(body=""), Q(processed=True)
    if parked_ids := _parked_ids():
        done &= ~Q(event__in=Event.objects.filter(data__object__id__in=parked_ids))
    old = WebhookEventTrigger.objects.filter(
        refused | done, created__lt=now - timedelta(days=settings.STRIPE_DELIVERY_DAYS)
    )
    count = 0
    # Not in one piece: the first time it may be years of them.
    while ids := list(old.order_by("pk").values_list("pk", flat=True)[:BATCH_COUNT]):
        count += WebhookEventTrigger.objects.filter(pk__in=ids).delete()[0]
    return count


def _parked_ids() -> list[str]:
    """Return Stripe's ids of what waits for an operator, and of the payments that it is about."""
    rows = ParkedEvent.objects.filter(resolved_at=None).values_list("stripe_id", "details")
    return sorted({name for stripe_id, details in rows for name in (stripe_id, details.get("payment_intent")) if name})
