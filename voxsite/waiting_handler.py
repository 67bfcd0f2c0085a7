"""Django's ASGI handler for faces that answer when the work is done: it awaits their `LaterResponse`."""

from typing import Any

from django.http import HttpResponseBase

from accounts.gate.later import LaterResponse
from voxsite.body_guard import Receive, Scope, Send
from voxsite.sizing_handler import SizingHandler

_LATER = "voxsite.later"
# What a request keeps while its response is awaited: what is needed to close the body.
_KEPT = frozenset({"_files", "_stream", "scope"})


class WaitingHandler(SizingHandler):
    """Answers requests as Django does. A `LaterResponse` that waits holds its coroutine and its connection."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # type: ignore[override]  # as typed by asgiref
        """Answer one request, and tell its LaterResponse when it is over, however it ended."""

        async def send_and_note(message: Any) -> None:
            await send(message)
            is_last = message["type"] == "http.response.body" and not message.get("more_body", False)
            if is_last and _LATER in scope:
                scope[_LATER].note_sent()

        try:
            await super().__call__(scope, receive, send_and_note)  # type: ignore[arg-type]  # the same types by other names
        finally:
            later = scope.pop(_LATER, None)
            if later is not None:
                later.end()

    async def run_get_response(self, request: Any) -> HttpResponseBase:
        """Return the response to a request, once it is known."""
        response = await super().run_get_response(request)
        if not isinstance(response, LaterResponse):
            return response
        request.scope[_LATER] = response
        _lighten(request)
        return response.hand_over(await response.respond())

    def client_left(self, request: Any, response: HttpResponseBase) -> None:
        """Have what the view began be known to be ended."""
        if isinstance(response, LaterResponse):
            request.scope[_LATER] = response


def _lighten(request: Any) -> None:
    """Free what the middleware and the view have hung on a request. Each points back to the request, so it would stay.

    Its session, messages, headers and the like are a third of what a call that waits takes.
    """
    for name in request.__dict__.keys() - _KEPT:
        delattr(request, name)
