"""What a model is offered for, as far as can be told without loading it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModelCapabilities:
    """One model that customers can name.

    engine: as results name it. languages: ISO 639-1 codes that can be asked for. translates: into English.
    """

    engine: str
    languages: frozenset[str]
    translates: bool
