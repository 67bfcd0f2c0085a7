"""Stripe's objects and signed events, with the fields that billing reads and some that it must ignore."""

import itertools
import json
import time
from typing import Any

import stripe
from django.conf import settings
from django.test import Client

from accounts.models import Organization
from billing import pricing, stripe_mapping, topups
from billing.models.payments import TopUp, TopUpState

numbers = itertools.count(1)
WITHDRAWN = "charge.dispute.funds_withdrawn"
REINSTATED = "charge.dispute.funds_reinstated"


def make_topup(organization: Organization, amount_cents: int = 20_000, **fields: Any) -> TopUp:
    """Return a top-up that waits for its payer, as `topups.start_checkout` leaves it."""
    number = next(numbers)
    return TopUp.objects.create(
        organization=organization,
        amount_cents=amount_cents,
        bonus_cents=pricing.bonus_cents(amount_cents),
        **{"state": TopUpState.PENDING, "checkout_session_id": f"cs_test_{number}", **fields},
    )


def make_paid_topup(organization: Organization) -> TopUp:
    """Return a top-up of $200, which brought $10, paid and credited."""
    topup = topups.fulfil(stripe_mapping.payment_of_checkout(session_of(make_topup(organization))))
    assert topup is not None
    return topup


def session_of(topup: TopUp, **changes: Any) -> dict[str, Any]:
    """Return the Checkout Session of a top-up, paid."""
    return {
        "id": topup.checkout_session_id or "cs_test_late",
        "object": "checkout.session",
        "client_reference_id": str(topup.pk),
        "metadata": {"topup_id": str(topup.pk)},
        "amount_total": topup.amount_cents,
        "currency": "usd",
        "status": "complete",
        "payment_status": "paid",
        "payment_intent": f"pi_{topup.pk.hex}",
        "invoice": "in_1",
        **changes,
    }


def intent_of(topup: TopUp, **changes: Any) -> dict[str, Any]:
    """Return the PaymentIntent of a top-up, paid."""
    return {
        "id": f"pi_{topup.pk.hex}",
        "object": "payment_intent",
        "metadata": {"topup_id": str(topup.pk)},
        "amount": topup.amount_cents,
        "amount_received": topup.amount_cents,
        "currency": "usd",
        "status": "succeeded",
        "latest_charge": f"ch_{topup.pk.hex}",
        **changes,
    }


def charge_of(topup: TopUp, **changes: Any) -> dict[str, Any]:
    """Return the Charge of a top-up."""
    return {
        "id": f"ch_{topup.pk.hex}",
        "object": "charge",
        "metadata": {"topup_id": str(topup.pk)},
        "payment_intent": f"pi_{topup.pk.hex}",
        "payment_method": "pm_1",
        "payment_method_details": {
            "type": "card",
            "card": {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031},
        },
        "receipt_url": "https://pay.stripe.com/receipts/1",
        **changes,
    }


def refund_of(topup: TopUp, amount_cents: int, *, stripe_id: str = "re_1", **changes: Any) -> dict[str, Any]:
    """Return a Refund, made in the dashboard unless changes say otherwise."""
    return {
        "id": stripe_id,
        "object": "refund",
        "amount": amount_cents,
        "currency": "usd",
        "payment_intent": f"pi_{topup.pk.hex}",
        "charge": f"ch_{topup.pk.hex}",
        "status": "succeeded",
        "metadata": {},
        **changes,
    }


def dispute_of(topup: TopUp, amount_cents: int, *, stripe_id: str = "dp_1", **changes: Any) -> dict[str, Any]:
    """Return a Dispute."""
    return {
        "id": stripe_id,
        "object": "dispute",
        "amount": amount_cents,
        "currency": "usd",
        "payment_intent": f"pi_{topup.pk.hex}",
        "charge": f"ch_{topup.pk.hex}",
        "status": "needs_response",
        "reason": "fraudulent",
        **changes,
    }


def event_of(kind: str, thing: dict[str, Any], *, event_id: str = "") -> dict[str, Any]:
    """Return an Event about an object, a new one unless an id is given."""
    return {
        "id": event_id or f"evt_{next(numbers)}_{time.time_ns()}",
        "object": "event",
        "api_version": settings.STRIPE_API_VERSION,
        "created": int(time.time()),
        "data": {"object": thing},
        "livemode": settings.STRIPE_LIVE_MODE,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def deliver(event: dict[str, Any], *, secret: str = "", timestamp: int | None = None) -> int:
    """Post a signed event to the webhook as Stripe does. Returns the status of the answer."""
    body = json.dumps(event)
    timestamp = int(time.time()) if timestamp is None else timestamp
    signature = stripe.WebhookSignature._compute_signature(
        f"{timestamp}.{body}", secret or settings.STRIPE_WEBHOOK_SECRET
    )
    # A host name that the site accepts outside pytest too.
    response = Client(raise_request_exception=False, HTTP_HOST="localhost").post(
        "/stripe/webhook",
        body,
        content_type="application/json",
        headers={"Stripe-Signature": f"t={timestamp},v1={signature}"},
    )
    return response.status_code


def tell(kind: str, thing: dict[str, Any]) -> int:
    """Deliver a new event about an object."""
    return deliver(event_of(kind, thing))
