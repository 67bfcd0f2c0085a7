"""A name for every request, by which a customer's question finds our log line."""

import re
import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

HEADER = "X-Request-Id"
# A caller's own id is kept when it is harmless; anything else could forge log lines.
HARMLESS = re.compile(r"[A-Za-z0-9_.:-]{8,128}")


def request_id_for(offered: str) -> str:
    """Return the id that the caller offered, if it is harmless, else a new one."""
    return offered if HARMLESS.fullmatch(offered) else f"req_{secrets.token_hex(12)}"


class RequestIdMiddleware:
    """Gives `request.request_id` and sends it back in X-Request-Id."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_for(request.headers.get(HEADER, ""))
        request.request_id = request_id  # type: ignore[attr-defined]
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
