"""Django's ASGI handler. It also reads bodies in chunks, by common charsets only, and closes what a view opened."""

import asyncio
import codecs
import os
from contextlib import suppress
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpResponseBase
from django.utils.http import parse_header_parameters

from voxsite import bursts, request_metrics

# Charsets by which bodies are read, by Python's names. A body in any other is read as UTF-8.
CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16"})

# Of all handlers: a caller may use several faces.
_bursts = bursts.Bursts(max(1, bursts.PLACES // settings.WEB_PROCESSES))


class Request(ASGIRequest):
    """A request whose Content-Type does no harm."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        """Read the Content-Type, as Django does for well-behaved ones (Django 5.2, DRF 3.18, read in source).

        They take every text encoding that Python has. Decoding Punycode takes a time that grows with the square of the
        body's length, and UTF-7 gives lone surrogates, which no database takes. A parameter in an unknown charset
        raises a ValueError that nobody expects.
        """
        header = meta.get("CONTENT_TYPE", "")
        try:
            self.content_type, self.content_params = parse_header_parameters(header)
        except ValueError:
            self.content_type, self.content_params = header.partition(";")[0].strip().lower(), {}
        if "charset" not in self.content_params:
            return
        with suppress(LookupError, ValueError):
            charset = codecs.lookup(self.content_params["charset"]).name
            self._encoding = charset if charset in CHARSETS else None


class SizingHandler(ASGIHandler):
    """Answers requests as Django does, those in chunks as all others."""

    request_class = Request

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """Return (request, None) or (None, error response). The request states the size of its body in any case.

        Programs stream a file in chunks, without Content-Length (OpenAI's package for Node; curl from a pipe). Django
        and DRF take such a body for an empty one, although Django has read all of it by now (Django 5.2, DRF 3.18, read
        in source).
        """
        request, error_response = super().create_request(scope, body_file)
        if request is not None and "CONTENT_LENGTH" not in request.META:
            request.META["CONTENT_LENGTH"] = str(body_file.seek(0, os.SEEK_END))
            body_file.seek(0)
        return request, error_response

    async def run_get_response(self, request: Any) -> HttpResponseBase:
        """Return the response to a request, once it has a place.

        A client may leave while the view runs in its thread. Nothing can stop a thread, so its end is awaited. With a
        response that nobody gets, Django leaves the files of the request and its own open until Python collects garbage
        (Django 5.2, read in source).
        """
        try:
            async with _bursts.place(bursts.caller_of(request)):
                return await self._answer(request)
        finally:
            request_metrics.name_view(request)

    async def _answer(self, request: Any) -> HttpResponseBase:
        view = asyncio.ensure_future(super().run_get_response(request))
        try:
            return await asyncio.shield(view)
        except asyncio.CancelledError:
            response = await view
            self.client_left(request, response)
            await sync_to_async(response.close)()
            raise

    def client_left(self, request: Any, response: HttpResponseBase) -> None:
        """Do what must be done with a response that nobody gets, before it is closed."""
