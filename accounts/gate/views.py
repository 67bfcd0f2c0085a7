"""GateView, the base class of API views. Only here does an exception become an API response."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.http import Http404, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException, UnreadablePostError
from django.utils.datastructures import MultiValueDict
from rest_framework import exceptions as drf
from rest_framework import serializers
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

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
from accounts.gate import authentication, idempotency, key_scopes, limits

logger = logging.getLogger(__name__)


def data_fields() -> dict[str, Any]:
    """Return the data of errors (`VoxsiteError.data`) as fields of an OpenAPI description.

    None is required, since the type of an error says which it has.
    """

    def amount(help_text: str) -> serializers.IntegerField:
        return serializers.IntegerField(required=False, help_text=help_text)

    return {
        "param": serializers.CharField(required=False, help_text="The field that is wrong."),
        "required_scopes": serializers.ListField(
            child=serializers.CharField(), required=False, help_text="Of insufficient_scope: one of these is enough."
        ),
        "retry_after": amount("Of 429 and 503: seconds, as in the header Retry-After."),
        "required_micros": amount("Of 402: what is needed, in micro-dollars."),
        "required_cents": amount("The same, rounded up to cents."),
        "available_micros": amount("Of insufficient_balance: what is there."),
        "available_cents": amount("The same, rounded down to cents."),
        "limit": serializers.CharField(required=False, help_text="Of spend_limit_reached: key, organization or token."),
        "limit_micros": amount("The limit."),
        "left_micros": amount("What is left of it."),
        "left_cents": amount("The same, rounded down to cents."),
        "resets_at": serializers.CharField(required=False, help_text="When the limit is reset, in UTC."),
    }


class AlwaysJson(BaseContentNegotiation):
    """Ignores Accept: there is only one format, and a client that asks for another one still wants the response."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return next((parser for parser in parsers if _matches(parser.media_type, request.content_type)), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class GateView(APIView, ABC):
    """Base class of API views. Each API has one subclass with its own `show_error`.

    `initial` sets `self.caller`. Subclasses raise `VoxsiteError`s and return responses.
    """

    needs_key: ClassVar[bool] = True
    # Schemes of the header Authorization that this API takes.
    key_schemes: ClassVar[tuple[str, ...]] = (authentication.BEARER,)
    # Further rate limits of POST requests: names of settings.RATE_LIMITS.
    post_scopes: ClassVar[tuple[str, ...]] = ()
    # Whether POST supports Idempotency-Key.
    is_idempotent: ClassVar[bool] = False
    content_negotiation_class = AlwaysJson
    metadata_class = None

    caller: authentication.Caller
    allowance: limits.Allowance | None = None

    @abstractmethod
    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        """Return the body of an error in the shape of this API."""

    def http_status_of(self, error: VoxsiteError) -> int:
        """Return the status of an error in this API."""
        return error.http_status

    @property
    def request_id(self) -> str:
        return str(getattr(self.request, "request_id", ""))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not self.needs_key:
            return
        self.caller = authentication.authenticate(request.headers, schemes=self.key_schemes)
        self.allowance = limits.spend(self.caller.organization, scope="requests")
        if request.method == "POST":
            for scope in self.post_scopes:
                self.allowance = limits.spend(self.caller.organization, scope=scope)
        # Last, so that refusals count against the rate limits too.
        route = key_scopes.route_of(request._request)
        key_scopes.require(self.caller.api_key, route=route, method=str(request.method))

    def once(self, act: Callable[[idempotency.Keep], Response]) -> Response:
        """Run a POST that creates something or costs money, once for each Idempotency-Key.

        act: calls its argument with status and body of its response, inside the transaction that does the work.
        """
        key = idempotency.key_of(self.caller.api_key, self.request.headers.get(idempotency.HEADER, ""))
        if not key:
            return act(lambda *_: None)

        def answer(keep: idempotency.Keep) -> tuple[int, Any]:
            response = act(keep)
            return response.status_code, response.data

        data = self.request.data if isinstance(self.request.data, dict | MultiValueDict) else {"": self.request.data}
        mark = idempotency.fingerprint(f"{self.request.method} {self.request.get_full_path()}", data=data)
        status, body, was_replayed = idempotency.once(
            self.caller.organization, key=key, request_fingerprint=mark, act=answer
        )
        return Response(body, status=status, headers={idempotency.REPLAYED_HEADER: "true"} if was_replayed else None)

    def handle_exception(self, exc: Exception) -> Response:
        error = translate(exc, request_id=self.request_id)
        log_context.note(error_type=error.type)
        if isinstance(error, RateLimited):
            self.allowance = None  # The headers must describe the limit that was reached, not a wider one.
        response = Response(
            self.show_error(error, request_id=self.request_id),
            status=self.http_status_of(error),
            headers=self.headers_of_error(error),
        )
        response.exception = True
        return response

    def headers_of_error(self, error: VoxsiteError) -> dict[str, str]:
        """Return the headers that an error response has beside the usual ones."""
        headers = dict(error.headers)
        if error.http_status == 401:
            headers["WWW-Authenticate"] = authentication.challenge(self.key_schemes)
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = ", ".join(self.allowed_methods)
        return headers

    def finalize_response(self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]  # the stubs want DRF's own
        if self.allowance is not None:
            for name, value in self.allowance.headers().items():
                final[name] = value
        # Responses contain customers' texts, so no shared cache may keep them.
        final.setdefault("Cache-Control", "no-store")
        return final

    def options(self, request: Any, *_: Any, **__: Any) -> Response:
        raise MethodNotAllowed


class UnknownAddress(GateView):
    """The catch-all of an API: Django's 404 would be HTML. It needs no key, since VoxParse's table says 404."""

    needs_key = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound


def translate(error: Exception, *, request_id: str) -> VoxsiteError:
    """Return the VoxsiteError for an exception that a request can cause, or InternalError for any other.

    That one is logged.
    """
    if isinstance(error, VoxsiteError):
        return error
    if (outage := outages.error_of(error)) is not None:
        logger.warning("Request %s met an outage: %s: %s", request_id, type(error).__name__, error)
        return outage
    found = next((make() for kinds, make in _TRANSLATIONS if isinstance(error, kinds)), InternalError())
    if isinstance(found, InternalError):
        logger.error("Unhandled error in request %s", request_id, exc_info=error)
    return found


_TRANSLATIONS: tuple[tuple[tuple[type[Exception], ...], Callable[[], VoxsiteError]], ...] = (
    ((RequestDataTooBig,), lambda: TooLarge("The fields of this request are too large.")),
    ((TooManyFilesSent,), lambda: BadRequest("Too many files in one request.")),
    ((MultiPartParserError, RawPostDataException), lambda: BadRequest("The multipart body is broken.")),
    ((UnreadablePostError,), lambda: BadRequest("The body ended too early.")),
    ((SuspiciousOperation,), BadRequest),
    ((drf.ParseError,), lambda: BadRequest("The body is broken: it does not fit its Content-Type.")),
    (
        (drf.UnsupportedMediaType,),
        lambda: UnsupportedMediaType("Unsupported Content-Type."),
    ),
    ((drf.MethodNotAllowed,), MethodNotAllowed),
    ((drf.NotFound, Http404), NotFound),
)


def _matches(media_type: str, content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == media_type
