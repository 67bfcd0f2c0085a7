"""Is this process alive, and can it work? For load balancers and monitors: no key, no secrets in the answer."""

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
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

KEPT_SECONDS = 3.0


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
            200: inline_serializer(
                "Readiness",
                {"status": serializers.CharField(), "checks": serializers.DictField(child=serializers.CharField())},
            ),
            503: OpenApiResponse(description="A part does not answer; `checks` says which."),
        },
    )
    def get(self, request: Request) -> Response:
        checks = outcomes()
        is_ready = all(outcome == "ok" for outcome in checks.values())
        return Response(
            {"status": "ok" if is_ready else "unavailable", "checks": checks}, status=200 if is_ready else 503
        )


def outcomes() -> dict[str, str]:
    """Return "ok" or "failed" for each part: looked at once for all who ask within a few seconds.

    Anybody may ask, and each look costs a connection of every kind and up to some seconds of waiting.
    """
    with _looking:
        if time.monotonic() >= _last.until:
            _last.checks = {name: _outcome(name, check) for name, check in CHECKS.items()}
            _last.until = time.monotonic() + KEPT_SECONDS
        return _last.checks


@dataclass
class _Outcomes:
    """The last look at all parts, and until when it counts."""

    until: float = 0.0
    checks: dict[str, str] = field(default_factory=dict)


_last = _Outcomes()
_looking = threading.Lock()


def _outcome(name: str, check: Callable[[], Any]) -> str:
    try:
        check()
    except Exception:  # Whatever is wrong with a part, the answer is that it is not ready; the log has the cause.
        logger.exception("Not ready: %s", name)
        return "failed"
    return "ok"


def _database() -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    finally:
        database_connection.release()  # Not to be held while the engine is waited for.


def _redis() -> None:
    with Redis.from_url(settings.REDIS_URL, socket_timeout=2) as client:
        client.ping()


def _storage() -> None:
    name = f"ready/{secrets.token_hex(8)}"
    default_storage.save(name, ContentFile(b"ok"))
    default_storage.delete(name)


def _engine() -> None:
    if silent := recognition.silent_engines():
        raise TimeoutError(f"Engines that do not answer: {', '.join(silent)}")


CHECKS: dict[str, Callable[[], Any]] = {"database": _database, "redis": _redis, "storage": _storage, "engine": _engine}
