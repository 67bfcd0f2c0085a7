"""Tells Stripe that an organization has another name, for the receipts and invoices to come.

A renaming writes down that Stripe is to be told, in its own transaction. The clock tells it, and again until Stripe has
answered.
"""

import logging
from datetime import datetime, timedelta

from django.core.cache import cache
from django.db.models import Case, Q, When
from django.utils import timezone

from accounts.errors import UpstreamFailed
from accounts.models import Organization
from billing import stripe_api, stripe_calls
from billing.models.payments import Customer

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(hours=1)
MAX_PER_ROUND = 100
# At which customer a round ended because Stripe failed. The next round begins after it: it may be that one alone.
PLACE = "customer-names:failed-at"
PLACE_SECONDS = 24 * 3600


def mark(organization: Organization) -> None:
    """Write down that Stripe is to be told the name. Does nothing for an organization that Stripe does not know."""
    Customer.objects.filter(organization=organization).update(name_due_at=timezone.now())


def tell_stripe(*, now: datetime, max_count: int = MAX_PER_ROUND) -> int:
    """Tell Stripe the names that are due. Returns how many it has taken.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    due = Customer.objects.filter(name_due_at__lte=now).select_related("organization").order_by("name_due_at", "pk")
    if place := cache.get(PLACE):
        after = Q(name_due_at__gt=place[0]) | Q(name_due_at=place[0], pk__gt=place[1])
        due = due.order_by(Case(When(after, then=0), default=1), "name_due_at", "pk")
    told_count = 0
    for customer in due[:max_count]:
        assert customer.name_due_at is not None, "the filter above"
        later: datetime | None = None
        try:
            stripe_calls.rename_customer(
                customer.stripe_id, name=customer.organization.name, due_at=customer.name_due_at
            )
        except UpstreamFailed:
            logger.warning("Stripe was not told a new name of an organization. The next round begins with another one.")
            cache.set(PLACE, (customer.name_due_at, customer.pk), timeout=PLACE_SECONDS)
            break
        except stripe_api.StripeMissing:
            logger.warning("Stripe does not know the customer %s any more.", customer.stripe_id)
        except stripe_api.StripeRefused:
            # `stripe_api` has logged the reason. Others must not wait for this one.
            later = now + RETRY_AFTER
        except Exception:  # As above.
            logger.exception("The new name of customer %s could not be told.", customer.stripe_id)
            later = now + RETRY_AFTER
        else:
            told_count += 1
        # Unless it was renamed meanwhile: then the newer name is due.
        Customer.objects.filter(pk=customer.pk, name_due_at=customer.name_due_at).update(name_due_at=later)
    return told_count
