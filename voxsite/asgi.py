"""The ASGI application that uvicorn serves: Django behind the body guard, beside it chat and signed uploads."""

import json
import logging
import os
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "voxsite.settings")

get_asgi_application()

# Django is set up from here on.
from django.conf import settings
from django.http import parse_cookie
from django.urls import Resolver404, resolve

from accounts import database_connection, log_context, outages
from accounts.errors import (
    InsufficientScope,
    NoRoom,
    NotConfigured,
    RateLimited,
    RequestTimeout,
    TooLarge,
    Unauthorized,
    VoxsiteError,
)
from accounts.gate import authentication, concurrency, key_scopes, limits
from accounts.gate.body_rate import BodyRate
from accounts.gate.request_ids import request_id_for
from accounts.gate.request_log import RequestLog
from transcription import faces, recordings
from transcription.dialects.s3 import endpoint as signed_uploads
from transcription.faces import Face
from transcription.jobs import intake
from transcription.recordings import disk_space, upload_targets
from voxsite import request_metrics
from voxsite.async_only_handler import AsyncOnlyHandler
from voxsite.body_guard import OPEN_BYTES, BodyGuard, EarlyResponse, Rate, Receive, Scope, Send
from voxsite.cross_origin import CrossOrigin
from voxsite.groq_addresses import GroqAddresses
from voxsite.request_logging import LogsRequests
from voxsite.request_metrics import CountsRequests
from voxsite.sizing_handler import SizingHandler
from voxsite.traced_requests import TracesRequests
from voxsite.waiting_handler import WaitingHandler

logger = logging.getLogger(__name__)


def share_connections() -> None:
    """Give the threads of the web process a pool of connections: under ASGI each request has a thread of its own."""
    database_connection.share(max_size=settings.DATABASE_POOL)


CHAT = Face(
    name="apex",
    prefix="/v1/apex/",
    show_error="apex.wire.show_error",
    max_bytes=settings.APEX_MAX_BODY_BYTES,
    open_bytes=min(OPEN_BYTES, settings.APEX_MAX_BODY_BYTES),
    unsized_bytes=settings.APEX_MAX_BODY_BYTES,
)
FACES = (*faces.FACES, CHAT)
# get_asgi_application has set Django up, and its own handler is not used.
django_application: Any = SizingHandler()
waiting_application = WaitingHandler()
BODY_LIMITS = ("max_bytes", "open_bytes", "unsized_bytes")


def _headers(scope: Scope) -> dict[str, str]:
    # Header names arrive in lower case. Three of these identify the caller, the last one is the caller's request id.
    names = {
        b"x-api-key": "X-API-Key",
        b"authorization": "Authorization",
        b"cookie": "Cookie",
        b"x-request-id": "X-Request-Id",
    }
    return {names[name]: value.decode("latin-1") for name, value in scope["headers"] if name in names}


def _key_schemes(scope: Scope) -> tuple[str, ...]:
    return (faces.face_of(scope["path"], faces=FACES) or faces.NATIVE).key_schemes


async def is_known(scope: Scope) -> bool:
    """Tell whether the request has a live key or a signed-in session, without reading the body."""
    headers = _headers(scope)

    def ask() -> bool:
        try:
            cookies = parse_cookie(headers.get("Cookie", ""))
            return authentication.is_known(headers, cookies=cookies, schemes=_key_schemes(scope))
        finally:
            database_connection.release()

    return await sync_to_async(ask, thread_sensitive=False)()


async def precheck(scope: Scope) -> EarlyResponse | None:
    """Return 429 if the key's rate limit is used up, or 429 or 503 if too many uploads wait to be read already.

    Or return 403 if the key has no scope for this address, and 503 while operators take nothing new.

    So the client need not send a large body first. A large body is an upload. Nothing is counted here, because the gate
    counts each request.
    """

    def ask() -> EarlyResponse | None:
        try:
            caller = authentication.authenticate(_headers(scope), schemes=_key_schemes(scope))
            face = faces.face_of(scope["path"], faces=FACES) or faces.NATIVE
            for limited in face.rate_scopes:
                limits.refuse_if_spent(caller.organization, scope=limited)
            route = resolve(scope["path"]).view_name
            if route in key_scopes.ROUTES:
                key_scopes.require(caller.api_key, route=route, method=scope["method"])
            # A large body is a recording. Those of jobs that were taken before come by signed addresses.
            intake.require_open()
            recordings.require_room(caller.organization)
        except (RateLimited, NoRoom, InsufficientScope) as error:
            return _early_response(scope, error)
        except (VoxsiteError, Resolver404):
            return None  # A person without a key, or a key that the gate refuses with its own error.
        finally:
            database_connection.release()
        return None

    return await sync_to_async(ask, thread_sensitive=False)()


