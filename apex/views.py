"""The HTTP views of the chat endpoint. Plain async Django: the steps of DRF take longer than the relay itself."""

import functools
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.http.request import UnreadablePostError
from django.views.decorators.csrf import csrf_exempt

from accounts import log_context, outages
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
# A view as Django's types declare it; they have no asynchronous views.
DjangoView = Callable[..., Any]


def endpoint(*methods: str) -> Callable[[View], DjangoView]:
    """Decorate a view: check the method, turn exceptions into error bodies of OpenAI's shape, set the common headers.

    methods: the allowed HTTP methods; none means that all are allowed.
    """

    def decorate(view: View) -> DjangoView:
        @csrf_exempt
        @functools.wraps(view)
        async def answer(request: HttpRequest) -> HttpResponseBase:
            if not hasattr(request, "request_id"):
                offered = _header(request, REQUEST_ID_HEADER)
                request.request_id = request_id_for(offered)  # type: ignore[attr-defined]  # kept with the request
            try:
                if not methods or request.method in methods:
                    response = await view(request)
                else:
                    response = show_error(MethodNotAllowed(), request_id=request_id(request))
                    response.headers["Allow"] = ", ".join(methods)
            except VoxsiteError as error:
                response = show_error(error, request_id=request_id(request))
            except Exception as error:
                logger.exception("Unhandled error in request %s", request_id(request))
                shown = outages.error_of(error) or InternalError()
                response = show_error(shown, request_id=request_id(request))
            response.headers[REQUEST_ID_HEADER] = request_id(request)
            response.headers["Cache-Control"] = "no-store"
            return response

        answer.methods = methods  # type: ignore[attr-defined]  # read by the OpenAPI document
        return answer

    return decorate


@endpoint("POST")
async def chat_completions(request: HttpRequest) -> HttpResponseBase:
    """Answer a chat request, as one JSON body or as a stream."""
    raw, fault = _body(request)
    relay = await service.relay(
        raw,
        fault=fault,
        request_id=request_id(request),
        key=_key_in(request),
        idempotency_key=_header(request, idempotency.HEADER),
    )
    try:
        head = await relay.head()
    except BaseException:
        # The client disconnected before the response began.
        relay.close()
        raise
    response: HttpResponseBase
    if head.error is not None:
        response = show_error(head.error, request_id=request_id(request))
    elif head.answer is not None:
        response = HttpResponse(head.answer, content_type="application/json")
    else:
        response = StreamingHttpResponse(relay, content_type="text/event-stream; charset=utf-8")
        # Without this header, proxies such as nginx would buffer the stream.
        response.headers["X-Accel-Buffering"] = "no"
    if head.is_replay:
        response.headers[idempotency.REPLAYED_HEADER] = "true"
    # An error for a rate limit carries the headers of the limit that refused the request.
    if head.allowance is not None and not isinstance(head.error, RateLimited):
        _show_allowance(response, head.allowance)
    return response


@endpoint("GET")
async def models(request: HttpRequest) -> HttpResponseBase:
    """List the models."""
    allowance = await service.check_rate_limit(key=_key_in(request))
    shown = wire.show_models({name: model.max_completion_tokens for name, model in catalogue.models().items()})
    response = HttpResponse(json.dumps(shown), content_type="application/json")
    _show_allowance(response, allowance)
    return response


@endpoint()
async def unknown(request: HttpRequest) -> HttpResponseBase:
    """Answer 404 for every other address. Django's own 404 would be HTML."""
    raise NotFound


def request_id(request: HttpRequest) -> str:
    return str(getattr(request, "request_id", ""))


def show_error(error: VoxsiteError, *, request_id: str) -> HttpResponse:
    """Return the response for an error."""
    log_context.note(error_type=error.type)
    body = json.dumps(wire.show_error(error, request_id=request_id))
    response = HttpResponse(body, status=error.http_status, content_type="application/json")
    for name, value in error.headers.items():
        response.headers[name] = value
    if error.http_status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _key_in(request: HttpRequest) -> str:
    return authentication.key_in({name: _header(request, name) for name in ("X-API-Key", "Authorization")})


def _header(request: HttpRequest, name: str) -> str:
    """Return a header, "" without it. `request.headers` would copy all headers first, which takes longer."""
    return str(request.META.get(f"HTTP_{name.upper().replace('-', '_')}", ""))


def _body(request: HttpRequest) -> tuple[bytes, VoxsiteError | None]:
    """Return the body and the error that was found without parsing it, if any."""
    content_type: Any = request.content_type
    try:
        raw = request.body
    except RequestDataTooBig:
        return b"", TooLarge()
    except UnreadablePostError:
        return b"", BadRequest("The body ended too early.")
    # A body without a content type is read as JSON.
    if content_type and content_type != "application/json":
        return raw, UnsupportedMediaType("Unsupported Content-Type. Send application/json.")
    return raw, None


def _show_allowance(response: HttpResponseBase, allowance: Allowance) -> None:
    for name, value in allowance.headers().items():
        response.headers[name] = value
