"""Where a person who was refused for want of money may go, and what the way is called."""

from dataclasses import dataclass

from django.urls import reverse

from accounts.errors import VoxsiteError
from billing import ledger, money


@dataclass(frozen=True, slots=True)
class NextStep:
    """An address, and the words of the link to it."""

    url: str
    words: str


def after(error: VoxsiteError) -> NextStep | None:
    """Return what helps against a refusal for want of money; None if it was refused for another reason."""
    if error.http_status != 402:
        return None
    if isinstance(error, ledger.SpendLimitReached):
        if error.data.get("limit") == "key":
            return NextStep(url=reverse("keys"), words="See the limits of the keys")
        return NextStep(url=reverse("billing:settings") + "#limit", words="See the monthly limit")
    missing_cents = _missing_cents(error)
    if missing_cents <= 0:
        return NextStep(url=reverse("billing:billing"), words="See your balance")
    shown = money.display_text(missing_cents * money.MICROS_PER_CENT)
    return NextStep(url=f"{reverse('billing:top-up')}?needed={missing_cents}", words=f"Top up {shown} or more")


def _missing_cents(error: VoxsiteError) -> int:
    """Return what must come in for the refusal to end, rounded up to a cent."""
    if isinstance(error, ledger.WalletFrozen):
        owed = error.data.get("debt_micros", 0)
        # A dispute without a debt is not ended by money.
        return money.cents_up(owed) if isinstance(owed, int) else 0
    required, available = error.data.get("required_micros"), error.data.get("available_micros")
    if not isinstance(required, int) or not isinstance(available, int):
        return 0
    return money.cents_up(required - available)
