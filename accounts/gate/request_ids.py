"""Request ids, which connect a customer's question to our log lines."""

import re
import secrets
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from accounts import log_context

HEADER = "X-Request-Id"
# The caller may send an id of this form. Other characters could forge log lines.
SAFE_ID = re.compile(r"[A-Za-z0-9_.:-]{8,128}")


def request_id_for(offered: str) -> str:
    """Return the id that the caller sent, if it is safe, or else a new one. From now on it stands in log lines."""
    request_id = offered if SAFE_ID.fullmatch(offered) else f"req_{secrets.token_hex(12)}"
    log_context.begin(request_id=request_id)
    # For the log of requests, also when the client leaves before a header of the answer says it.
    log_context.note(request_id=request_id)
    return request_id


class RequestIdMiddleware:
    """Sets `request.request_id`, and sends it in the header X-Request-Id of the response."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = request_id_for(request.headers.get(HEADER, ""))
        request.request_id = request_id  # type: ignore[attr-defined]  # kept with the request
        response = self.get_response(request)
        response.headers[HEADER] = request_id
        return response
