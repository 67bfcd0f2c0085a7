"""Puts each request with an API key into the log that customers read (`accounts.gate.request_log`)."""

import time

from django.utils import timezone

from accounts import log_context
from accounts.gate import authentication
from accounts.gate.request_ids import request_id_for
from accounts.gate.request_log import LoggedRequest, RequestLog
from voxsite.body_guard import Application, Message, Receive, Scope, Send

# Whatever a dialect takes.
SCHEMES = (authentication.BEARER, authentication.TOKEN, authentication.BASIC)
NAMES = {b"x-api-key": "X-API-Key", b"authorization": "Authorization"}
# Of a request whose client left before it was answered, as in the metrics.
CLIENT_LEFT = 499


class LogsRequests:
    """An ASGI application that logs the requests of another one, however they are answered.

    It stands before all others, since bodies, scopes and addresses are refused before any view runs.
    """

    def __init__(self, application: Application, *, log: RequestLog) -> None:
        self._application = application
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and log it at its end."""
        key = _key_in(scope) if scope["type"] == "http" else ""
        if not key:
            await self._application(scope, receive, send)
            return
        created_at, arrived_at = timezone.now(), time.monotonic()
        # GroqAddresses changes the path, and the customer looks for the one that was sent.
        method, path = scope["method"], scope["path"]
        found = log_context.collect()
        status, request_id, seconds = CLIENT_LEFT, "", 0.0

        async def watched_send(message: Message) -> None:
            nonlocal status, request_id, seconds
            if message["type"] == "http.response.start":
                status, seconds = message["status"], time.monotonic() - arrived_at
                request_id = next(
                    (value for name, value in message["headers"] if name.lower() == b"x-request-id"), b""
                ).decode("latin-1")
            await send(message)

        try:
            await self._application(scope, receive, watched_send)
        finally:
            self._log.add(
                LoggedRequest(
                    key=key,
                    created_at=created_at,
                    method=method,
                    path=path,
                    status=status,
                    # No answer has told it when the client left before. Then no view may have made one either.
                    request_id=request_id or found.get("request_id") or request_id_for(_offered_id(scope)),
                    duration_ms=int(1000 * (seconds or time.monotonic() - arrived_at)),
                    error_type=found.get("error_type", "") if status >= 400 else "",
                    job_id=found.get("job_id", ""),
                )
            )


def _key_in(scope: Scope) -> str:
    headers = {NAMES[name]: value.decode("latin-1") for name, value in scope["headers"] if name in NAMES}
    return authentication.key_in(headers, schemes=SCHEMES) if headers else ""


def _offered_id(scope: Scope) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == b"x-request-id"), "")
