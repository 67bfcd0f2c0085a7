"""Counts requests and their times in this process, for Prometheus. The view `voxsite.metrics` shows them."""

from django.http import HttpRequest, HttpResponseBase
from prometheus_client import Counter, Histogram

# Anybody may send any method. Each new label value would be kept for as long as the process lives.
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# The status of a request whose client left before it was answered, as nginx logs it.
CLIENT_LEFT = "499"

REQUESTS = Counter("voxsite_http_requests", "Requests, by view, method and status.", ["view", "method", "status"])
# A call that waits for its transcript takes as long as the transcription.
SECONDS = Histogram(
    "voxsite_http_request_seconds",
    "Time until the response to a request began, by view.",
    ["view"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)


def record(request: HttpRequest, response: HttpResponseBase | None, *, seconds: float) -> None:
    """Count one request. response: None if its client left. seconds: from its arrival to the response's beginning."""
    match = request.resolver_match
    view = (match.view_name or "unnamed") if match is not None else "unknown"
    method = request.method if request.method in METHODS else "other"
    REQUESTS.labels(view, method, CLIENT_LEFT if response is None else str(response.status_code)).inc()
    SECONDS.labels(view).observe(seconds)
