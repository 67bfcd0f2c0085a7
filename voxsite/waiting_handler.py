"""Django's ASGI handler for faces that answer when the work is done: it awaits their `LaterResponse`."""

import asyncio
import os
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.http import HttpResponseBase

from accounts.gate.later import LaterResponse
from voxsite.body_guard import Receive, Scope, Send

_LATER = "voxsite.later"


class WaitingHandler(ASGIHandler):
    """Answers requests as Django does. A `LaterResponse` that waits holds its coroutine and its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]
        """Answer one request, and tell its LaterResponse when it is over, however it ended."""
        try:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]
        finally:
            later = scope.pop(_LATER, None)
            if later is not None:
                later.end()

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """Return (request, None) or (None, error response). The request states the size of its body in any case.

        OpenAI's package for Node streams a file in chunks, without Content-Length. Django and DRF take such a body for
        an empty one, although Django has read all of it by now (Django 5.2, DRF 3.18, read in source).
        """
        request, error_response = super().create_request(scope, body_file)
        if request is not None and "CONTENT_LENGTH" not in request.META:
            request.META["CONTENT_LENGTH"] = str(body_file.seek(0, os.SEEK_END))
            body_file.seek(0)
        return request, error_response

    async def run_get_response(self, request: Any) -> HttpResponseBase:
        """Return the response to a request, once it is known."""
        view = asyncio.ensure_future(super().run_get_response(request))
        try:
            response = await asyncio.shield(view)
        except asyncio.CancelledError:
            # The client left while the view runs in its thread. Nothing can stop a thread, and what it begins must be
            # known to be ended.
            response = await view
            if isinstance(response, LaterResponse):
                request.scope[_LATER] = response
            raise
        if not isinstance(response, LaterResponse):
            return response
        request.scope[_LATER] = response
        return response.hand_over(await response.respond())
