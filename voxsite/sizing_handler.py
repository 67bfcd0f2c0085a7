"""Django's ASGI handler, which also reads bodies that come in chunks, and by common charsets only."""

import codecs
import os
from contextlib import suppress
from typing import Any

from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.utils.http import parse_header_parameters

# Charsets by which bodies are read, by Python's names. A body in any other is read as UTF-8.
CHARSETS = frozenset({"utf-8", "ascii", "iso8859-1", "cp1252", "utf-16"})


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
        with suppress(LookupError, ValueError):
            charset = codecs.lookup(self.content_params.get("charset", "")).name
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
