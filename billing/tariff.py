"""Prices by model name, from the settings: names of our models, and names of other APIs that stand for them."""

import re
from dataclasses import dataclass

from django.conf import settings

from accounts.errors import InvalidField
from billing import pricing

# A job keeps the name, and pages and statements show it.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,59}")


@dataclass(frozen=True, slots=True)
class PricedModel:
    """A model as a customer names it.

    underlying: our model that does the recognition; for our own models it is the same name. hour_micros: the price of
    one hour of audio in micro-dollars.
    """

    name: str
    underlying: str
    hour_micros: int


class UnpricedModel(InvalidField):
    """The model has no price, so it does not exist."""

    def __init__(self, model: str) -> None:
        super().__init__("model", f"There is no model '{model[:64]}'. Models: {', '.join(names())}.")


def models() -> list[str]:
    """Return the names of our own models, which is what our own API and the pages offer."""
    return list(settings.PRICES_PER_HOUR_MICROS)


def names() -> list[str]:
    """Return every name of a model that can be listed: of our own models, and of other APIs without a "*"."""
    return [*models(), *(name for name in settings.MODEL_NAMES if not name.endswith("*"))]


def model_named(name: str) -> PricedModel:
    """Return the model that a name of any API stands for, with the price of that name. Raises UnpricedModel."""
    own: dict[str, int] = settings.PRICES_PER_HOUR_MICROS
    if name in own:
        return PricedModel(name, underlying=name, hour_micros=own[name])
    known: dict[str, tuple[str, int | None]] = settings.MODEL_NAMES
    entry = known.get(name) if not name.endswith("*") else None
    if entry is None and _NAME.fullmatch(name):
        fitting = [each for each in known if each.endswith("*") and name.startswith(each[:-1]) and name != each[:-1]]
        entry = known[max(fitting, key=len)] if fitting else None
    if entry is None:
        raise UnpricedModel(name)
    underlying, hour_micros = entry
    return PricedModel(name, underlying=underlying, hour_micros=own[underlying] if hour_micros is None else hour_micros)


def rate_of(model: str) -> int:
    """Return the price of one hour of audio in micro-dollars. Raises UnpricedModel."""
    return model_named(model).hour_micros


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
