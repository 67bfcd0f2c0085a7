"""Which engine and diarizer this site runs, by its settings: the place where the speech room meets the site."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from transcription.speech import registry
from transcription.speech.diarizers.base import Diarizer
from transcription.speech.engines.base import Engine
from transcription.speech.engines.remote import RemoteEngine

# The recogniser that works on a fresh machine, without any download. English only.
FALLBACK_ENGINE = "pocketsphinx"
FALLBACK_DIARIZER = "clustering"
# ISO 639-1 codes. Kept here and not asked of the engine: the web process must not load one to refuse a language.
ENGINE_LANGUAGES: dict[str, frozenset[str]] = {"pocketsphinx": frozenset({"en"})}


def engine_name() -> str:
    """Return the short name of the engine that the engine process loads."""
    return FALLBACK_ENGINE if settings.ENGINE == "auto" else settings.ENGINE


def diarizer_name() -> str:
    """Return the short name of the diarizer, or "none"."""
    return FALLBACK_DIARIZER if settings.DIARIZER == "auto" else settings.DIARIZER


def is_fallback() -> bool:
    """Tell whether speech is recognised by the development engine, so that pages and results can say so."""
    return engine_name() == FALLBACK_ENGINE


def languages() -> frozenset[str]:
    """Return the ISO 639-1 codes that can be asked for."""
    return ENGINE_LANGUAGES[engine_name()]


@contextmanager
def engine() -> Iterator[Engine]:
    """Give a client of the engine process for as long as the block runs."""
    client = RemoteEngine(settings.ENGINE_SOCKET)
    try:
        yield client
    finally:
        client.close()


def diarizer() -> Diarizer | None:
    """Return the diarizer, or None where the operator wants no speaker labels."""
    name = diarizer_name()
    return None if name == "none" else registry.load_diarizer(name)
