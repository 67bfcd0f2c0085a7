"""The ASGI application that uvicorn serves: Django behind the body guard."""

import json
import os
import shutil
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voxsite.settings")
# Only the web process shares its connections among threads; workers and commands hold one at a time.
os.environ.setdefault("VOXSITE_DATABASE_POOL", "16")

django_application: Any = get_asgi_application()

# Django is set up from here on.
from django.conf import settings  # noqa: E402
from django.http import parse_cookie  # noqa: E402

from accounts import connections  # noqa: E402
from accounts.errors import NotConfigured, RequestTimeout, TooLarge, Unauthorized  # noqa: E402
from accounts.gate import authentication  # noqa: E402
from accounts.gate.native_errors import native_error  # noqa: E402
from accounts.gate.request_ids import request_id_for  # noqa: E402
from voxsite.body_guard import BodyGuard, Scope  # noqa: E402

SPARE_BYTES = 1024**3


def _headers(scope: Scope) -> dict[str, str]:
    # Header names arrive in lower case; these are the three that say who calls, and the caller's own request id.
    names = {
        b"x-api-key": "X-API-Key",
        b"authorization": "Authorization",
        b"cookie": "Cookie",
        b"x-request-id": "X-Request-Id",
    }
    return {names[name]: value.decode("latin-1") for name, value in scope["headers"] if name in names}


async def is_known(scope: Scope) -> bool:
    """Tell whether a live key or a signed-in session sends this, without touching the body."""
    headers = _headers(scope)

    def ask() -> bool:
        try:
            return authentication.is_known(headers, cookies=parse_cookie(headers.get("Cookie", "")))
        finally:
            connections.release()

    return await sync_to_async(ask, thread_sensitive=False)()


def request_id(scope: Scope) -> str:
    """Return the id under which a refusal is logged and answered: the same for every call of one request."""
    if "voxsite.request_id" not in scope:
        scope["voxsite.request_id"] = request_id_for(_headers(scope).get("X-Request-Id", ""))
    return str(scope["voxsite.request_id"])


def refusal(scope: Scope, http_status: int, error_type: str, message: str) -> tuple[str, bytes]:
    """Return a refusal in the words of whoever is asked: JSON for programs, a plain sentence for browsers."""
    if not scope["path"].startswith("/v1/"):
        return "text/plain; charset=utf-8", message.encode()
    kinds = (Unauthorized, RequestTimeout, TooLarge, NotConfigured)
    error = {kind.http_status: kind for kind in kinds}[http_status](message, error_type=error_type)
    return "application/json", json.dumps(native_error(error, request_id=request_id(scope))).encode()


def has_room(size: int) -> bool:
    """Tell whether a body fits: Django writes it once as it comes and once as a file, and the database needs some."""
    return shutil.disk_usage(settings.DATA_DIR).free > 2 * size + SPARE_BYTES


application = BodyGuard(
    django_application, is_known=is_known, refusal=refusal, request_id=request_id, has_room=has_room
)
