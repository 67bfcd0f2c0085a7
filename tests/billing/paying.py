"""Checkouts that are paid at once."""

from accounts.models import Organization, User
from billing import topups
from billing.models.payments import TopUp
from tests.stripe import StripeSandbox

ADDRESSES = {"success_url": "http://localhost:8000/{TOPUP_ID}/", "cancel_url": "http://localhost:8000/"}


def pay(
    sandbox: StripeSandbox,
    organization: Organization,
    person: User,
    amount_cents: int = 20_000,
    *,
    save_card: bool = False,
    times: int = 1,
) -> TopUp:
    """Buy credit and deliver Stripe's events `times` times. Returns the top-up as it is then."""
    topup = topups.start_checkout(
        organization, amount_cents=amount_cents, person=person, save_card=save_card, **ADDRESSES
    ).topup
    sandbox.pay(topup.checkout_session_id)
    assert {status for _, status in sandbox.deliver(times=times)} == {200}
    return TopUp.objects.get(pk=topup.pk)
