"""The engine processes of all hosts, in Redis: each says every few seconds that it is there, how busy it is, and where.

A lease that is not renewed ends, and the process with it is given no more work. Redis is no authority: who can write to
it can name an address, but the clients of engines talk to the keys that they trust only (`curve`).
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from transcription.speech.engines import protocol
from transcription.speech.engines.client import Member, has_model, health
from transcription.speech.errors import EngineUnavailable

logger = logging.getLogger(__name__)

ANNOUNCE_SECONDS = 3.0
# Three announcements may be late. An engine that computes answers after its clip.
LEASE_SECONDS = 12
# How long an engine process may take to answer itself.
ANSWER_SECONDS = 6.0
# A client knows so many processes at most. It reads their leases every few seconds: if it read all of them, the traffic
# would grow with the square of the fleet.
MAX_KNOWN = 64
_NAMES, _LEASE, _REPORT = "engines", "engine:", "engine-report:"


@dataclass(frozen=True)
class Lease:
    """What a client must know of an engine process.

    instance: its name, a new one at each start. address: for clients, with its public key (`protocol.endpoint`).
    device: "cuda:0" and the like. waiting: requests without an answer. batch: how many clips it recognises at once.
    models: those that it has or can load. loaded: those that it has. kinds: of requests that it answers beside
    recognition.
    """

    instance: str
    address: str
    device: str
    waiting: int
    batch: int
    models: tuple[str, ...]
    kinds: tuple[str, ...]
    loaded: tuple[str, ...] = ()

    def serves(self, *, model: str = "", kind: str = "") -> bool:
        """Tell whether it has the model or can load it, and answers requests of this kind. "" stands for any."""
        return (not model or model in self.models) and (not kind or kind in self.kinds)

    def member_for(self, model: str) -> Member:
        """Return what a client must know that wants this model; "" if it wants none."""
        return Member(
            self.address,
            waiting=self.waiting,
            batch=self.batch,
            has_model=model in self.loaded if model else None,
        )


_FIELDS = frozenset(field.name for field in fields(Lease))


def lease_of(report: dict[str, Any], *, address: str, device: str) -> Lease:
    """Return the lease of a process with this health report (`server.EngineServer._health`)."""
    return Lease(
        instance=str(report["instance"]),
        address=address,
        device=device,
        waiting=int(report["waiting"]),
        batch=int((report["engine"] or {}).get("max_batch", 1)),
        models=tuple(name for name, model in report["models"].items() if model["state"] != "failed"),
        kinds=tuple(report["services"]),
        loaded=tuple(name for name in report["models"] if has_model(report, model=name)),
    )


class Registry:
    """The leases in one Redis. All methods raise RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis  # its types allow for answers that are awaited

    def renew(self, lease: Lease, report: dict[str, Any], *, seconds: int = LEASE_SECONDS) -> None:
        """Write the lease, for `seconds` from now on, and the health report for operators."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.set(_LEASE + lease.instance, json.dumps(asdict(lease)), ex=seconds)
            pipeline.set(_REPORT + lease.instance, json.dumps(report), ex=seconds)
            pipeline.sadd(_NAMES, lease.instance)
            pipeline.execute()

    def end(self, instance: str) -> None:
        """Remove the lease of a process that stops."""
        with self._redis.pipeline(transaction=False) as pipeline:
            pipeline.delete(_LEASE + instance, _REPORT + instance)
            pipeline.srem(_NAMES, instance)
            pipeline.execute()

    def some(self, *, known: Iterable[str] = ()) -> list[Lease]:
        """Return at most MAX_KNOWN leases that have not ended: those with the names `known`, and others by chance."""
        names = list(dict.fromkeys(known))[:MAX_KNOWN]
        drawn = self._redis.srandmember(_NAMES, MAX_KNOWN)
        names = list(dict.fromkeys([*names, *map(_text, drawn)]))[:MAX_KNOWN]
        return self._read(names)

    def all(self) -> list[Lease]:
        """Return all leases that have not ended, by name."""
        return self._read(sorted(map(_text, self._redis.smembers(_NAMES))))

    def reports(self, leases: Sequence[Lease]) -> dict[str, dict[str, Any]]:
        """Return the health reports of these processes, by their addresses."""
        if not leases:
            return {}
        found = self._redis.mget([_REPORT + lease.instance for lease in leases])
        return {
            lease.address: json.loads(report) for lease, report in zip(leases, found, strict=True) if report is not None
        }

    def _read(self, names: Sequence[str]) -> list[Lease]:
        """Return the leases with these names, and forget the names of those that have ended."""
        if not names:
            return []
        found = dict(zip(names, self._redis.mget([_LEASE + name for name in names]), strict=True))
        ended = [name for name, lease in found.items() if lease is None]
        if ended:
            self._redis.srem(_NAMES, *ended)
        return [lease for written in found.values() if written is not None and (lease := _read(written)) is not None]


def _read(written: str | bytes) -> Lease | None:
    """Return the lease, None for what is none: one engine must not stop the work of all hosts.

    Fields that this release does not know are of a later one, to which other hosts were updated before.
    """
    try:
        written_fields: dict[str, Any] = json.loads(written)
        known: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in written_fields.items()
            if name in _FIELDS
        }
        lease = Lease(**known)
        protocol.endpoint(lease.address)
    except (ValueError, TypeError, AttributeError, EngineUnavailable) as error:
        logger.warning("an engine of another host cannot be used, because its lease cannot be read: %s", error)
        return None
    return lease


class Announcer:
    """A thread of an engine process that renews its lease as long as the process answers at its own socket."""

    def __init__(
        self,
        registry: Registry,
        *,
        socket: str,
        address: str,
        device: str,
        every_seconds: float = ANNOUNCE_SECONDS,
        ask: Callable[[str, float], dict[str, Any] | None] = health,
    ) -> None:
        self._registry, self._socket, self._address, self._device = registry, socket, address, device
        self._every_seconds, self._ask = every_seconds, ask
        self._is_over = threading.Event()
        self._instance = ""
        self._was_refused = False
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the lease, so that nobody waits for its end."""
        self._is_over.set()
        self._thread.join(ANSWER_SECONDS)
        if self._instance:
            try:
                self._registry.end(self._instance)
            except RedisError:
                logger.info("the lease of this engine ends by itself: Redis does not answer")

    def _run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._announce()
            except Exception:
                # Such as no free descriptor for a moment. Without this thread no other host would use the engine.
                logger.exception("other hosts are not told of this engine at present")
            self._is_over.wait(self._every_seconds)

    def _announce(self) -> None:
        report = self._ask(self._socket, ANSWER_SECONDS)
        if report is None or self._is_over.is_set():
            return
        self._instance = str(report["instance"])
        try:
            self._registry.renew(lease_of(report, address=self._address, device=self._device), report)
        except RedisError as error:
            if not self._was_refused:
                logger.warning("other hosts are not told of this engine: %s", error)
            self._was_refused = True
        else:
            self._was_refused = False


def trusted(leases: Iterable[Lease], *, public_keys: Iterable[str]) -> list[Lease]:
    """Return the leases at addresses with one of these keys."""
    prefixes = tuple(f"tcp://{key}@" for key in public_keys)
    return [lease for lease in leases if prefixes and lease.address.startswith(prefixes)]


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
