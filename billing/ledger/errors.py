"""Refusals of the ledger, as customers are told of them."""

from datetime import date
from typing import ClassVar

from django.conf import settings

from accounts.errors import Conflict, PaymentRequired
from billing import money, months


class ReferenceReused(Conflict):
    """The reference was used before for something else: another amount or another organization."""

    default_message = "This reference was used before for something else."


class HoldReleased(Conflict):
    """The hold was released, so nothing can be charged against it."""

    default_message = "The amount that was set aside has been given back."


class HoldSettled(Conflict):
    """The hold was charged, so it cannot be released or charged with another amount."""

    default_message = "The amount that was set aside has been charged."


class HoldLost(Conflict):
    """The hold is not in the database: the server crashed before it was on disk (`many_wallets.reserve_for_each`)."""

    default_message = "The amount that was set aside is not known any more."


class WalletFrozen(PaymentRequired):
    """The wallet admits nothing new: a payment is disputed, or was taken back after it was spent."""

    default_type: ClassVar[str] = "wallet_frozen"


class SpendLimitReached(PaymentRequired):
    """The balance covers the amount, but a limit that the customer set does not allow it.

    data: limit ("key", "organization" or "token"), limit_micros, left_micros, left_cents, resets_at (first moment of
    the next month, UTC; a token's limit has none), required_micros, required_cents.
    """

    default_type: ClassVar[str] = "spend_limit_reached"


def shortfall(*, required_micros: int, available_micros: int) -> PaymentRequired:
    """Return the refusal by a wallet that has too little available."""
    available_micros = max(0, available_micros)
    return PaymentRequired(
        f"This needs {money.display_text(required_micros)}, and {money.display_text(available_micros)} is available: "
        f"{money.display_text(required_micros - available_micros)} is missing. Add funds and try again.",
        required_cents=money.cents_up(required_micros),
        available_cents=money.cents_down(available_micros),
        required_micros=required_micros,
        available_micros=available_micros,
    )


def hidden_from_token() -> PaymentRequired:
    """Return the refusal of a token by anything but its own limit. Whoever has it may know nothing of the wallet."""
    return PaymentRequired("The site cannot pay for this now.")


def frozen(*, required_micros: int, debt_micros: int, is_debt_alone: bool) -> WalletFrozen:
    """Return the refusal by a frozen wallet.

    debt_micros: how much is owed, 0 for nothing.
    is_debt_alone: the debt is the only reason of the freeze, so that a payment ends it. Only then the message asks for
        money.
    """
    if not debt_micros:
        message = (
            "A payment of this organization is disputed, so its balance is frozen. "
            f"Please contact {settings.SUPPORT_EMAIL}."
        )
    elif is_debt_alone:
        message = (
            f"A payment was taken back after it was spent: {money.display_text(debt_micros)} is owed. "
            "Add funds to go on."
        )
    else:
        message = (
            f"A payment of this organization is disputed, and {money.display_text(debt_micros)} of it is owed. "
            f"The balance is frozen until the dispute is settled. Please contact {settings.SUPPORT_EMAIL}."
        )
    return WalletFrozen(
        message,
        required_cents=money.cents_up(required_micros),
        available_cents=0,
        required_micros=required_micros,
        available_micros=0,
        debt_micros=debt_micros,
    )


def limit_reached(
    *, limit: str, limit_micros: int, left_micros: int, required_micros: int, month: date
) -> SpendLimitReached:
    """Return the refusal by a limit. limit: "key", "organization" or "token"; month: the first day of the month."""
    resets_at = months.next_month(month)
    resets = {"resets_at": f"{resets_at:%Y-%m-%d} 00:00:00"}
    who = "API key" if limit == "key" else "organization"
    if limit == "token":
        resets = {}
        message = (
            f"This needs {money.display_text(required_micros)}, and {money.display_text(left_micros)} is left of this "
            f"token's spend limit of {money.display_text(limit_micros)}. Create another token."
        )
    elif limit_micros == 0:
        # Waiting for the next month would not help.
        message = (
            f"This needs {money.display_text(required_micros)}, and this {who} may spend nothing: its monthly limit is "
            "$0.00."
        )
    else:
        message = (
            f"This needs {money.display_text(required_micros)}, and {money.display_text(left_micros)} is left of this "
            f"{who}'s monthly limit of {money.display_text(limit_micros)}. It resets on {resets_at:%Y-%m-%d} "
            "(UTC)."
        )
    return SpendLimitReached(
        message,
        limit=limit,
        limit_micros=limit_micros,
        left_micros=left_micros,
        left_cents=money.cents_down(left_micros),
        **resets,
        required_cents=money.cents_up(required_micros),
        required_micros=required_micros,
    )
