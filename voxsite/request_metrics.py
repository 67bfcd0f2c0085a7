"""Counts requests and their times in this process, for Prometheus. The view `voxsite.metrics` shows them."""

import time
from functools import lru_cache

from django.http import HttpRequest
from prometheus_client import Counter, Histogram

from voxsite.body_guard import Application, Message, Receive, Scope, Send

# Anybody may send any method. Each new label value would be kept for as long as the process lives.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The status of a request whose client left before it was answered, as nginx logs it.
CLIENT_LEFT = "499"
# In the scope of a request: the name of its address in the URLconf, once a handler has found it.
_VIEW = "voxsite.view"
# What was answered before any view: refused bodies, preflights, unknown addresses.
NO_VIEW = "none"

REQUESTS = Counter("voxsite_http_requests", "Requests, by view, method and status.", ["view", "method", "status"])
# A call that waits for its transcript takes as long as the transcription.
SECONDS = Histogram(
    "voxsite_http_request_seconds",
    "Time until the response to a request began, by view.",
    ["view"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)

# Prometheus looks up what a set of labels counts under a lock, after it has made texts of them.
_requests_of = lru_cache(maxsize=1024)(REQUESTS.labels)
_seconds_of = lru_cache(maxsize=256)(SECONDS.labels)


class CountsRequests:
    """An ASGI application that counts the requests of another one, however they are answered.

    It stands before all others, since the body guard, signed uploads and chat answer without Django's handler.
    """

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and count it at its end."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        arrived_at = time.monotonic()
        status, seconds = CLIENT_LEFT, 0.0

        async def watched_send(message: Message) -> None:
            nonlocal status, seconds
            if message["type"] == "http.response.start":
                status, seconds = str(message["status"]), time.monotonic() - arrived_at
            await send(message)

        try:
            await self._application(scope, receive, watched_send)
        finally:
            view = view_of(scope)
            _requests_of(view, method_of(scope), status).inc()
            if status != CLIENT_LEFT:
                _seconds_of(view).observe(seconds)


def view_of(scope: Scope) -> str:
    """Return the name of the view that answers a request, as far as it is known."""
    return str(scope.get(_VIEW, NO_VIEW))


def method_of(scope: Scope) -> str:
    """Return the method of a request, or "other"."""
    return scope["method"] if scope["method"] in METHODS else "other"


def name_view(request: HttpRequest) -> None:
    """Tell by which view a request is answered."""
    match = request.resolver_match
    if match is not None:
        set_view(request.scope, match.view_name)  # type: ignore[attr-defined]  # an ASGIRequest has it


def set_view(scope: Scope, name: str | None) -> None:
    """Do the same by the name of the view's address."""
    scope[_VIEW] = name or "unnamed"
