"""The models on sale and their prices, by the names that customers use. Read from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.conf import settings

from apex import wire
from apex.errors import UnknownModel
from apex.usage_meter import Rates
from billing import money

# The fields of an entry of settings.APEX_MODELS, and those that it may have.
FIELDS = ("upstream", "prompt_micros", "completion_micros", "max_completion_tokens")
OPTIONAL_FIELDS = ("cached_prompt_micros", "temperature", "limit_field")


@dataclass(frozen=True, slots=True)
class Model:
    """One model.

    name: the name that customers use.
    upstream_name: the name that upstreams use.
    max_completion_tokens: the upper limit for every request.
    temperature: sent upstream for requests that state none; None if nothing is sent.
    limit_field: the only name of the limit of tokens that the upstream knows for this model; None if it knows both.
    """

    name: str
    upstream_name: str
    rates: Rates
    max_completion_tokens: int
    temperature: float | None = None
    limit_field: str | None = None

    @property
    def price_text(self) -> str:
        """The price as pages show it: "$0.30 per million input tokens, $0.45 per million output tokens"."""
        read, written = money.display_text(self.rates.prompt_micros), money.display_text(self.rates.completion_micros)
        if self.rates.cached_prompt_micros is not None:
            read += f" ({money.display_text(self.rates.cached_prompt_micros)} if cached)"
        return f"{read} per million input tokens, {written} per million output tokens"


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
        rates=Rates(
            prompt_micros=entry["prompt_micros"],
            completion_micros=entry["completion_micros"],
            cached_prompt_micros=entry.get("cached_prompt_micros"),
        ),
        max_completion_tokens=entry["max_completion_tokens"],
        temperature=entry.get("temperature"),
        limit_field=entry.get("limit_field"),
    )


def faults(entries: object) -> list[str]:
    """Return one sentence for each fault in the value of APEX_MODELS; an empty list if it is valid."""
    if not isinstance(entries, Mapping) or not entries:
        return ["APEX_MODELS must name at least one model."]
    return [fault for name, entry in entries.items() for fault in _faults_of(name, entry)]


def _faults_of(name: object, entry: object) -> list[str]:
    if not isinstance(name, str) or not name:
        return [f"A model is called {name!r}; a name is a text."]
    if not isinstance(entry, Mapping) or set(entry) - set(OPTIONAL_FIELDS) != set(FIELDS):
        must, may = ", ".join(FIELDS), ", ".join(OPTIONAL_FIELDS)
        return [f"The model {name!r} must have exactly these fields: {must}. It may have these too: {may}."]
    found = []
    if not isinstance(entry["upstream"], str) or not entry["upstream"]:
        found.append(f"The upstream name of the model {name!r} must be a text.")
    # A price of zero is refused, because it is more likely a mistake than intended.
    for field in (*FIELDS[1:], *(OPTIONAL_FIELDS[:1] if OPTIONAL_FIELDS[0] in entry else ())):
        value = entry[field]
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            found.append(f"{field} of the model {name!r} must be a positive whole number.")
    # The hold is made before it is known what the upstream has in its cache, so it must pay for everything.
    if not found and entry.get("cached_prompt_micros", 0) > entry["prompt_micros"]:
        found.append(f"cached_prompt_micros of the model {name!r} must be at most its prompt_micros.")
    temperature = entry.get("temperature", 0)
    if not isinstance(temperature, int | float) or isinstance(temperature, bool) or not 0 <= temperature <= 2:
        found.append(f"temperature of the model {name!r} must be a number from 0 to 2.")
    if entry.get("limit_field", wire.LIMIT_FIELDS[0]) not in wire.LIMIT_FIELDS:
        found.append(f"limit_field of the model {name!r} must be one of: {', '.join(wire.LIMIT_FIELDS)}.")
    return found
