"""Django's ASGI handler, which also reads bodies that come in chunks, without Content-Length."""

import os
from typing import Any

from django.core.handlers.asgi import ASGIHandler


class SizingHandler(ASGIHandler):
    """Answers requests as Django does, those in chunks as all others."""

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
