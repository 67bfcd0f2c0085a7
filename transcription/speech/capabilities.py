"""The capabilities of a speech model, as far as they are known without loading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelCapabilities:
    """The capabilities of one model.

    engine: its name in results. languages: ISO 639-1 codes that a request may name. translates: into English.
    """

    engine: str
    languages: frozenset[str]
    translates: bool
