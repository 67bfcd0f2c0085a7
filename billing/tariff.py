"""Prices of the models, from the settings."""

from django.conf import settings

from accounts.errors import InvalidField
from billing import pricing


class UnpricedModel(InvalidField):
    """The model has no price, so it does not exist."""

    def __init__(self, model: str) -> None:
        super().__init__("model", f"There is no model '{model[:64]}'. Models: {', '.join(models())}.")


def models() -> list[str]:
    """Return the names of all models that have a price."""
    return list(settings.PRICES_PER_HOUR_MICROS)


def rate_of(model: str) -> int:
    """Return the price of one hour of audio in micro-dollars. Raises UnpricedModel."""
    rates: dict[str, int] = settings.PRICES_PER_HOUR_MICROS
    if model not in rates:
        raise UnpricedModel(model)
    return rates[model]


def price_of(model: str, duration_ms: int) -> int:
    """Return the price of audio of this length, in micro-dollars. Any length above 0 costs at least one second.

    Raises UnpricedModel.
    """
    return pricing.transcription_price_micros(duration_ms=duration_ms, rate_micros_per_hour=rate_of(model))


def price_table() -> list[dict[str, str | int]]:
    """Return a row for each model, for display: model, hour_micros and minute_micros (price in micro-dollars)."""
    return [
        {"model": model.capitalize(), "hour_micros": rate_of(model), "minute_micros": price_of(model, 60_000)}
        for model in models()
    ]
