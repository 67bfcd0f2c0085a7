"""The engine and diarizer of this site, chosen by its settings. The only module between `speech` and the settings."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings

from billing import tariff
from transcription.speech import registry
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.diarizers import service
from transcription.speech.diarizers.base import Diarizer
from transcription.speech.engines import protocol, remote, whisper_languages
from transcription.speech.engines.client import EngineClient
from transcription.speech.engines.remote import RemoteEngine

# The engine that works on any machine without a download. English only.
FALLBACK_ENGINE = "pocketsphinx"
FALLBACK_DIARIZER = "clustering"
# A worker gives up after this time without any engine process.
ENGINE_SECONDS = 300.0
# All languages that an engine may accept. Stated here, because the web process checks languages without an engine.
ENGINE_LANGUAGES: dict[str, frozenset[str]] = {
    "faster_whisper": frozenset(whisper_languages.LANGUAGES),
    "pocketsphinx": frozenset({"en"}),
}


def engine_name() -> str:
    """Return the short name of the engine that the engine process loads."""
    if settings.ENGINE != "auto":
        return str(settings.ENGINE)
    try:
        written_at = settings.ENGINE_CHOICE_FILE.stat().st_mtime_ns
    except OSError:
        return FALLBACK_ENGINE  # the engine process has not decided yet
    return _chosen(settings.ENGINE_CHOICE_FILE, written_at)


def remember_choice(name: str) -> None:
    """Write the decision of "auto" to a file for the other processes. Called by the engine process."""
    path: Path = settings.ENGINE_CHOICE_FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"engine": name}))
    partial.replace(path)


def diarizer_name() -> str:
    """Return the short name of the diarizer, or "none"."""
    return FALLBACK_DIARIZER if settings.DIARIZER == "auto" else settings.DIARIZER


def is_fallback() -> bool:
    """Tell whether the fallback engine recognises speech, so that pages can show a warning."""
    return engine_name() == FALLBACK_ENGINE


def capabilities() -> dict[str, ModelCapabilities]:
    """Return the capabilities of each model that has a price, by its name in the API."""
    return {model: _capabilities_of(model) for model in tariff.models()}


def languages() -> frozenset[str]:
    """Return the ISO 639-1 codes of all languages that at least one model accepts."""
    return frozenset().union(*(model.languages for model in capabilities().values()))


def language_names() -> dict[str, str]:
    """Return code -> English name of all languages, sorted by name."""
    names = {code: whisper_languages.LANGUAGES.get(code, code) for code in languages()}
    return dict(sorted(names.items(), key=lambda one: one[1]))


def silent_engines(*, timeout_seconds: float = 5) -> list[str]:
    """Return the addresses of this host's engine processes that do not answer. All are asked at the same time.

    A process that computes answers after its current clip, which may take a few seconds.
    """
    with ThreadPoolExecutor(max_workers=len(settings.ENGINE_SOCKETS)) as threads:
        answers = threads.map(lambda address: remote.health(address, timeout_seconds), settings.ENGINE_SOCKETS)
    return [address for address, answer in zip(settings.ENGINE_SOCKETS, answers, strict=True) if answer is None]


@contextmanager
def engine(
    *,
    model: str = "",
    job_id: str = "",
    priority: str = "standard",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[RemoteEngine]:
    """Yield an engine that uses the engine processes of this host.

    model: a key of WHISPER_MODELS, as the customer chose. job_id, priority: for fairness between jobs.
    should_stop: called at least twice a second. Stopped is raised when it returns true; its exceptions pass through.
    """
    client = RemoteEngine(
        settings.ENGINE_SOCKETS, model=model, job_id=job_id, priority=priority, should_stop=should_stop
    )
    try:
        yield client
    finally:
        client.close()


@contextmanager
def diarizer(*, job_id: str = "", should_stop: Callable[[], bool] = lambda: False) -> Iterator[Diarizer | None]:
    """Yield the diarizer, or None if the operator has turned speaker labels off."""
    name = diarizer_name()
    if name == "none":
        yield None
    elif name == "pyannote":
        client = EngineClient(settings.ENGINE_SOCKETS, timeout_seconds=ENGINE_SECONDS, should_stop=should_stop)
        try:
            yield _remote_diarizer(client, job_id=job_id)
        finally:
            client.cancel()  # the engine process stops this work at once and serves other jobs
            client.close()
    else:
        yield registry.load_diarizer(name)


def _capabilities_of(model: str) -> ModelCapabilities:
    """Return the capabilities of a model. Those of a Whisper model follow from its name, or the name of its folder."""
    engine = engine_name()
    if engine != "faster_whisper":
        return ModelCapabilities(engine=engine, languages=ENGINE_LANGUAGES[engine], translates=False)
    name = whisper_languages.label(settings.WHISPER_MODELS[model])
    languages = whisper_languages.languages_of(name)
    return ModelCapabilities(
        engine=f"faster-whisper/{name}",
        languages=languages,
        translates=whisper_languages.translates(name, languages),
    )


def _remote_diarizer(client: EngineClient, *, job_id: str) -> Diarizer:
    """Return a diarizer that uses pyannote in the engine process, since workers load no models."""

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        return client.ask({"kind": service.KIND, "job": job_id, **message})

    # Recordings are stored beside the socket, in a folder that worker and engine process share in any case.
    folder = protocol.socket_path(settings.ENGINE_SOCKETS[0]).parent
    return service.RemoteDiarizer("pyannote", ask=ask, max_seconds=settings.PYANNOTE_MAX_SECONDS, folder=folder)


@lru_cache(maxsize=1)
def _chosen(path: Path, written_at: int) -> str:
    try:
        name = json.loads(path.read_text())["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        return FALLBACK_ENGINE
    return name if name in ENGINE_LANGUAGES else FALLBACK_ENGINE
