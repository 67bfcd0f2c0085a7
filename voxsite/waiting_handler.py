"""Django's ASGI handler for faces that answer when the work is done: it awaits their `LaterResponse`."""

import asyncio
import time
from typing import Any

from asgiref.sync import sync_to_async
from django.http import HttpResponseBase

from accounts.gate.later import LaterResponse
from voxsite import request_metrics
from voxsite.body_guard import Receive, Scope, Send
from voxsite.sizing_handler import SizingHandler

_LATER = "voxsite.later"


class WaitingHandler(SizingHandler):
    """Answers requests as Django does. A `LaterResponse` that waits holds its coroutine and its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # as typed by asgiref
        """Answer one request, and tell its LaterResponse when it is over, however it ended."""
        try:
            await super().__call__(scope, receive, send)  # type: ignore[arg-type]  # the same types by other names
        finally:
            later = scope.pop(_LATER, None)
            if later is not None:
                later.end()

    async def run_get_response(self, request: Any) -> HttpResponseBase:
        """Return the response to a request, once it is known. Counts the request."""
        arrived_at = time.monotonic()
        response = None
        try:
            response = await self._response_to(request)
        finally:
            request_metrics.record(request, response, seconds=time.monotonic() - arrived_at)
        return response

    async def _response_to(self, request: Any) -> HttpResponseBase:
        view = asyncio.ensure_future(super().run_get_response(request))
        try:
            response = await asyncio.shield(view)
        except asyncio.CancelledError:
            # The client left while the view runs in its thread. Nothing can stop a thread, and what it begins must be
            # known to be ended.
            response = await view
            if isinstance(response, LaterResponse):
                request.scope[_LATER] = response
            # With a response that nobody gets, Django leaves the files of the request and its own open until Python
            # collects garbage (Django 5.2, read in source).
            await sync_to_async(response.close)()
            raise
        if not isinstance(response, LaterResponse):
            return response
        request.scope[_LATER] = response
        return response.hand_over(await response.respond())
