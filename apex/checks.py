"""System checks: the site does not start with impossible models, prices or upstreams."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error

from apex import catalogue


def register() -> None:
    checks.register(models_have_prices)
    checks.register(upstreams_have_addresses)


def models_have_prices(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report each fault in APEX_MODELS."""
    return [Error(fault, hint="Set APEX_MODELS.", id="apex.E001") for fault in catalogue.faults(settings.APEX_MODELS)]


def upstreams_have_addresses(app_configs: Sequence[Any] | None, **_: Any) -> list[CheckMessage]:
    """Report upstreams that cannot be called. Private addresses are allowed, because the operator chose them."""
    found: list[CheckMessage] = []
    for entry in settings.APEX_UPSTREAMS:
        parts = urlsplit(entry["base_url"])
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            found.append(
                Error(
                    f"The base URL of {entry['name']} must begin with http:// or https:// and name a host.",
                    hint="An example: https://openrouter.ai/api/v1",
                    id="apex.E002",
                )
            )
        names = entry["model_names"]
        if not isinstance(names, dict) or any(not isinstance(text, str) for pair in names.items() for text in pair):
            found.append(
                Error(
                    f"The model names of {entry['name']} must be a JSON object of texts.",
                    hint="It maps our upstream names to those of this upstream.",
                    id="apex.E003",
                )
            )
    return found
