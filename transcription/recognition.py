"""The engine and diarizer of this site, chosen by its settings. The only module between `speech` and the settings."""

import os
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
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.client import EngineClient
from transcription.speech.engines.remote import RemoteEngine

# Its networks are files of this package; without them it clusters.
DEFAULT_DIARIZER = "neural"
# A worker gives up after this time without any engine process.
ENGINE_SECONDS = 300.0
# All languages that an engine may accept. Stated here, because the web process checks languages without an engine.
ENGINE_LANGUAGES: dict[str, frozenset[str]] = {
    WHISPER: frozenset(whisper_languages.LANGUAGES),
    LAST_RESORT: frozenset({"en"}),
}


def engine_name() -> str:
    """Return the short name of the engine that the engine process has loaded, or is about to load."""
    return choice().engine


def choice() -> Choice:
    """Return which engine this site has: the one in the settings, or what the engine process made of "auto"."""
    if settings.ENGINE != "auto":
        return Choice(str(settings.ENGINE))
    try:
        found = settings.ENGINE_CHOICE_FILE.stat()
    except OSError:
        return Choice(LAST_RESORT)  # no engine process has begun yet
    return _chosen(settings.ENGINE_CHOICE_FILE, (found.st_mtime_ns, found.st_ino))


def remember_choice(made: Choice) -> None:
    """Write what "auto" came to, so far, to a file for the other processes. Called by the engine process."""
    path: Path = settings.ENGINE_CHOICE_FILE
    partial = path.with_suffix(f".partial-{os.getpid()}")  # several engine processes may choose at once
    partial.write_text(made.to_json())
    partial.replace(path)


def waiting_note() -> str:
    """Return a sentence on the model that is still looked for or downloaded; "" if there is nothing to wait for."""
    made = choice()
    if made.is_final:
        return ""
    if not made.is_download:
        return "The speech model is being loaded. Recordings wait for it."
    received, total = made.received_bytes // 1_000_000, made.total_bytes // 1_000_000
    return f"The speech model is being downloaded ({received} of {total} MB). Recordings wait for it."


def is_being_prepared(*, timeout_seconds: float = 5) -> bool:
    """Tell whether an engine process is still looking for the model of "auto", so that work should wait for it.

    False if no process answers: whatever is wrong then, waiting quietly does not mend it.
    """
    return not choice().is_final and set(engine_states(timeout_seconds=timeout_seconds).values()) != {"silent"}


def diarizer_name() -> str:
    """Return the short name of the diarizer, or "none"."""
    return DEFAULT_DIARIZER if settings.DIARIZER == "auto" else str(settings.DIARIZER)


def is_fallback() -> bool:
    """Tell whether the fallback engine recognises speech, so that pages can show a warning."""
    return engine_name() == LAST_RESORT


def capabilities() -> dict[str, ModelCapabilities]:
    """Return the capabilities of each model of ours, by its name in our own API."""
    return {model: _capabilities_of(model) for model in tariff.models()}


def listed_capabilities() -> dict[str, ModelCapabilities]:
    """Return the capabilities of every model that can be listed, also by the names of other APIs."""
    return {name: capabilities_of(name) for name in tariff.names()}


def capabilities_of(model: str) -> ModelCapabilities:
    """Return the capabilities of the model that a name of any API stands for. Raises tariff.UnpricedModel."""
    return _capabilities_of(tariff.model_named(model).underlying)


def languages() -> frozenset[str]:
    """Return the ISO 639-1 codes of all languages that at least one model accepts."""
    return frozenset().union(*(model.languages for model in capabilities().values()))


def language_names() -> dict[str, str]:
    """Return code -> English name of all languages, sorted by name."""
    names = {code: whisper_languages.LANGUAGES.get(code, code) for code in languages()}
    return dict(sorted(names.items(), key=lambda one: one[1]))


def engine_states(*, timeout_seconds: float = 5) -> dict[str, str]:
    """Return "ready", "loading" or "silent" for the address of each engine process of this host."""
    return {
        address: "silent" if answer is None else str(answer["state"])
        for address, answer in engine_reports(timeout_seconds=timeout_seconds).items()
    }


def engine_reports(*, timeout_seconds: float = 5) -> dict[str, dict[str, Any] | None]:
    """Return what each engine process of this host says of itself, by its address; None for a silent one.

    All are asked at once. A process that computes answers after its current clip, which may take a few seconds.
    """
    with ThreadPoolExecutor(max_workers=len(settings.ENGINE_SOCKETS)) as threads:
        answers = threads.map(lambda address: remote.health(address, timeout_seconds), settings.ENGINE_SOCKETS)
        return dict(zip(settings.ENGINE_SOCKETS, answers, strict=True))


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
    made = choice()
    if made.engine != WHISPER:
        return ModelCapabilities(engine=made.engine, languages=ENGINE_LANGUAGES[made.engine], translates=False)
    source = settings.WHISPER_MODELS[model]
    name = made.labels.get(source) or whisper_languages.label(source)
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
def _chosen(path: Path, version: tuple[int, int]) -> Choice:
    """Return the choice in the file. version: changes with the file, so that an old answer is not kept."""
    try:
        return Choice.from_json(path.read_text())
    except (OSError, ValueError):
        return Choice(LAST_RESORT)
