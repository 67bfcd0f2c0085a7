"""The HTTP client of stripe-python in development: answers here what would go to api.stripe.com.

The library's own retries run above it. The setting "failure" of the control page makes requests fail: the connection is
refused, Stripe answers 500, nothing answers, or the request takes effect but its response is lost.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import stripe
from django.conf import settings

from billing.sandbox import background_thread, form_encoding, parameters, routes
from billing.sandbox.store import State, Store

MAX_KEY_LENGTH = 255
# Values of the setting "failure".
REFUSED, ERROR, TIMEOUT, RESPONSE_LOST = FAILURES = ("refused", "error", "timeout", "response_lost")

# (body, HTTP status, headers)
Response = tuple[str, int, Mapping[str, str]]


class SandboxTransport(stripe.HTTPClient):
    """Answers as Stripe would. Refuses to be created unless the site uses the sandbox."""

    name = "sandbox"

    def __init__(self) -> None:
        if not (settings.DEVELOPMENT and settings.STRIPE_SANDBOX):
            raise RuntimeError("The payment sandbox exists in development only, and only without STRIPE_SECRET_KEY.")
        super().__init__()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, *, _usage: Any = None
    ) -> Response:
        store = Store(settings.STRIPE_SANDBOX_FILE)
        failure = _next_failure(store)
        if failure in {REFUSED, TIMEOUT}:
            raise _connection_error(failure)
        if failure == ERROR:
            return _response(500, {"error": {"type": "api_error", "message": "An unknown error occurred"}}, "req_none")
        response = _handle(store, method, url, dict(headers or {}), post_data)
        background_thread.wake()
        if failure == RESPONSE_LOST:
            raise _connection_error(failure)
        return response

    def close(self) -> None:
        """Do nothing: no connection is open."""


def _handle(store: Store, method: str, url: str, headers: dict[str, str], post_data: Any) -> Response:
    parts = urlsplit(url)
    params = form_encoding.decode(parts.query) | form_encoding.decode(post_data or "")
    key = headers.get("Idempotency-Key", "") if method.upper() == "POST" else ""
    fingerprint = hashlib.sha256(json.dumps([parts.path, params], sort_keys=True).encode()).hexdigest()
    try:
        with store.transaction() as state:
            state.request_id = state.new_id("req")
            request_id = state.request_id
            state.idempotency_key = key or None
            repeated = _repeated_response(state, key, fingerprint)
            if repeated:
                return repeated
            status, body = routes.handle(state, method.upper(), parts.path, params)
            text = json.dumps(body)
            if key:
                state.store_response(key, fingerprint=fingerprint, status=status, body=text)
            return text, status, {"Request-Id": request_id}
    except parameters.ApiError as error:
        # As at Stripe, a request that failed validation is not stored under its idempotency key.
        return _response(error.status, {"error": error.error}, request_id)


def _repeated_response(state: State, key: str, fingerprint: str) -> Response | None:
    """Return the response to the first request with this key, or None.

    Source: docs.stripe.com/api/idempotent_requests, read 2026-11-20.
    """
    if len(key) > MAX_KEY_LENGTH:
        raise parameters.ApiError(
            f"Idempotency keys are at most {MAX_KEY_LENGTH} characters long.", param="idempotency_key"
        )
    stored = state.stored_response(key) if key else None
    if stored is None:
        return None
    if stored[0] != fingerprint:
        raise parameters.ApiError(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    return stored[2], stored[1], {"Request-Id": str(state.request_id), "Idempotent-Replayed": "true"}


def _next_failure(store: Store) -> str:
    """Return how this request fails, or an empty text. "error*2" fails the next two requests."""
    with store.transaction() as state:
        failure, _, count = state.get_setting("failure").partition("*")
        if failure and count:
            state.set_setting("failure", f"{failure}*{int(count) - 1}" if int(count) > 1 else "")
    return failure


def _connection_error(failure: str) -> stripe.APIConnectionError:
    # The same error as stripe.RequestsClient raises (stripe-python 15.6, read in its source).
    reason = "refused" if failure == REFUSED else "timed out"
    return stripe.APIConnectionError(  # type: ignore[no-untyped-call]  # stripe types few errors
        f"Unexpected error communicating with Stripe. (The sandbox {reason}.)", should_retry=True
    )


def _response(status: int, body: dict[str, Any], request_id: str) -> Response:
    return json.dumps(body), status, {"Request-Id": request_id}
