"""The engine and diarizer of this site, chosen by its settings. The only module between `speech` and the settings."""

import logging
import os
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from accounts import redis_connections
from billing import tariff
from transcription.speech import registry
from transcription.speech.capabilities import ModelCapabilities
from transcription.speech.diarizers import service
from transcription.speech.diarizers.base import Diarizer
from transcription.speech.engines import protocol, remote, whisper_languages
from transcription.speech.engines.choice import LAST_RESORT, WHISPER, Choice
from transcription.speech.engines.client import EngineClient, Member, Roster, fixed
from transcription.speech.engines.leases import Lease, Registry, trusted
from transcription.speech.engines.remote import RemoteEngine

logger = logging.getLogger(__name__)

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
    """Return "ready", "loading" or "silent" for the address of each engine process that this host uses."""
    return {
        address: "silent" if answer is None else str(answer["state"])
        for address, answer in engine_reports(timeout_seconds=timeout_seconds).items()
    }


def engine_reports(*, timeout_seconds: float = 5) -> dict[str, dict[str, Any] | None]:
    """Return what each engine process that this host uses says of itself, by its address; None for a silent one.

    All are asked at once, except those that are known by their leases. A process that computes answers after its
    current clip, which may take a few seconds.
    """

    def ask(address: str) -> dict[str, Any] | None:
        return remote.health(address, timeout_seconds, secret_key=settings.ENGINE_CLIENT_SECRET_KEY)

    addresses = engine_addresses()
    with ThreadPoolExecutor(max_workers=max(1, len(addresses))) as threads:
        reports = dict(zip(addresses, threads.map(ask, addresses), strict=True))
    return reports | _reports_of_others({report["instance"] for report in reports.values() if report is not None})


def engine_addresses() -> list[str]:
    """Return the addresses of the engine processes of this host, and of those of other hosts in its settings."""
    return [*settings.ENGINE_SOCKETS, *settings.ENGINE_ADDRESSES]


def roster(*, model: str = "", kind: str = "", job_id: str = "") -> Roster:
    """Return a list of the engine processes that this host may use now, the least busy first.

    model: which they must be able to load; those that have loaded it come first. If it did not load at any, all are
    returned: they try again after a while, and say what is wrong.
    kind: of requests that they must answer besides. job_id: decides between equals.
    Without keys of engines in the settings, these are the addresses in the settings, and Redis is not asked.
    """
    if not settings.ENGINE_PUBLIC_KEYS:
        return fixed(engine_addresses())

    known: list[Lease] = []

    def members() -> list[Member]:
        nonlocal known
        known = _leases(known)
        leases = {lease.instance: lease for lease in known}
        found: list[tuple[Member, Lease | None]] = []
        for address in engine_addresses():
            # Of an engine of this host its lease says how busy it is, and its socket is the shorter way.
            own = leases.pop(protocol.instance_at(address), None) if address in settings.ENGINE_SOCKETS else None
            member = Member(address) if own is None else replace(own.member_for(model), address=address)
            found.append((member, own))
        found += [(lease.member_for(model), lease) for lease in leases.values() if lease.serves(kind=kind)]
        able = [member for member, lease in found if lease is None or lease.serves(model=model, kind=kind)]
        return sorted(
            able or [member for member, _ in found],
            key=lambda one: (
                one.has_model is False,
                4 * one.waiting // max(4, one.batch),
                zlib.crc32(f"{job_id} {one.address}".encode()),
            ),
        )

    return members


@contextmanager
def engine(
    *,
    model: str = "",
    job_id: str = "",
    priority: str = "standard",
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[RemoteEngine]:
    """Yield an engine that uses the engine processes of this host, and those of others that it knows.

    model: a key of WHISPER_MODELS, as the customer chose. job_id, priority: for fairness between jobs.
    should_stop: called at least twice a second. Stopped is raised when it returns true; its exceptions pass through.
    """
    client = RemoteEngine(
        roster(model=model, job_id=job_id) if settings.ENGINE_PUBLIC_KEYS else engine_addresses(),
        model=model,
        job_id=job_id,
        priority=priority,
        should_stop=should_stop,
        secret_key=settings.ENGINE_CLIENT_SECRET_KEY,
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
        client = EngineClient(
            roster(kind=service.KIND, job_id=job_id),
            timeout_seconds=ENGINE_SECONDS,
            should_stop=should_stop,
            secret_key=settings.ENGINE_CLIENT_SECRET_KEY,
        )
        try:
            yield _remote_diarizer(client, job_id=job_id)
        finally:
            client.cancel()  # the engine process stops this work at once and serves other jobs
            client.close()
    else:
        yield registry.load_diarizer(name)


def _leases(known: Sequence[Lease]) -> list[Lease]:
    """Return the leases of engine processes whose keys this host trusts; those known before if Redis is silent."""
    try:
        leases = Registry(redis_connections.client()).some(known=[lease.instance for lease in known])
    except RedisError as error:
        logger.warning("the engines of other hosts are not known: %s", error)
        return list(known)
    return trusted(leases, public_keys=settings.ENGINE_PUBLIC_KEYS)


def _reports_of_others(own: Collection[str]) -> dict[str, dict[str, Any]]:
    """Return the reports of all engine processes of the fleet but these, by address; none without Redis."""
    if not settings.ENGINE_PUBLIC_KEYS:
        return {}
    registry = Registry(redis_connections.client())
    try:
        leases = trusted(registry.all(), public_keys=settings.ENGINE_PUBLIC_KEYS)
        return registry.reports([lease for lease in leases if lease.instance not in own])
    except RedisError as error:
        logger.warning("the engines of other hosts are not known: %s", error)
        return {}


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

    def ask(message: dict[str, Any], frames: Sequence[bytes]) -> dict[str, Any]:
        return client.ask({"kind": service.KIND, "job": job_id, **message}, frames)

    return service.RemoteDiarizer(
        "pyannote", ask=ask, max_seconds=settings.PYANNOTE_MAX_SECONDS, folder=settings.DATA_DIR
    )


@lru_cache(maxsize=1)
def _chosen(path: Path, version: tuple[int, int]) -> Choice:
    """Return the choice in the file. version: changes with the file, so that an old answer is not kept."""
    try:
        return Choice.from_json(path.read_text())
    except (OSError, ValueError):
        return Choice(LAST_RESORT)