def _early_response(scope: Scope, error: RateLimited | NoRoom | InsufficientScope) -> EarlyResponse:
    content_type, body = _shown(scope, error)
    return EarlyResponse(
        HTTPStatus(error.http_status),
        content_type,
        body,
        headers=tuple((name.lower().encode(), value.encode()) for name, value in error.headers.items()),
    )


def request_id(scope: Scope) -> str:
    """Return the id of the request, for logs and refusals. Every call for one request returns the same id."""
    if "voxsite.request_id" not in scope:
        scope["voxsite.request_id"] = request_id_for(_headers(scope).get("X-Request-Id", ""))
    return str(scope["voxsite.request_id"])


def refusal(scope: Scope, http_status: int, error_type: str, message: str) -> tuple[str, bytes]:
    """Return (content type, body) of a refusal: JSON in the shape of the API, plain text for all other addresses."""
    kinds = (Unauthorized, RequestTimeout, TooLarge, NotConfigured)
    return _shown(scope, {kind.http_status: kind for kind in kinds}[http_status](message, error_type=error_type))


def _shown(scope: Scope, error: VoxsiteError) -> tuple[str, bytes]:
    log_context.note(error_type=error.type)
    face = faces.face_of(scope["path"], faces=FACES)
    if face is None:
        return "text/plain; charset=utf-8", error.message.encode()
    show = face.load(face.show_error)
    return "application/json", json.dumps(show(error, request_id=request_id(scope))).encode()


def has_disk_space(size: int) -> bool:
    """Tell whether a body fits on the disk. Django may write it twice."""
    return disk_space.has_room(settings.DATA_DIR, size_bytes=2 * size)


async def has_signature(_: Scope) -> bool:
    """Accept bodies for signed addresses: the view checks the signature before it reads the body."""
    return True


def guarded(face: Face | None, *, rate: Callable[[], Rate] = BodyRate) -> BodyGuard:
    """Return the application with the body limits of a face. None stands for the pages.

    rate: makes what judges how fast a body comes.
    """
    limits_of = face or faces.NATIVE
    choices: dict[str, Any] = {name: limit for name in BODY_LIMITS if (limit := getattr(limits_of, name)) is not None}
    if face is not CHAT:
        # Chat requests are small and are no uploads.
        choices |= {"has_disk_space": has_disk_space, "precheck": precheck}
    return BodyGuard(
        AsyncOnlyHandler() if face is CHAT else waiting_application if limits_of.waits else django_application,
        is_known=is_known if limits_of.needs_key else has_signature,
        refusal=refusal,
        request_id=request_id,
        challenge=authentication.challenge(limits_of.key_schemes),
        rate=rate,
        too_large_status=limits_of.too_large_status,
        **choices,
    )


_GUARDS = {face: guarded(face) for face in (None, *FACES)}


async def _send_error(scope: Scope, send: Send, error: VoxsiteError) -> None:
    content_type, body = _shown(scope, error)
    headers = {
        "content-type": content_type,
        "content-length": str(len(body)),
        "cache-control": "no-store",
        "x-request-id": request_id(scope),
        # The rest of the body is not read, so the connection cannot be used again.
        "connection": "close",
        **{name.lower(): value for name, value in error.headers.items()},
    }
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.http_status, "headers": encoded})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, within the body limits of its face. Signed uploads have limits of their own."""
    if scope["type"] == "http" and scope["path"].startswith(f"{upload_targets.PREFIX}/"):
        request_metrics.set_view(scope, "signed-uploads")
        await signed_uploads.application(scope, receive, send)
        return
    face = faces.face_of(scope["path"], faces=FACES) if scope["type"] == "http" else None
    has_begun = False

    async def watched_send(message: Any) -> None:
        nonlocal has_begun
        has_begun = True
        await send(message)

    with concurrency.request():
        try:
            await _GUARDS[face](scope, receive, watched_send)
        except Exception as error:
            # Before Django sees the request: the guard asks the database for the caller, and Django spools the body.
            outage = outages.error_of(error)
            if outage is None or has_begun:
                raise
            logger.warning("Request %s met an outage: %s: %s", request_id(scope), type(error).__name__, error)
            await _send_error(scope, send, outage)


request_log = RequestLog()
application = TracesRequests(LogsRequests(GroqAddresses(CountsRequests(CrossOrigin(_answer))), log=request_log))
