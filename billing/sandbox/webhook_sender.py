"""Carries events to the site's webhook, signed as Stripe signs them.

By knobs: each twice, so many seconds late, backwards or shuffled. What is not answered with 2xx is carried again, later
and later, as Stripe does (for three days there, for a few minutes here).
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import stripe
from django.conf import settings

from billing.sandbox.store import State, Store, Thing

# Two events of one moment can only be mixed up if the first waits for the second.
GATHERING_SECONDS = 2.0
ATTEMPTS = 8
PATIENCE_SECONDS = 30
ORDERS = ("", "reversed", "shuffled")

# (body, headers) -> HTTP status; 0 if nobody answered.
Post = Callable[[str, dict[str, str]], int]


@dataclass(frozen=True)
class Delivery:
    """One event on its way."""

    number: int
    event: Thing
    attempts: int


def take(state: State, event: Thing) -> None:
    """Accept an event for delivery, by the knobs as they stand."""
    due_at = state.now + float(state.knob("late") or 0)
    if state.knob("order"):
        due_at += GATHERING_SECONDS
    for _ in range(2 if state.knob("duplicate") else 1):
        state.database.execute("INSERT INTO deliveries (event_id, due_at) VALUES (?, ?)", (event["id"], due_at))


def waiting(state: State, *, until: float) -> list[Delivery]:
    """Return what is due, in the order in which it is to be carried."""
    rows = state.database.execute(
        "SELECT number, event_id, attempts FROM deliveries WHERE is_done = 0 AND due_at <= ? ORDER BY number", (until,)
    ).fetchall()
    found = [Delivery(number, state.get(event_id), attempts) for number, event_id, attempts in rows]
    order = state.knob("order")
    if order == "reversed":
        found.reverse()
    elif order == "shuffled":
        random.shuffle(found)
    return found


def signed(event: Thing, *, now: float | None = None, secret: str = "") -> tuple[str, dict[str, str]]:
    """Return body and headers as Stripe would send them."""
    body = json.dumps(event, indent=2)
    signature = stripe.WebhookSignature.generate_signature_header(
        body, secret or settings.STRIPE_WEBHOOK_SECRET, int(time.time() if now is None else now)
    )
    return body, {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}


def carry(store: Store, *, post: Post) -> int:
    """Carry what is due, once; return how much is still to be carried, now or later."""
    with store.change() as state:
        deliveries = waiting(state, until=time.time())
        for delivery in deliveries:
            # Another process's courier must not take it at the same time.
            state.database.execute(
                "UPDATE deliveries SET due_at = ?, attempts = attempts + 1 WHERE number = ?",
                (time.time() + 2 * PATIENCE_SECONDS, delivery.number),
            )
    for delivery in deliveries:
        status = post(*signed(delivery.event))
        with store.change() as state:
            mark(state, delivery, status=status)
    with store.change() as state:
        row = state.database.execute(
            "SELECT (SELECT COUNT(*) FROM deliveries WHERE is_done = 0) + (SELECT COUNT(*) FROM plans)"
        ).fetchone()
    return int(row[0])


def mark(state: State, delivery: Delivery, *, status: int) -> None:
    """Note how a delivery was answered."""
    attempts = delivery.attempts + 1
    is_done = 200 <= status < 300 or attempts >= ATTEMPTS
    state.database.execute(
        "UPDATE deliveries SET answered = ?, is_done = ?, attempts = ?, due_at = ? WHERE number = ?",
        (status, is_done, attempts, time.time() + 2**attempts, delivery.number),
    )
