"""The payment sandbox for tests: in this process, with webhooks that are delivered when the test says so.

def test_payment_arrives(stripe_sandbox, ...):
    ... the product creates a Checkout Session ...
    stripe_sandbox.pay(session_id)               # the payer pays; the site does not know yet
    stripe_sandbox.deliver()                     # signed webhooks to the real endpoint
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch
from urllib.parse import urlsplit

from django.test import Client
from djstripe.models import Event

from billing.sandbox import events, payment_actions, payment_shapes, refund_actions, webhook_sender
from billing.sandbox.payment_actions import Outcome
from billing.sandbox.store import State, Store
from billing.sandbox.transport import Response, SandboxTransport
from billing.webhook import own_endpoint


@dataclass(frozen=True)
class Request:
    """A request to Stripe, as stripe-python sends it."""

    method: str
    # The path of the URL.
    path: str
    body: str
    idempotency_key: str


# Lets the sandbox answer the request.
Perform = Callable[[], Response]
Handler = Callable[[Perform, Request], Response]


@contextmanager
def intercepting(handler: Handler) -> Iterator[None]:
    """Pass each request to a handler, which answers it, raises, or does something before or after it performs it."""
    original = SandboxTransport.request

    def request(self: Any, method: str, url: str, headers: Any, post_data: Any = None, **kwargs: Any) -> Response:
        def perform() -> Response:
            return original(self, method, url, headers, post_data, **kwargs)

        key = (headers or {}).get("Idempotency-Key", "")
        return handler(perform, Request(method.upper(), urlsplit(url).path, post_data or "", key))

    with patch.object(SandboxTransport, "request", request):
        yield


class StripeSandbox:
    """Acts as Stripe and the payer's bank. Amounts are cents."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.client = Client(raise_request_exception=False)

    # --- Objects ---

    def get(self, object_id: str) -> dict[str, Any]:
        """Return an object in its present state."""
        with self.store.transaction() as state:
            return state.get(object_id)

    def all(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        """Return all objects of a kind ("charge", "checkout.session", "refund" ...), newest first."""
        with self.store.transaction() as state:
            return state.list(kind, **wanted)

    def event(self, kind: str) -> dict[str, Any]:
        """Return the newest event of a type."""
        return self.all("event", type=kind)[0]

    # --- Actions of people and banks ---

    def pay(self, session_id: str, outcome: str = "paid", *, save_card: bool = False) -> dict[str, Any]:
        """Pay a session: "paid", "declined" (it stays open), "transfer_paid" or "transfer_failed" (then `settle`)."""
        with self.store.transaction() as state:
            return payment_actions.pay_session(state, session_id, outcome=Outcome(outcome), save_card=save_card)

    def settle(self, session_id: str, *, is_paid: bool = True) -> dict[str, Any]:
        """Complete or fail a bank transfer."""
        with self.store.transaction() as state:
            return payment_actions.settle_session(state, session_id, is_paid=is_paid)

    def expire(self, session_id: str) -> dict[str, Any]:
        with self.store.transaction() as state:
            return payment_actions.expire_session(state, state.get(session_id))

    def set_card_outcome(self, payment_method_id: str, outcome: str) -> None:
        """Choose how charges of a saved card end: "paid", "declined" or "authentication_required"."""
        with self.store.transaction() as state:
            payment_actions.set_card_outcome(state, payment_method_id, outcome=Outcome(outcome))

    def refund(self, payment_intent_id: str, amount: int | None = None) -> dict[str, Any]:
        """Refund as in Stripe's dashboard, without the product."""
        with self.store.transaction() as state:
            charge = state.get(state.get(payment_intent_id)["latest_charge"])
            return refund_actions.refund(state, charge, amount=amount, fields={})

    def delay_refunds(self) -> None:
        """Let refunds start as "pending"; then `finish_refund` or `fail_refund`."""
        self._set("slow_refunds", "on")

    def finish_refund(self, refund_id: str) -> dict[str, Any]:
        with self.store.transaction() as state:
            return refund_actions.finish_refund(state, refund_id)

    def fail_refund(self, refund_id: str) -> dict[str, Any]:
        with self.store.transaction() as state:
            return refund_actions.fail_refund(state, refund_id)

    def dispute(self, payment_intent_id: str, amount: int | None = None, *, is_inquiry: bool = False) -> dict[str, Any]:
        """Open a dispute: charge.dispute.created and, unless it is an inquiry, funds_withdrawn."""
        with self.store.transaction() as state:
            charge_id = state.get(payment_intent_id)["latest_charge"]
            return refund_actions.open_dispute(state, charge_id, amount=amount, is_inquiry=is_inquiry)

    def close_dispute(self, dispute_id: str, *, is_won: bool) -> dict[str, Any]:
        """Won: funds_reinstated and closed. Lost: closed."""
        with self.store.transaction() as state:
            return refund_actions.close_dispute(state, dispute_id, is_won=is_won)

    def pay_invoice(self, invoice_id: str) -> dict[str, Any]:
        """Pay all of an open invoice on Stripe's page, with another card. The sandbox's own page has no such button."""
        with self.store.transaction() as state:
            invoice = state.get(invoice_id, kind="invoice")
            assert invoice["status"] == "open"
            (payment,) = (each for each in invoice["payments"]["data"] if each["is_default"])
            intent = state.get(payment["payment"]["payment_intent"])
            card = payment_shapes.payment_method(
                state.new_id("pm"), now=state.now, customer_id=None, is_card=True, redisplay="unspecified"
            )
            payment_actions.succeed(state, intent, method=state.put(card))
            payment |= {"status": "paid", "amount_paid": intent["amount"]}
            payment["status_transitions"]["paid_at"] = state.now
            invoice |= {"status": "paid", "attempted": True, "amount_paid": intent["amount"], "amount_remaining": 0}
            invoice["status_transitions"]["paid_at"] = state.now
            events.emit(state, "invoice.paid", state.put(invoice))
            return invoice

    # --- Webhooks ---

    def pending_events(self) -> list[dict[str, Any]]:
        """Return the events that are not delivered yet, oldest first."""
        with self.store.transaction() as state:
            return [webhook.event for webhook in webhook_sender.pending(state, until=float("inf"))]

    def deliver(
        self, *, only: str = "", drop: str | tuple[str, ...] = "", times: int = 1, order: str = "", seed: int = 0
    ) -> list[tuple[str, int]]:
        """Deliver the pending events. Return (type, HTTP status) of each. Without 2xx an event stays pending.

        only: prefix of the types to deliver; the others stay pending. drop: prefix of the types that are lost, or
        several. times: how often to deliver each. order: "" (as they happened), "reversed" or "shuffled" (by the seed).
        """
        with self.store.transaction() as state:
            webhooks = webhook_sender.pending(state, until=float("inf"))
        webhooks = [webhook for webhook in webhooks if webhook.event["type"].startswith(only)] * times
        if order == "reversed":
            webhooks.reverse()
        elif order == "shuffled":
            random.Random(seed).shuffle(webhooks)
        responses = []
        for webhook in webhooks:
            is_dropped = bool(drop) and webhook.event["type"].startswith(drop)
            status = 200 if is_dropped else self.post(webhook.event)
            with self.store.transaction() as state:
                webhook_sender.record_response(state, webhook, status=status)
            if not is_dropped:
                responses.append((webhook.event["type"], status))
        return responses

    def let_happen(self, *, drop: tuple[str, ...]) -> None:
        """Let the site act on the pending events without HTTP and dj-stripe's row of each request.

        For payments that only prepare a test: half the time of `deliver`. What a receiver raises reaches the test.
        drop: prefixes of the types that are lost.
        """
        endpoint = own_endpoint()
        with self.store.transaction() as state:
            webhooks = webhook_sender.pending(state, until=float("inf"))
        for each in webhooks:
            if not each.event["type"].startswith(drop):
                Event.process(each.event, api_key=endpoint.djstripe_owner_account.default_api_key)
        with self.store.transaction() as state:
            for each in webhooks:
                webhook_sender.record_response(state, each, status=200)

    def post(self, event: dict[str, Any], *, secret: str = "", signed_at: float | None = None) -> int:
        """Send an event to the endpoint, with another secret or time of signature if given. Return the HTTP status."""
        body, headers = webhook_sender.sign(event, now=signed_at, secret=secret)
        response = self.client.post("/stripe/webhook", body, content_type="application/json", headers=headers)
        return response.status_code

    # --- Failures ---

    def forget_responses(self) -> None:
        """Let all idempotency keys expire, as Stripe does after a day."""
        with self.store.transaction() as state:
            state.database.execute("DELETE FROM responses")

    @contextmanager
    def failing(self, how: str, times: int | None = None) -> Iterator[None]:
        """Fail requests: "refused", "error" (500), "timeout" or "response_lost" (it takes effect).

        times: how many requests, all if None. The client repeats a failed request once.
        """
        self._set("failure", f"{how}*{times}" if times else how)
        try:
            yield
        finally:
            self._set("failure", "")

    def _set(self, name: str, value: str) -> None:
        with self.store.transaction() as state:
            state.set_setting(name, value)

    @contextmanager
    def state(self) -> Iterator[State]:
        """Yield the sandbox's state in a transaction."""
        with self.store.transaction() as state:
            yield state
