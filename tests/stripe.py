"""The payment sandbox as tests use it: in this process, its webhooks carried when the test says so.

def test_payment_arrives(stripe_sandbox, ...):
    ... the product makes a Checkout Session ...
    stripe_sandbox.pay(session_id)               # the payer pays; the site is not told yet
    stripe_sandbox.deliver()                     # signed webhooks, through the real endpoint
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.test import Client

from billing.sandbox import invoices, payment_actions, webhook_sender
from billing.sandbox.payment_actions import Outcome
from billing.sandbox.store import State, Store


class StripeSandbox:
    """Stripe and the payer's bank, in the hands of a test. Amounts are cents."""

    def __init__(self, path: Path) -> None:
        self.store = Store(path)
        self.client = Client(raise_request_exception=False)

    # --- What there is ---

    def get(self, thing_id: str) -> dict[str, Any]:
        """Return an object as it is now."""
        with self.store.change() as state:
            return state.get(thing_id)

    def all(self, kind: str, **wanted: Any) -> list[dict[str, Any]]:
        """Return all objects of a kind ("charge", "checkout.session", "refund" ...), newest first."""
        with self.store.change() as state:
            return state.list(kind, **wanted)

    def event(self, kind: str) -> dict[str, Any]:
        """Return the newest event of a type."""
        return self.all("event", type=kind)[0]

    # --- What people and banks do ---

    def pay(self, session_id: str, outcome: str = "paid", *, save_card: bool = False) -> dict[str, Any]:
        """Let the payer act: "paid", "declined" (stays open), "later_paid" or "later_failed" (then `settle`)."""
        with self.store.change() as state:
            return payment_actions.pay_session(state, session_id, outcome=Outcome(outcome), save_card=save_card)

    def settle(self, session_id: str, *, is_paid: bool = True) -> dict[str, Any]:
        """Let the slow bank answer."""
        with self.store.change() as state:
            return payment_actions.settle_session(state, session_id, is_paid=is_paid)

    def expire(self, session_id: str) -> dict[str, Any]:
        with self.store.change() as state:
            return payment_actions.expire_session(state, state.get(session_id))

    def card_will(self, payment_method_id: str, outcome: str) -> None:
        """Choose what a saved card does: "paid", "declined" or "asks_owner"."""
        with self.store.change() as state:
            payment_actions.card_will(state, payment_method_id, outcome=Outcome(outcome))

    def refund(self, payment_intent_id: str, amount: int | None = None) -> dict[str, Any]:
        """Refund from Stripe's dashboard: not asked for by the product."""
        with self.store.change() as state:
            charge = state.get(state.get(payment_intent_id)["latest_charge"])
            return payment_actions.refund(state, charge, amount=amount, fields={})

    def refunds_are_slow(self) -> None:
        """Let refunds begin as "pending"; then `finish_refund` or `fail_refund`."""
        self._turn("slow_refunds", "on")

    def finish_refund(self, refund_id: str) -> dict[str, Any]:
        with self.store.change() as state:
            return payment_actions.finish_refund(state, refund_id)

    def fail_refund(self, refund_id: str) -> dict[str, Any]:
        with self.store.change() as state:
            return payment_actions.fail_refund(state, refund_id)

    def dispute(self, payment_intent_id: str, amount: int | None = None, *, is_inquiry: bool = False) -> dict[str, Any]:
        """Open a dispute: charge.dispute.created and, unless it is an inquiry, funds_withdrawn."""
        with self.store.change() as state:
            charge_id = state.get(payment_intent_id)["latest_charge"]
            return payment_actions.open_dispute(state, charge_id, amount=amount, is_inquiry=is_inquiry)

    def close_dispute(self, dispute_id: str, *, is_won: bool) -> dict[str, Any]:
        """Won: funds_reinstated and closed. Lost: closed."""
        with self.store.change() as state:
            return payment_actions.close_dispute(state, dispute_id, is_won=is_won)

    def pay_invoice(self, invoice_id: str) -> dict[str, Any]:
        """Pay an open invoice on its own page."""
        with self.store.change() as state:
            return invoices.pay_on_its_page(state, invoice_id)

    # --- What the site is told ---

    def waiting(self) -> list[dict[str, Any]]:
        """Return the events that were not delivered yet, in the order in which they happened."""
        with self.store.change() as state:
            return [delivery.event for delivery in webhook_sender.waiting(state, until=float("inf"))]

    def deliver(
        self, *, only: str = "", drop: str = "", times: int = 1, order: str = "", seed: int = 0
    ) -> list[tuple[str, int]]:
        """Deliver what waits; return (type, HTTP status) of each. What is not answered with 2xx waits on.

        only: beginning of the types to deliver, the rest waits ("late"). drop: those that never arrive. times: how
        often each comes. order: "" (as it happened), "reversed" or "shuffled" (by the seed).
        """
        with self.store.change() as state:
            deliveries = webhook_sender.waiting(state, until=float("inf"))
        deliveries = [delivery for delivery in deliveries if delivery.event["type"].startswith(only)] * times
        if order == "reversed":
            deliveries.reverse()
        elif order == "shuffled":
            random.Random(seed).shuffle(deliveries)
        answers = []
        for delivery in deliveries:
            is_dropped = bool(drop) and delivery.event["type"].startswith(drop)
            status = 200 if is_dropped else self.post(delivery.event)
            with self.store.change() as state:
                webhook_sender.mark(state, delivery, status=status)
            if not is_dropped:
                answers.append((delivery.event["type"], status))
        return answers

    def post(self, event: dict[str, Any], *, secret: str = "", signed_at: float | None = None) -> int:
        """Send an event to the endpoint, perhaps wrongly signed or long ago; return the HTTP status."""
        body, headers = webhook_sender.signed(event, now=signed_at, secret=secret)
        response = self.client.post("/stripe/webhook", body, content_type="application/json", headers=headers)
        return response.status_code

    # --- A dead Stripe ---

    @contextmanager
    def failing(self, how: str, times: int | None = None) -> Iterator[None]:
        """Fail requests: "refused", "error" (500), "silence" or "answer_lost" (done, but nobody hears of it).

        times: how many requests; the client asks a second time by itself. All of them if None.
        """
        self._turn("failure", f"{how}*{times}" if times else how)
        try:
            yield
        finally:
            self._turn("failure", "")

    def _turn(self, name: str, value: str) -> None:
        with self.store.change() as state:
            state.turn(name, value)

    @contextmanager
    def state(self) -> Iterator[State]:
        with self.store.change() as state:
            yield state
