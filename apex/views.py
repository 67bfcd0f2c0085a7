"""The addresses of the chat endpoint: plain async Django, past DRF, whose steps cost more than the relay itself."""

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from accounts.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    TooLarge,
    UnsupportedMediaType,
    VoxsiteError,
)
from accounts.gate import authentication, idempotency
from accounts.gate.limits import Allowance
from accounts.gate.request_ids import HEADER as REQUEST_ID_HEADER
from accounts.gate.request_ids import request_id_for
from apex import catalogue, service, wire

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], Awaitable[HttpResponseBase]]
# What Django calls a view; its types know no asynchronous ones.
Shown = Callable[..., Any]


def face(*methods: str) -> Callable[[View], Shown]:
    """Make a view the place where an exception becomes a response in OpenAI's envelope."""

    def decorate(view: View) -> Shown:
        @csrf_exempt
        @functools.wraps(view)
        async def answer(request: HttpRequest) -> HttpResponseBase:
            if not hasattr(request, "request_id"):
                offered = request.headers.get(REQUEST_ID_HEADER, "")
                request.request_id = request_id_for(offered)  # type: ignore[attr-defined]
            try:
                if not methods or request.method in methods:
                    response = await view(request)
                else:
                    response = show_error(MethodNotAllowed(), request_id=request_id(request))
                    response.headers["Allow"] = ", ".join(methods)
            except VoxsiteError as error:
                response = show_error(error, request_id=request_id(request))
            except Exception:
                logger.exception("Unhandled error in request %s", request_id(request))
                response = show_error(InternalError(), request_id=request_id(request))
            response.headers[REQUEST_ID_HEADER] = request_id(request)
            response.headers["Cache-Control"] = "no-store"
            return response

        answer.methods = methods  # type: ignore[attr-defined]
        return answer

    return decorate


@face("POST")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a chat request, whole or as a stream."""
    raw, fault = _body(request)
    relay = await service.relay(
        raw,
        fault=fault,
        request_id=request_id(request),
        key=authentication.key_in(request.headers),
        idempotency_key=request.headers.get(idempotency.HEADER, ""),
    )
    try:
        head = await relay.head()
    except BaseException:
        # The client left while it waited: nobody will read.
        relay.leave()
        raise
    response: HttpResponseBase
    if head.error is not None:
        response = show_error(head.error, request_id=request_id(request))
    elif head.answer is not None:
        response = HttpResponse(head.answer, content_type="application/json")
    else:
        response = StreamingHttpResponse(relay, content_type="text/event-stream; charset=utf-8")
        # Proxies such as nginx would gather the pieces.
        response.headers["X-Accel-Buffering"] = "no"
    if head.is_replay:
        response.headers["Idempotency-Replayed"] = "true"
    # What the wider limit leaves is not what a client that was refused must know.
    if head.allowance is not None and not isinstance(head.error, RateLimited):
        _show_allowance(response, head.allowance)
    return response


@face("GET")
async def models(request: HttpRequest) -> HttpResponseBase:
    """List the models that can be asked for."""
    allowance = await service.look(key=authentication.key_in(request.headers))
    shown = wire.show_models({name: model.max_completion_tokens for name, model in catalogue.models().items()})
    response = HttpResponse(json.dumps(shown), content_type="application/json")
    _show_allowance(response, allowance)
    return response


@face()
async def unknown(request: HttpRequest) -> HttpResponseBase:
    """The catch-all: Django's own 404 would be HTML."""
    raise NotFound


def request_id(request: HttpRequest) -> str:
    return str(getattr(request, "request_id", ""))


def show_error(error: VoxsiteError, *, request_id: str) -> HttpResponse:
    """Return an error's response."""
    body = json.dumps(wire.show_error(error, request_id=request_id))
    response = HttpResponse(body, status=error.http_status, content_type="application/json")
    if isinstance(error, RateLimited):
        for name, value in error.headers.items():
            response.headers[name] = value
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _body(request: HttpRequest) -> tuple[bytes, VoxsiteError | None]:
    """Return the body, and what is wrong with it before it is read as JSON."""
    content_type: Any = request.content_type
    try:
        raw = request.body
    except RequestDataTooBig:
        return b"", TooLarge()
    except UnreadablePostError:
        return b"", BadRequest("The body ended too early.")
    # Without a type it is taken for what this address reads.
    if content_type and content_type != "application/json":
        return raw, UnsupportedMediaType("This address reads application/json.")
    return raw, None


def _show_allowance(response: HttpResponseBase, allowance: Allowance) -> None:
    for name, value in allowance.headers().items():
        response.headers[name] = value
