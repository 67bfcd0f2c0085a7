"""Liveness and readiness, for load balancers and monitors. They need no key, so they reveal no secrets."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
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

from accounts import database_connection
from accounts.gate.native import NativeGateView
from transcription import recognition

logger = logging.getLogger(__name__)

CACHE_SECONDS = 3.0
READINESS_SHAPE = inline_serializer(
    "Readiness",
    {"status": serializers.CharField(), "checks": serializers.DictField(child=serializers.CharField())},
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


class ReadyView(NativeGateView):
    """Whether database, Redis, storage and engine answer: 200 when all do, else 503."""

    needs_key = False

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
        checks = READINESS.outcomes()
        is_ready = all(outcome == "ok" for outcome in checks.values())
        return Response(
            {"status": "ok" if is_ready else "unavailable", "checks": checks}, status=200 if is_ready else 503
        )


class CachedChecks:
    """Checks of the parts of the site. Their outcome is cached for a few seconds, for all threads of this process.

    Anybody may ask, and each check opens a connection to its part and may wait for seconds.
    """

    def __init__(self, checks: Mapping[str, Callable[[], Any]]) -> None:
        self._checks = checks
        self._lock = threading.Lock()
        self._outcomes: dict[str, str] = {}
        self._expires_at = 0.0

    def outcomes(self, *, clock: Callable[[], float] = time.monotonic) -> dict[str, str]:
        """Return "ok", "failed" or what is waited for, for each part."""
        with self._lock:
            if clock() >= self._expires_at:
                self._outcomes = {name: _outcome(name, check) for name, check in self._checks.items()}
                self._expires_at = clock() + CACHE_SECONDS
            return self._outcomes

    def forget(self) -> None:
        """Have the next question checked again."""
        self._expires_at = 0.0


class NotReadyYet(Exception):
    """A part starts, and nothing is wrong with it. The text is its outcome."""


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
    with Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
        client.ping()


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


READINESS = CachedChecks({"database": _database, "redis": _redis, "storage": _storage, "engine": _engine})
