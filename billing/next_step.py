"""The next step of a person whose request was refused for lack of money: a link to the page that helps."""

import uuid
from dataclasses import dataclass

from accounts.errors import VoxsiteError
from accounts.links import page_url
from accounts.models import Membership
from billing import ledger, money, pricing


@dataclass(frozen=True, slots=True)
class NextStep:
    """A link: its address and its text."""

    url: str
    text: str


def after(error: VoxsiteError, *, organization_id: uuid.UUID | None) -> NextStep | None:
    """Return the link, to a page of the organization, that helps after this error; None if it is not about money."""
    if error.http_status != 402:
        return None
    if isinstance(error, ledger.SpendLimitReached):
        if error.data.get("limit") == "key":
            return NextStep(url=page_url(organization_id, "keys"), text="See the limits of the keys")
        return NextStep(url=page_url(organization_id, "billing:settings") + "#limit", text="See the monthly limit")
    missing_cents = _missing_cents(error)
    if missing_cents <= 0:
        return NextStep(url=page_url(organization_id, "billing:billing"), text="See your balance")
    url = f"{page_url(organization_id, 'billing:top-up')}?needed={missing_cents}"
    return NextStep(url=url, text=top_up_text(missing_cents))


def top_up_text(missing_cents: int) -> str:
    """Return what a link to topping up says: the least that can be paid and helps."""
    amount_cents = pricing.payment_for_cents(missing_cents)
    if not amount_cents:
        # More than one payment is needed.
        return "Top up"
    return f"Top up {money.display_text(amount_cents * money.MICROS_PER_CENT)} or more"


def as_json(error: VoxsiteError, *, membership: Membership) -> dict[str, str] | None:
    """Return the link for a page's script; None for a member who may not pay."""
    step = after(error, organization_id=membership.organization_id)
    return {"url": step.url, "text": step.text} if step and membership.may_pay else None


def _missing_cents(error: VoxsiteError) -> int:
    """Return how much a top-up must bring to end the refusal, in cents, rounded up; 0 if money does not end it."""
    if isinstance(error, ledger.WalletFrozen):
        owed = error.data.get("debt_micros", 0)
        # Money does not end a dispute that left no debt.
        return money.cents_up(owed) if isinstance(owed, int) else 0
    required, available = error.data.get("required_micros"), error.data.get("available_micros")
    if not isinstance(required, int) or not isinstance(available, int):
        return 0
    return money.cents_up(required - available)
