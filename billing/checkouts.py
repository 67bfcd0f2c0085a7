"""Open checkouts: a payer who left Stripe's pay page may go back to it while it is open, or cancel it.

Leaving the page ends nothing: it stays open at Stripe for a day. A payment always wins over a cancellation: a page that
was paid cannot be closed, and the payment is credited.
"""

from billing import stripe_api, stripe_calls, topups
from billing.models.payments import TopUp, TopUpState

CANCELLED = "You canceled the payment. Nothing was charged."


def page_of(topup: TopUp) -> str:
    """Return the address of Stripe's pay page, empty if it is closed. Updates the row to Stripe's state.

    Raises UpstreamFailed if Stripe does not answer. Waits for the network: call it outside transactions.
    """
    url = topups.sync_checkout(topup) if _has_page(topup) else ""
    topup.refresh_from_db()
    return url


def cancel(topup: TopUp) -> TopUp:
    """Close the pay page of a top-up at Stripe, then end the top-up. Returns the row as it is then.

    The returned row may be paid or PROCESSING, or still PENDING if Stripe refused because somebody is paying right now.
    Raises UpstreamFailed if Stripe does not answer; the page may or may not be closed, and `topups.sweep` finds out.
    Waits for the network.
    """
    if _has_page(topup):
        try:
            stripe_calls.expire_checkout(topup.checkout_session_id)
        except (stripe_api.StripeRefused, stripe_api.StripeMissing):
            # The page is not open: paid, at the bank, or expired. Ask Stripe which.
            topups.sync_checkout(topup)
        else:
            topups.end(topup, state=TopUpState.EXPIRED, failure=CANCELLED)
            # Stripe's event may have arrived before its answer and stored the other reason.
            expired = TopUp.objects.filter(pk=topup.pk, state=TopUpState.EXPIRED, failure=topups.NOT_PAID)
            expired.update(failure=CANCELLED)
    topup.refresh_from_db()
    return topup


def _has_page(topup: TopUp) -> bool:
    return topup.state == TopUpState.PENDING and bool(topup.checkout_session_id)
