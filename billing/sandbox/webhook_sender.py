"""Sends events to the site's webhook endpoint, signed as Stripe signs them.

Settings of the control page send each event twice, delay it, or reverse or shuffle the order. An event that is not
answered with 2xx is sent again after growing delays: for a few minutes here, for three days at Stripe.
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import stripe
from django.conf import settings

from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import State, Store

# Events can only be reordered if the first of them waits for the next.
REORDER_SECONDS = 2.0
MAX_ATTEMPTS = 8
TIMEOUT_SECONDS = 30
ORDERS = ("", "reversed", "shuffled")

# (body, headers) -> HTTP status; 0 without a response.
Post = Callable[[str, dict[str, str]], int]


@dataclass(frozen=True)
class Webhook:
    """One sending of an event; the setting "duplicate" makes two of them."""

    number: int
    event: StripeObject
    attempts: int


def enqueue(state: State, event: StripeObject) -> None:
    """Queue an event for sending, as the settings say."""
    due_at = state.now + float(state.get_setting("delay_seconds") or 0)
    if state.get_setting("order"):
        due_at += REORDER_SECONDS
    for _ in range(2 if state.get_setting("duplicate") else 1):
        state.database.execute("INSERT INTO webhooks (event_id, due_at) VALUES (?, ?)", (event["id"], due_at))


def pending(state: State, *, until: float) -> list[Webhook]:
    """Return the webhooks that are due by a time, in the order in which to send them."""
    rows = state.database.execute(
        "SELECT number, event_id, attempts FROM webhooks WHERE is_done = 0 AND due_at <= ? ORDER BY number", (until,)
    ).fetchall()
    found = [Webhook(number, state.get(event_id), attempts) for number, event_id, attempts in rows]
    order = state.get_setting("order")
    if order == "reversed":
        found.reverse()
    elif order == "shuffled":
        random.shuffle(found)
    return found


def sign(event: StripeObject, *, now: float | None = None, secret: str = "") -> tuple[str, dict[str, str]]:
    """Return the body and the headers of a webhook request, as Stripe would send them."""
    body = json.dumps(event, indent=2)
    signature = stripe.WebhookSignature.generate_signature_header(
        body, secret or settings.STRIPE_WEBHOOK_SECRET, int(time.time() if now is None else now)
    )
    return body, {"Content-Type": "application/json; charset=utf-8", "Stripe-Signature": signature}


def send_due(store: Store, *, post: Post) -> int:
    """Send every webhook that is due, once. Return how much remains: unsent webhooks and scheduled actions."""
    with store.transaction() as state:
        webhooks = pending(state, until=time.time())
        for webhook in webhooks:
            # Postpone it, so that the background thread of another process does not send it at the same time.
            state.database.execute(
                "UPDATE webhooks SET due_at = ?, attempts = attempts + 1 WHERE number = ?",
                (time.time() + 2 * TIMEOUT_SECONDS, webhook.number),
            )
    for webhook in webhooks:
        status = post(*sign(webhook.event))
        with store.transaction() as state:
            record_response(state, webhook, status=status)
    with store.transaction() as state:
        row = state.database.execute(
            "SELECT (SELECT COUNT(*) FROM webhooks WHERE is_done = 0) + (SELECT COUNT(*) FROM scheduled_actions)"
        ).fetchone()
    return int(row[0])


def record_response(state: State, webhook: Webhook, *, status: int) -> None:
    """Store the response to a webhook. Without 2xx it is due again later, until MAX_ATTEMPTS."""
    attempts = webhook.attempts + 1
    is_done = 200 <= status < 300 or attempts >= MAX_ATTEMPTS
    state.database.execute(
        "UPDATE webhooks SET status = ?, is_done = ?, attempts = ?, due_at = ? WHERE number = ?",
        (status, is_done, attempts, time.time() + 2**attempts, webhook.number),
    )
