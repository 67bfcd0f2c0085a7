"""The next step of a person whose request was refused for lack of money: a link to the page that helps."""

from dataclasses import dataclass

from django.urls import reverse

from accounts.errors import VoxsiteError
from billing import ledger, money


@dataclass(frozen=True, slots=True)
class NextStep:
    """A link: its address and its text."""

    url: str
    text: str


def after(error: VoxsiteError) -> NextStep | None:
    """Return the link that helps after this error; None if the error is not about money."""
    if error.http_status != 402:
        return None
    if isinstance(error, ledger.SpendLimitReached):
        if error.data.get("limit") == "key":
            return NextStep(url=reverse("keys"), text="See the limits of the keys")
        return NextStep(url=reverse("billing:settings") + "#limit", text="See the monthly limit")
    missing_cents = _missing_cents(error)
    if missing_cents <= 0:
        return NextStep(url=reverse("billing:billing"), text="See your balance")
    shown = money.display_text(missing_cents * money.MICROS_PER_CENT)
    return NextStep(url=f"{reverse('billing:top-up')}?needed={missing_cents}", text=f"Top up {shown} or more")


def as_json(error: VoxsiteError, *, may_pay: bool) -> dict[str, str] | None:
    """Return the link for a page's script; None for a member who may not pay."""
    step = after(error)
    return {"url": step.url, "text": step.text} if step and may_pay else None


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
