"""GateView: the only place where an exception becomes a response to a program."""

import logging
from collections.abc import Callable
from typing import Any, ClassVar

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation, TooManyFilesSent
from django.http import Http404, HttpResponseBase
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException, UnreadablePostError
from django.utils.datastructures import MultiValueDict
from rest_framework import exceptions as drf
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

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
from accounts.gate import authentication, idempotency, limits

logger = logging.getLogger(__name__)


class AlwaysJson(BaseContentNegotiation):
    """Answers in the one form there is, whatever Accept says: a client that asks for */html still wants its answer."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return next((parser for parser in parsers if _matches(parser.media_type, request.content_type)), None)

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class GateView(APIView):
    """One address of an HTTP face. A face subclasses it once with its own `show_error`.

    Subclasses have `self.caller` after `initial`, raise `VoxsiteError`s and return responses.
    """

    needs_key: ClassVar[bool] = True
    # Extra limits, names of settings.RATE_LIMITS, for methods that create.
    post_scopes: ClassVar[tuple[str, ...]] = ()
    # Honour Idempotency-Key on POST.
    is_idempotent: ClassVar[bool] = False
    content_negotiation_class = AlwaysJson
    metadata_class = None

    caller: authentication.Caller
    allowance: limits.Allowance | None = None

    def show_error(self, error: VoxsiteError, *, request_id: str) -> dict[str, Any]:
        """Return the error's body in the face's own shape."""
        raise NotImplementedError

    @property
    def request_id(self) -> str:
        return str(getattr(self.request, "request_id", ""))

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if not self.needs_key:
            return
        self.caller = authentication.authenticate(request.headers)
        self.allowance = limits.spend(self.caller.organization, scope="requests")
        if request.method == "POST":
            for scope in self.post_scopes:
                self.allowance = limits.spend(self.caller.organization, scope=scope)

    def once(self, act: Callable[[idempotency.Keep], Response]) -> Response:
        """Answer a POST that creates or charges, once per Idempotency-Key.

        act: calls what it is given with its answer's status and body, inside the transaction that does the work.
        """
        key = self.request.headers.get(idempotency.HEADER, "")
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
        return Response(body, status=status, headers={"Idempotency-Replayed": "true"} if was_replayed else None)

    def handle_exception(self, exc: Exception) -> Response:
        error = _translate(exc)
        if isinstance(error, InternalError):
            logger.error("Unhandled error in request %s", self.request_id, exc_info=exc)
        response = Response(self.show_error(error, request_id=self.request_id), status=error.http_status)
        if isinstance(error, RateLimited):
            self.allowance = None  # What the wider limit leaves is not what the client must know now.
            for name, value in error.headers.items():
                response[name] = value
        if error.http_status == 401:
            response["WWW-Authenticate"] = "Bearer"
        if isinstance(error, MethodNotAllowed):
            response["Allow"] = ", ".join(self.allowed_methods)
        response.exception = True
        return response

    def finalize_response(self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any) -> Any:
        final = super().finalize_response(request, response, *args, **kwargs)  # type: ignore[arg-type]
        if self.allowance is not None:
            for name, value in self.allowance.headers().items():
                final[name] = value
        # Answers hold customers' words: no cache between us may keep them.
        final.setdefault("Cache-Control", "no-store")
        return final

    def options(self, request: Any, *_: Any, **__: Any) -> Response:
        raise MethodNotAllowed


class UnknownAddress(GateView):
    """The catch-all of a face: Django's own 404 would be HTML. Asks for no key, as the seed's table has 404 for it."""

    needs_key = False

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound


def _translate(error: Exception) -> VoxsiteError:
    """Return ours for a foreign exception that a request can cause; InternalError for any other."""
    if isinstance(error, VoxsiteError):
        return error
    for kinds, make in _TRANSLATIONS:
        if isinstance(error, kinds):
            return make()
    return InternalError()


_TRANSLATIONS: tuple[tuple[tuple[type[Exception], ...], Callable[[], VoxsiteError]], ...] = (
    ((RequestDataTooBig,), lambda: TooLarge("The fields of this request are too large.")),
    ((TooManyFilesSent,), lambda: BadRequest("Too many files in one request.")),
    ((MultiPartParserError, RawPostDataException), lambda: BadRequest("The multipart body is broken.")),
    ((UnreadablePostError,), lambda: BadRequest("The body ended too early.")),
    ((SuspiciousOperation,), BadRequest),
    ((drf.ParseError,), lambda: BadRequest("The body is broken: it does not fit its Content-Type.")),
    (
        (drf.UnsupportedMediaType,),
        lambda: UnsupportedMediaType("This address does not read that Content-Type."),
    ),
    ((drf.MethodNotAllowed,), MethodNotAllowed),
    ((drf.NotFound, Http404), NotFound),
)


def _matches(media_type: str, content_type: str | None) -> bool:
    return (content_type or "").partition(";")[0].strip().lower() == media_type
