"""Reads and shows `POST /add-funds`. Pure.

Source: the README of @transcribe-api/sdk 0.1.10, "Manual addFunds for webhooks", read 2026-11-29. It does not say what
the answer has.
"""

import math
from collections.abc import Mapping
from typing import Any, Protocol

from accounts.errors import InvalidField, MissingField
from transcription.dialects.transcribeapi.answers import dollars

MIN_DOLLARS, MAX_DOLLARS = 5, 100


class Outcome(Protocol):
    """What came of it, as `billing.added_funds` says. state: "completed", "pending" or "not_needed"."""

    @property
    def state(self) -> str: ...
    @property
    def amount_cents(self) -> int: ...
    @property
    def bonus_cents(self) -> int: ...
    @property
    def was_charged_before(self) -> bool: ...
    @property
    def available_micros(self) -> int: ...


def read(body: Mapping[str, Any]) -> tuple[int, int | None]:
    """Return (cents to charge, micro-dollars below which it is done, or None). Raises MissingField and InvalidField."""
    amount = body.get("amount")
    if amount is None:
        raise MissingField("amount", "amount is required: whole dollars from 5 to 100.")
    # The packages send a whole number; JSON of other languages may have it as 10.0.
    if (
        isinstance(amount, bool)
        or not isinstance(amount, int | float)
        or amount != math.floor(_finite(amount, "amount"))
    ):
        raise InvalidField("amount", f"amount must be whole dollars from {MIN_DOLLARS} to {MAX_DOLLARS}.")
    if not MIN_DOLLARS <= amount <= MAX_DOLLARS:
        raise InvalidField("amount", f"amount must be whole dollars from {MIN_DOLLARS} to {MAX_DOLLARS}.")
    below = body.get("if_balance_below")
    if below is None:
        return int(amount) * 100, None
    if isinstance(below, bool) or not isinstance(below, int | float) or _finite(below, "if_balance_below") < 0:
        raise InvalidField("if_balance_below", "if_balance_below must be a number of dollars, at least 0.")
    # More than anybody has is as good as always; the database could not hold it.
    return int(amount) * 100, round(min(below, 1_000_000) * 1_000_000)


def show(outcome: Outcome) -> dict[str, Any]:
    """Return the answer. `remaining_balance` is what can be spent now."""
    return {
        "status": outcome.state,
        "charged": outcome.state == "completed",
        "already_charged": outcome.was_charged_before,
        "amount": outcome.amount_cents / 100,
        "bonus": outcome.bonus_cents / 100,
        "remaining_balance": dollars(outcome.available_micros),
    }


def _finite(value: float, name: str) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidField(name, f"{name} is too large.")
    return number
