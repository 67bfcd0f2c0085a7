"""Liveness, readiness and fitness to serve, for load balancers and monitors. They need no key and show no secrets."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from redis import Redis
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import database_connection, stopping
from accounts.gate.native import NativeGateView
from transcription import recognition

logger = logging.getLogger(__name__)

CACHE_SECONDS = 3.0
# What failed is looked at again sooner, so that a host whose part is back soon gets requests again.
FAILED_CACHE_SECONDS = 1.0
# An answer waits no longer for a check. Then its part has failed, whatever it waits for ...
CHECK_SECONDS = 2.0
# ... but an engine that computes answers after its present clip: until then, what was known of it before counts.
BUSY_SECONDS: Mapping[str, float] = {"engine": 6.0}
READINESS_SHAPE = inline_serializer(
    "Readiness",
    {"status": serializers.CharField(), "checks": serializers.DictField(child=serializers.CharField())},
)


class CachedChecks:
    """Checks of the parts of the site. Their outcome is cached for a few seconds, for all threads of this process.

    Anybody may ask, and each check opens a connection to its part and may wait for seconds. All run at once, each in a
    thread of its own. One that hangs has failed until it ends, and is not started a second time.
    """

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Any]],
        *,
        check_seconds: float = CHECK_SECONDS,
        busy_seconds: Mapping[str, float] = BUSY_SECONDS,
    ) -> None:
        """check_seconds: an answer waits no longer. busy_seconds: how long a part may then still be what it was."""
        self._checks = checks
        self._check_seconds = check_seconds
        self._busy_seconds = busy_seconds
        self._lock = threading.Lock()
        self._outcomes: dict[str, str] = {}
        self._expires_at = 0.0
        self._running: dict[str, tuple[float, Future[str]]] = {}  # (when it was begun, its outcome)

    def outcomes(self, *, clock: Callable[[], float] = time.monotonic) -> dict[str, str]:
        """Return "ok", "failed" or what is waited for, for each part."""
        with self._lock:
            if clock() >= self._expires_at:
                self._outcomes = self._look()
                has_failed = "failed" in self._outcomes.values()
                self._expires_at = clock() + (FAILED_CACHE_SECONDS if has_failed else CACHE_SECONDS)
            return self._outcomes

    def _look(self) -> dict[str, str]:
        for name, check in self._checks.items():
            if name not in self._running:
                self._running[name] = (time.monotonic(), _in_thread(name, check))
        wait([outcome for _, outcome in self._running.values()], timeout=self._check_seconds)
        now = time.monotonic()
        found = {name: self._found(name, begun_at, outcome, now) for name, (begun_at, outcome) in self._running.items()}
        self._running = {name: each for name, each in self._running.items() if not each[1].done()}
        return found

    def _found(self, name: str, begun_at: float, outcome: "Future[str]", now: float) -> str:
        if outcome.done():
            return outcome.result()
        is_busy = now - begun_at < self._busy_seconds.get(name, 0)
        return self._outcomes.get(name, "failed") if is_busy else "failed"

    def forget(self) -> None:
        """Have the next question checked again."""
        self._expires_at = 0.0
        self._outcomes, self._running = {}, {}


class NotReadyYet(Exception):
    """A part starts, and nothing is wrong with it. The text is its outcome."""


def _in_thread(name: str, check: Callable[[], Any]) -> "Future[str]":
    """Run the check in a thread that nobody waits for when the process ends."""
    future: Future[str] = Future()
    threading.Thread(target=lambda: future.set_result(_outcome(name, check)), name=f"ready-{name}", daemon=True).start()
    return future


def _outcome(name: str, check: Callable[[], Any]) -> str:
    try:
        check()
    except NotReadyYet as error:
        return str(error)
    except Exception:  # For every exception the answer is "not ready". The log has the cause.
        logger.exception("Not ready: %s", name)
        return "failed"
    return "ok"


def _database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        database_connection.release()  # Otherwise it would be held while the engine is checked.


def _redis() -> None:
    with _redis_client() as client:
        # A full Redis answers and takes nothing, also no job.
        client.set("ready", "ok", ex=60)


def _storage() -> None:
    name = f"ready/{secrets.token_hex(8)}"
    default_storage.save(name, ContentFile(b"ok"))
    default_storage.delete(name)


def _engine() -> None:
    states = recognition.engine_states()
    if silent := [address for address, state in states.items() if state == "silent"]:
        raise TimeoutError(f"Engines that do not answer: {', '.join(silent)}")
    if set(states.values()) != {"ready"}:
        raise NotReadyYet(recognition.waiting_note() or "The speech model is being loaded.")


def _heartbeat(process: str) -> None:
    """Raise TimeoutError if no process of this name has written a heartbeat lately, on any host."""
    with _redis_client() as client:
        written = client.get(settings.HEARTBEAT_KEYS[process])
    if written is None:
        raise TimeoutError(f"There is no heartbeat of a {process}.")
    age_seconds = time.time() - float(written)
    if age_seconds > settings.SILENT_WORKER_SECONDS:
        raise TimeoutError(f"The last heartbeat of a {process} is {age_seconds:.0f} s old.")


def _redis_client() -> Redis:
    return Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


READINESS = CachedChecks(
    {
        "database": _database,
        "redis": _redis,
        "storage": _storage,
        "engine": _engine,
        "workers": partial(_heartbeat, "worker"),
        "clock": partial(_heartbeat, "clock"),
    }
)


class HealthView(NativeGateView):
    """Whether the web process answers."""

    needs_key = False

    @extend_schema(
        summary="Health",
        auth=[],
        responses=inline_serializer("Health", {"status": serializers.CharField()}),
    )
    def get(self, request: Request) -> Response:
        return Response({"status": "ok"})


class ChecksView(NativeGateView):
    """The outcomes of all checks: 200 if those that count here are good, else 503."""

    needs_key = False
    readiness = READINESS

    def get(self, request: Request) -> Response:
        if stopping.is_draining():
            return Response({"status": "stopping", "checks": {}}, status=503)
        checks = self.readiness.outcomes()
        is_good = all(outcome == "ok" for name, outcome in checks.items() if self.counts(name))
        return Response(
            {"status": "ok" if is_good else "unavailable", "checks": checks}, status=200 if is_good else 503
        )

    def counts(self, name: str) -> bool:
        raise NotImplementedError


class ReadyView(ChecksView):
    """Whether database, Redis, storage and engine answer, and a worker and the clock run: 200 if all do, else 503."""

    @extend_schema(
        summary="Readiness",
        auth=[],
        responses={
            200: READINESS_SHAPE,
            503: OpenApiResponse(
                READINESS_SHAPE, description="A part does not answer or still starts; `checks` says which."
            ),
        },
    )
    def get(self, request: Request) -> Response:
        return super().get(request)

    def counts(self, name: str) -> bool:
        """Count everything: a monitor asks."""
        return True


class ServingView(ChecksView):
    """Whether this host can serve requests, for load balancers: 503 only if the database or its own disk fails.

    It is 503 too from the moment at which this process is told to end. Without an engine, a worker, the clock, Redis
    or a bucket the site still serves most requests. A load balancer that took hosts out for one of them would take out
    all of them.
    """

    @extend_schema(
        summary="Fitness to serve",
        auth=[],
        responses={
            200: READINESS_SHAPE,
            503: OpenApiResponse(READINESS_SHAPE, description="This host cannot serve requests; `checks` says why."),
        },
    )
    def get(self, request: Request) -> Response:
        return super().get(request)

    def counts(self, name: str) -> bool:
        """Count the database, and a storage that is the host's own disk."""
        return name == "database" or (name == "storage" and not settings.S3_BUCKET)
