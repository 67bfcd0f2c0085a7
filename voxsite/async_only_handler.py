"""A short way from the ASGI server to the async views of one prefix, past the middleware that they do not need.

Apex has no sessions, cookies, forms, messages or pages, and its views give every header of the gate themselves. What
programs need of the middleware is done here: known hosts, the redirect to https, the security headers. Database
connections are the views' own affair: Django's signals around a request are not sent, which cost two changes of thread.
"""

import io
import logging
from asyncio import CancelledError, Task, create_task, current_task

from django.core.exceptions import DisallowedHost
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, HttpResponseBadRequest, HttpResponseBase, StreamingHttpResponse
from django.middleware.security import SecurityMiddleware
from django.urls import resolve

from voxsite.body_guard import Receive, Scope, Send

logger = logging.getLogger(__name__)


class AsyncOnlyHandler:
    """An ASGI application that answers by async views alone. Bodies are held in memory: put a BodyGuard before it."""

    def __init__(self) -> None:
        # Used for its two pure steps; its chain is never called.
        self._security = SecurityMiddleware(lambda _: HttpResponse())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        body = await _body(receive)
        if body is None:
            return
        this = current_task()
        assert this is not None, "a server runs each request in a task"
        watch = create_task(_leave_with_the_client(receive, this))
        try:
            request = ASGIRequest(scope, io.BytesIO())
            # Read already, and the guard knows this lane's own limit: `request.body` would ask for that of forms.
            request._body = body
            response = await self._response(request)
            try:
                await _send_response(response, send)
            finally:
                # Whatever happened: it is how a relay learns that nobody reads any more.
                response.close()
        except CancelledError:
            # The client left, and the server would take this for a fault; any other end is told on.
            if not watch.done():
                raise
        finally:
            watch.cancel()

    async def _response(self, request: ASGIRequest) -> HttpResponseBase:
        try:
            request.get_host()
        except DisallowedHost:
            return HttpResponseBadRequest("Unknown host.", content_type="text/plain")
        response: HttpResponseBase | None = self._security.process_request(request)
        if response is None:
            match = resolve(request.path_info)
            response = await match.func(request, *match.args, **match.kwargs)
            assert response is not None, "a view gives a response"
        self._security.process_response(request, response)  # type: ignore[arg-type]
        return response


async def _body(receive: Receive) -> bytes | None:
    """Return the body, None when the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _leave_with_the_client(receive: Receive, answering: "Task[None]") -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    answering.cancel()


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
