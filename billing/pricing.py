"""Prices and bonuses: tables and arithmetic. Pure; `tariff` has the rates of the models."""

from billing import money

CURRENCY = "usd"
EXPIRY_NOTE = "Credits expire after 6 months of account inactivity."
# Amounts offered for a top-up (VoxParse's published API, "Billing Products").
PRODUCTS_CENTS = (1_000, 5_000, 20_000, 50_000)
# (minimum amount in cents, bonus in percent), highest first. As VoxParse publishes them: $200 → $10, $500 → $50.
BONUS_TIERS = ((50_000, 10), (20_000, 5))
# Bounds of an amount that the payer types.
MIN_TOPUP_CENTS = 500
MAX_TOPUP_CENTS = 100_000


def transcription_price_micros(*, duration_ms: int, rate_micros_per_hour: int) -> int:
    """Return the price of audio of this length: per started second, rounded half up to one micro-dollar."""
    return money.price_for_duration(rate_micros_per_hour, duration_ms)


def bonus_cents(amount_cents: int) -> int:
    """Return the bonus of a payment, rounded down to whole cents."""
    percent = next((percent for from_cents, percent in BONUS_TIERS if amount_cents >= from_cents), 0)
    return amount_cents * percent // 100


def amount_for_credit_cents(credit_cents: int) -> int:
    """Return the smallest payment that brings at least this credit with its bonus, in cents.

    It may bring more: $205 are missing, $200 are paid, and with the bonus $210 come.
    """
    without_bonus = credit_cents
    for from_cents, percent in reversed(BONUS_TIERS):
        # Rounded up, because the bonus is rounded down: one cent more may be needed.
        amount_cents = max(from_cents, -(-credit_cents * 100 // (100 + percent)))
        while amount_cents + bonus_cents(amount_cents) < credit_cents:
            amount_cents += 1
        without_bonus = min(without_bonus, amount_cents)
    return without_bonus


def payment_for_cents(missing_cents: int) -> int:
    """Return the smallest payment that can be made and brings at least this credit. 0 if none brings so much."""
    amount_cents = max(MIN_TOPUP_CENTS, amount_for_credit_cents(missing_cents))
    return amount_cents if amount_cents <= MAX_TOPUP_CENTS else 0


def products_document() -> dict[str, object]:
    """Return the body of `/billing/products`. VoxParse's published API defines the keys and their order."""
    return {
        "products": [_product(amount_cents) for amount_cents in PRODUCTS_CENTS],
        "currency": CURRENCY,
        "note": EXPIRY_NOTE,
    }


def _product(amount_cents: int) -> dict[str, object]:
    bonus = bonus_cents(amount_cents)
    shown: dict[str, object] = {}
    for name, cents in (("amount", amount_cents), ("bonus", bonus), ("total_credit", amount_cents + bonus)):
        shown[f"{name}_cents"] = cents
        shown[f"{name}_dollars"] = money.dollars_text(cents * money.MICROS_PER_CENT)
    return shown
