"""stripe-python's HTTP seam: what would go to api.stripe.com is answered here.

Below the library's own retries, above no network at all. Can also be as dead as the real one: refused, failing, silent,
or silent after it has done what was asked, which is the worst.
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

LONGEST_KEY = 255
# What the knob "failure" may say.
REFUSED, ERROR, SILENCE, ANSWER_LOST = FAILURES = ("refused", "error", "silence", "answer_lost")

Answer = tuple[str, int, Mapping[str, str]]


class SandboxTransport(stripe.HTTPClient):
    """Answers as Stripe would. Cannot be made unless the site runs on the sandbox."""

    name = "sandbox"

    def __init__(self) -> None:
        if not (settings.DEVELOPMENT and settings.STRIPE_SANDBOX):
            raise RuntimeError("The payment sandbox exists in development only, and only without STRIPE_SECRET_KEY.")
        super().__init__()

    def request(
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None, *, _usage: Any = None
    ) -> Answer:
        store = Store(settings.STRIPE_SANDBOX_FILE)
        failure = _next_failure(store)
        if failure in {REFUSED, SILENCE}:
            raise _no_answer(failure)
        if failure == ERROR:
            return _as_answer(500, {"error": {"type": "api_error", "message": "An unknown error occurred"}}, "req_none")
        answer = _answered(store, method, url, dict(headers or {}), post_data)
        background_thread.wake()
        if failure == ANSWER_LOST:
            raise _no_answer(failure)
        return answer

    def close(self) -> None:
        """Nothing is open."""


def _answered(store: Store, method: str, url: str, headers: dict[str, str], post_data: Any) -> Answer:
    parts = urlsplit(url)
    params = form_encoding.decode(parts.query) | form_encoding.decode(post_data or "")
    key = headers.get("Idempotency-Key", "") if method.upper() == "POST" else ""
    fingerprint = hashlib.sha256(json.dumps([parts.path, params], sort_keys=True).encode()).hexdigest()
    try:
        with store.change() as state:
            state.request_id = state.new_id("req")
            request_id = state.request_id
            state.idempotency_key = key or None
            earlier = _earlier(state, key, fingerprint)
            if earlier:
                return earlier
            status, body = routes.answer(state, method.upper(), parts.path, params)
            text = json.dumps(body)
            if key:
                state.keep_answer(key, fingerprint=fingerprint, status=status, body=text)
            return text, status, {"Request-Id": request_id}
    except parameters.Refusal as refusal:
        # As at Stripe, nothing is kept under the key of a request that was never begun.
        return _as_answer(refusal.status, {"error": refusal.error}, request_id)


def _earlier(state: State, key: str, fingerprint: str) -> Answer | None:
    """Return the answer that was given under this key (docs.stripe.com/api/idempotent_requests, read 2026-11-20)."""
    if len(key) > LONGEST_KEY:
        raise parameters.Refusal(
            f"Idempotency keys are at most {LONGEST_KEY} characters long.", param="idempotency_key"
        )
    kept = state.answer(key) if key else None
    if kept is None:
        return None
    if kept[0] != fingerprint:
        raise parameters.Refusal(
            "Keys for idempotent requests can only be used with the same parameters they were first used with. "
            f"Try using a key other than '{key}' if you meant to execute a different request.",
            kind="idempotency_error",
        )
    return kept[2], kept[1], {"Request-Id": str(state.request_id), "Idempotent-Replayed": "true"}


def _next_failure(store: Store) -> str:
    """Return how this request fails, or an empty text. The knob may say how often: "error*2"."""
    with store.change() as state:
        failure, _, times = state.knob("failure").partition("*")
        if failure and times:
            state.turn("failure", f"{failure}*{int(times) - 1}" if int(times) > 1 else "")
    return failure


def _no_answer(failure: str) -> stripe.APIConnectionError:
    # As stripe.RequestsClient reports a refused connection and a time-out (15.6, read in source).
    word = "refused" if failure == REFUSED else "timed out"
    return stripe.APIConnectionError(  # type: ignore[no-untyped-call]
        f"Unexpected error communicating with Stripe. (The sandbox {word}.)", should_retry=True
    )


def _as_answer(status: int, body: dict[str, Any], request_id: str) -> Answer:
    return json.dumps(body), status, {"Request-Id": request_id}
