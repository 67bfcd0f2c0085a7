"""Lets pages of other sites call what a token may call. Everything else stays closed to them.

It lies in front of the body guard, so that a page can read refusals too.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from django.urls import Resolver404, resolve

from accounts.gate import cross_origin, key_scopes
from accounts.models import TOKEN_SCOPES
from voxsite.body_guard import Receive, Scope, Send

# Opened by its signature.
SIGNED = {"transcribeapi-result": ("GET",)}
# Managed by keys only, which belong on a server.
CLOSED = frozenset({"v1-tokens", "v1-token"})


class CrossOrigin:
    """An ASGI application that answers preflights, and adds the headers of CORS to the answers of another one."""

    def __init__(self, application: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = dict(scope["headers"]) if scope["type"] == "http" else {}
        methods = methods_for_pages(scope["path"]) if b"origin" in headers else ()
        if not methods:
            await self._application(scope, receive, send)
            return
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in headers:
            asked = headers.get(b"access-control-request-headers", b"").decode("latin-1")
            await _send_preflight(send, methods=methods, asked_headers=asked)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_encoded(cross_origin.ANSWER_HEADERS)]}
            await send(message)

        await self._application(scope, receive, send_with_headers)


def methods_for_pages(path: str) -> tuple[str, ...]:
    """Return the methods by which pages of other sites may call an address, none for one that is closed to them."""
    try:
        name = resolve(path).view_name
    except Resolver404:
        return ()
    if name in SIGNED:
        return SIGNED[name]
    if name in CLOSED or name in key_scopes.NOT_FOR_TOKENS:
        return ()
    methods = key_scopes.ROUTES.get(name, {})
    return tuple(method for method, scopes in methods.items() if scopes & frozenset(TOKEN_SCOPES))


async def _send_preflight(send: Send, *, methods: tuple[str, ...], asked_headers: str) -> None:
    headers = (
        *cross_origin.ANSWER_HEADERS,
        *cross_origin.preflight_headers(methods, asked_headers=asked_headers),
        ("vary", "Access-Control-Request-Headers"),
    )
    await send({"type": "http.response.start", "status": int(HTTPStatus.NO_CONTENT), "headers": _encoded(headers)})
    await send({"type": "http.response.body", "body": b""})


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
