"""A minimal ASGI handler for async views, without the middleware that they do not need.

The chat endpoint has no sessions, cookies, forms, messages or pages, and its views set the headers of the gate
themselves. This handler does what they still need of the middleware: known hosts, the redirect to https, the security
headers. It does not send Django's request signals, which cost two thread switches. So the views must close their
database connections themselves.
"""

import io
import logging
from asyncio import CancelledError, Task, create_task, current_task, get_running_loop
from functools import lru_cache

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseBase, StreamingHttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import ResolverMatch, get_urlconf, resolve

from voxsite import request_metrics
from voxsite.body_guard import Receive, Scope, Send
from voxsite.sizing_handler import Request

logger = logging.getLogger(__name__)

# To watch costs a task. A client that leaves sooner is noticed then.
WATCH_AFTER_SECONDS = 0.05


class AsyncOnlyHandler:
    """An ASGI application for async views only. It holds bodies in memory, so put a BodyGuard in front of it."""

    def __init__(self) -> None:
        # Only its two pure methods are used. The get_response that it needs is never called.
        self._security = SecurityMiddleware(lambda _: HttpResponse())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        if body is None:
            return
        watch = _Watch(receive)
        try:
            request = Request(scope, io.BytesIO())
            # The body was read above, within the guard's limit. `request.body` would apply Django's limit for forms.
            request._body = body
            response = await self._response(request)
            try:
                await _send_response(response, send)
            finally:
                # In every case: this tells a relay that nobody reads its stream any more. A whole response has nothing
                # to close, and its close() would send a signal that makes a connection object for each request.
                if response.streaming:
                    response.close()
        except CancelledError:
            # The client left. The server would log the cancellation as a fault, so only other ones are raised.
            if not watch.has_noticed:
                raise
        finally:
            watch.end()

    async def _response(self, request: ASGIRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost:
            return HttpResponseBadRequest("Unknown host.", content_type="text/plain")
        response: HttpResponseBase | None = self._security.process_request(request)
        if response is None:
            match = _resolve(request.path_info, get_urlconf())
            request_metrics.set_view(request.scope, match.view_name)  # type: ignore[arg-type]  # it is a dict
            response = await match.func(request, *match.args, **match.kwargs)
            assert response is not None, "a view gives a response"
        self._security.process_response(request, response)  # type: ignore[arg-type]  # it reads headers only
        return response


@lru_cache(maxsize=256)
def _resolve(path: str, _urlconf: str | None) -> ResolverMatch:
    """Return the view of a path. To compare it with all patterns took a tenth of the process's time for a request."""
    return resolve(path)


async def _body(receive: Receive) -> bytes | None:
    """Return the body, or None if the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


class _Watch:
    """Cancels this task when the client of its request leaves. It begins after a moment: most answers come sooner."""

    def __init__(self, receive: Receive) -> None:
        answering = current_task()
        assert answering is not None, "a server runs each request in a task"
        self._task: Task[None] | None = None
        self._receive, self._answering = receive, answering
        self._timer = get_running_loop().call_later(WATCH_AFTER_SECONDS, self._begin)

    @property
    def has_noticed(self) -> bool:
        """Whether the client has left."""
        return self._task is not None and self._task.done()

    def end(self) -> None:
        """Watch no more."""
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _begin(self) -> None:
        self._task = create_task(self._leave_with_the_client())

    async def _leave_with_the_client(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._answering.cancel()


async def _send_response(response: HttpResponseBase, send: Send) -> None:
    headers = [(name.encode("ascii"), value.encode("latin-1")) for name, value in response.items()]
    if isinstance(response, StreamingHttpResponse):
        await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
        async for piece in response:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    assert isinstance(response, HttpResponse), "Django knows these two"
    headers.append((b"Content-Length", str(len(response.content)).encode()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})
