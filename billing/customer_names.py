"""Tells Stripe that an organization has another name, for the receipts and invoices to come.

A renaming writes down that Stripe is to be told, in its own transaction. The clock tells it, and again until Stripe has
answered.
"""

import logging
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.errors import UpstreamFailed
from accounts.models import Organization
from billing import stripe_api, stripe_calls
from billing.models.payments import Customer

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(hours=1)
MAX_PER_ROUND = 100


def mark(organization: Organization) -> None:
    """Write down that Stripe is to be told the name. Does nothing for an organization that Stripe does not know."""
    Customer.objects.filter(organization=organization).update(name_due_at=timezone.now())


def tell_stripe(*, now: datetime, max_count: int = MAX_PER_ROUND) -> int:
    """Tell Stripe the names that are due. Returns how many it has taken.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    due = Customer.objects.filter(name_due_at__lte=now).select_related("organization").order_by("name_due_at")
    told_count = 0
    for customer in due[:max_count]:
        assert customer.name_due_at is not None, "the filter above"
        later: datetime | None = None
        try:
            stripe_calls.rename_customer(
                customer.stripe_id, name=customer.organization.name, due_at=customer.name_due_at
            )
        except UpstreamFailed:
            logger.warning("Stripe was not told a new name of an organization. The next round tries again.")
            break
        except stripe_api.StripeMissing:
            logger.warning("Stripe does not know the customer %s any more.", customer.stripe_id)
        except stripe_api.StripeRefused:
            # `stripe_api` has logged the reason. Others must not wait for this one.
            later = now + RETRY_AFTER
        else:
            told_count += 1
        # Unless it was renamed meanwhile: then the newer name is due.
        Customer.objects.filter(pk=customer.pk, name_due_at=customer.name_due_at).update(name_due_at=later)
    return told_count
