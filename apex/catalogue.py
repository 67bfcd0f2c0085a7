"""The models on sale and their prices, by the names that customers use. Read from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from apex.errors import UnknownModel
from apex.usage_meter import Rates
from billing import money

# The fields of an entry of settings.APEX_MODELS.
FIELDS = ("upstream", "prompt_micros", "completion_micros", "max_completion_tokens")


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    name: the name that customers use.
    upstream_name: the name that upstreams use.
    max_completion_tokens: the upper limit for every request.
    """

    name: str
    upstream_name: str
    rates: Rates
    max_completion_tokens: int

    @property
    def price_text(self) -> str:
        """The price as pages show it: "$0.30 per million tokens read, $0.45 per million written"."""
        read, written = money.display_text(self.rates.prompt_micros), money.display_text(self.rates.completion_micros)
        return f"{read} per million tokens read, {written} per million written"


def find(name: str) -> Model:
    """Return the model of that name. Raises UnknownModel."""
    found = models().get(name)
    if found is None:
        raise UnknownModel(name, known=list(models()))
    return found


def models() -> dict[str, Model]:
    """Return all models by name."""
    return _read(tuple((name, tuple(entry.items())) for name, entry in settings.APEX_MODELS.items()))


@lru_cache(maxsize=4)
def _read(entries: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]) -> dict[str, Model]:
    return {name: _model(name, dict(entry)) for name, entry in entries}


def _model(name: str, entry: Mapping[str, Any]) -> Model:
    return Model(
        name=name,
        upstream_name=entry["upstream"],
        rates=Rates(prompt_micros=entry["prompt_micros"], completion_micros=entry["completion_micros"]),
        max_completion_tokens=entry["max_completion_tokens"],
    )


def faults(entries: object) -> list[str]:
    """Return one sentence for each fault in the value of APEX_MODELS; an empty list if it is valid."""
    if not isinstance(entries, Mapping) or not entries:
        return ["APEX_MODELS must name at least one model."]
    return [fault for name, entry in entries.items() for fault in _faults_of(name, entry)]


def _faults_of(name: object, entry: object) -> list[str]:
    if not isinstance(name, str) or not name:
        return [f"A model is called {name!r}; a name is a text."]
    if not isinstance(entry, Mapping) or set(entry) != set(FIELDS):
        return [f"The model {name!r} must have exactly these fields: {', '.join(FIELDS)}."]
    found = []
    if not isinstance(entry["upstream"], str) or not entry["upstream"]:
        found.append(f"The upstream name of the model {name!r} must be a text.")
    # A price of zero is refused, because it is more likely a mistake than intended.
    for field in FIELDS[1:]:
        value = entry[field]
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            found.append(f"{field} of the model {name!r} must be a positive whole number.")
    return found
