"""Which engine and diarizer this site runs, by its settings: the place where the speech room meets the site."""

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

# The recogniser that works on a fresh machine, without any download. English only.
FALLBACK_ENGINE = "pocketsphinx"
FALLBACK_DIARIZER = "clustering"
# How long no engine process may be there before a worker gives up.
ENGINE_SECONDS = 300.0
# ISO 639-1 codes, at most. Kept here and not asked of the engine: the web process must not load one to refuse one.
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
        return FALLBACK_ENGINE  # the engine process has not chosen yet
    return _chosen(settings.ENGINE_CHOICE_FILE, written_at)


def remember_choice(name: str) -> None:
    """Tell the other processes what "auto" came to. The engine process calls it."""
    path: Path = settings.ENGINE_CHOICE_FILE
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps({"engine": name}))
    partial.replace(path)


def diarizer_name() -> str:
    """Return the short name of the diarizer, or "none"."""
    return FALLBACK_DIARIZER if settings.DIARIZER == "auto" else settings.DIARIZER


def is_fallback() -> bool:
    """Tell whether speech is recognised by the development engine, so that pages and results can say so."""
    return engine_name() == FALLBACK_ENGINE


def capabilities() -> dict[str, ModelCapabilities]:
    """Return what each model that has a price does here, by the name that customers choose."""
    return {model: _capabilities_of(model) for model in tariff.models()}


def languages() -> frozenset[str]:
    """Return the ISO 639-1 codes that can be asked for, of one model at least."""
    return frozenset().union(*(model.languages for model in capabilities().values()))


def language_names() -> dict[str, str]:
    """Return the English name of every language that can be asked for, by code and in the order of names."""
    names = {code: whisper_languages.LANGUAGES.get(code, code) for code in languages()}
    return dict(sorted(names.items(), key=lambda one: one[1]))


def silent_engines(*, timeout_seconds: float = 5) -> list[str]:
    """Return the addresses of this host's engine processes that do not answer. All are asked at the same time.

    While an engine computes, it answers after the clip at hand, which may take a few seconds.
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
    """Give a client of this host's engine processes for as long as the block runs.

    model: what the customer chose, a key of WHISPER_MODELS. job_id, priority: whose clips these are, for fairness.
    should_stop: asked twice a second at least; when it returns true or raises, so does the recognition.
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
    """Give the diarizer for as long as the block runs, or None where the operator wants no speaker labels."""
    name = diarizer_name()
    if name == "none":
        yield None
    elif name == "pyannote":
        client = EngineClient(settings.ENGINE_SOCKETS, timeout_seconds=ENGINE_SECONDS, should_stop=should_stop)
        try:
            yield _remote_diarizer(client, job_id=job_id)
        finally:
            client.cancel()  # whoever was told to stop leaves the model to others at once
            client.close()
    else:
        yield registry.load_diarizer(name)


def _capabilities_of(model: str) -> ModelCapabilities:
    """Judge a Whisper model by its name, which says what it was trained for; a folder should be named so too."""
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
    """Return pyannote, which lives in the engine process: workers load no model."""

    def ask(message: dict[str, Any]) -> dict[str, Any]:
        client.submit({"kind": service.KIND, "job": job_id, **message}, [])
        while (answer := client.receive(wait_seconds=1.0)) is None:
            pass
        return answer[1]

    # Recordings wait beside the socket: a folder that worker and engine share in any case.
    folder = protocol.socket_path(settings.ENGINE_SOCKETS[0]).parent
    return service.RemoteDiarizer("pyannote", ask=ask, max_seconds=settings.PYANNOTE_MAX_SECONDS, folder=folder)


@lru_cache(maxsize=1)
def _chosen(path: Path, written_at: int) -> str:
    try:
        name = json.loads(path.read_text())["engine"]
    except (OSError, ValueError, KeyError, TypeError):
        return FALLBACK_ENGINE
    return name if name in ENGINE_LANGUAGES else FALLBACK_ENGINE
