"""Checkouts: started only, or paid at once."""

from typing import Any

from accounts.models import Organization, User
from billing import topups
from billing.models.payments import TopUp
from tests.stripe import StripeSandbox

# Events of a payment that the site stores and does not act on (`stripe_events`). They are lost here, to save time.
NOT_ACTED_ON = ("payment_intent.created", "payment_method.attached", "customer.created", "invoice.created")
ADDRESSES = {
    "success_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/success/",
    "cancel_url": "http://localhost:8000/billing/top-up/{TOPUP_ID}/cancelled/",
}
# How Stripe can fail to answer (`StripeSandbox.failing`).
DEAD = ("refused", "error", "timeout")


def start(organization: Organization, person: User, amount_cents: int = 20_000, **fields: Any) -> topups.Checkout:
    """Start a checkout; its payer has not paid yet."""
    return topups.start_checkout(
        organization, **{"amount_cents": amount_cents, "person": person, "save_card": False, **ADDRESSES, **fields}
    )


def pay(
    sandbox: StripeSandbox,
    organization: Organization,
    person: User,
    amount_cents: int = 20_000,
    *,
    save_card: bool = False,
    times: int = 1,
) -> TopUp:
    """Buy credit and let the events that the site acts on happen. Returns the top-up as it is then.

    times: how often each event arrives. More than once they come over HTTP, as Stripe repeats them.
    """
    topup = start(organization, person, amount_cents, save_card=save_card).topup
    sandbox.pay(topup.checkout_session_id)
    if times == 1:
        sandbox.let_happen(drop=NOT_ACTED_ON)
    else:
        assert {status for _, status in sandbox.deliver(times=times, drop=NOT_ACTED_ON)} == {200}
    return TopUp.objects.get(pk=topup.pk)
