"""What a payer who left Stripe's page can still do: go back to it while it is open, or close it.

Leaving the page ends nothing, at Stripe neither: it waits for a day. Money wins in every case: a page that was paid in
the moment in which it was to be closed cannot be closed, and what was paid is credited.
"""

from billing import stripe_api, stripe_calls, topups
from billing.models.payments import TopUp, TopUpState

CANCELLED = "You cancelled the payment. Nothing was charged."


def page_of(topup: TopUp) -> str:
    """Return the address of Stripe's page while it can be paid there, else nothing; the row is then as Stripe has it.

    Raises UpstreamFailed if Stripe does not answer. Waits for the network: call it outside of transactions.
    """
    url = topups.sync_checkout(topup) if _has_page(topup) else ""
    topup.refresh_from_db()
    return url


def cancel(topup: TopUp) -> TopUp:
    """Close the page on which a top-up waits for its payer, at Stripe first. Returns the row as it is then.

    It may be paid then, or on its way: or wait as before, if Stripe refuses while somebody is just paying.
    Raises UpstreamFailed if Stripe does not answer: perhaps it is closed, the clock will see. Waits for the network.
    """
    if _has_page(topup):
        try:
            stripe_calls.expire_checkout(topup.checkout_session_id)
        except (stripe_api.StripeRefused, stripe_api.StripeMissing):
            # It is not open any more: paid, in the hands of a bank, or over. Stripe says which.
            topups.sync_checkout(topup)
        else:
            topups.end(topup, state=TopUpState.EXPIRED, failure=CANCELLED)
            # Stripe's event may have come before its answer to us.
            over = TopUp.objects.filter(pk=topup.pk, state=TopUpState.EXPIRED, failure=topups.NOT_PAID)
            over.update(failure=CANCELLED)
    topup.refresh_from_db()
    return topup


def _has_page(topup: TopUp) -> bool:
    return topup.state == TopUpState.PENDING and bool(topup.checkout_session_id)
