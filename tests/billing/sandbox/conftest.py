"""Objects that the sandbox's tests start with, created through stripe-python as the product does."""

from typing import Any

import pytest
import stripe

from billing import stripe_api
from billing.sandbox.transport import SandboxTransport
from billing.webhook import own_endpoint

ITEM = {"price_data": {"currency": "usd", "unit_amount": 20000, "product_data": {"name": "Credit"}}, "quantity": 1}


@pytest.fixture
def checkout(stripe_sandbox):
    """Create a Checkout Session for $200. Arguments add to its parameters; None removes one."""

    def make(key: str = "", **changed: Any):
        params = {
            "mode": "payment",
            "line_items": [ITEM],
            "success_url": "http://localhost:8000/back/?session={CHECKOUT_SESSION_ID}",
            "metadata": {"topup_id": "7"},
            **changed,
        }
        with stripe_api.calling() as client:
            return client.v1.checkout.sessions.create(
                {name: value for name, value in params.items() if value is not None},
                options={"idempotency_key": key} if key else {},
            )

    return make


@pytest.fixture
def customer(stripe_sandbox):
    with stripe_api.calling() as stripe:
        return stripe.v1.customers.create({"email": "alice@example.com", "metadata": {"organization": "1"}})


@pytest.fixture
def saved_card(stripe_sandbox, checkout, customer):
    """A saved card that may be charged without its owner."""
    session = checkout(customer=customer.id, payment_intent_data={"setup_future_usage": "off_session"})
    stripe_sandbox.pay(session.id)
    return stripe_sandbox.all("payment_method")[0]


@pytest.fixture
def world(stripe_sandbox, checkout, customer):
    """A sandbox in which every kind of object exists."""
    stripe_sandbox.pay(checkout().id, "declined")
    stripe_sandbox.pay(checkout().id, "transfer_paid")
    session = checkout(
        customer=customer.id,
        payment_intent_data={"setup_future_usage": "off_session", "metadata": {"topup_id": "7"}},
        invoice_creation={"enabled": True},
        tax_id_collection={"enabled": True},
        customer_update={"name": "auto"},
        client_reference_id="7",
    )
    stripe_sandbox.pay(session.id)
    intent = stripe_sandbox.get(session.id)["payment_intent"]
    stripe_sandbox.fail_refund(stripe_sandbox.refund(intent, 500)["id"])
    stripe_sandbox.refund(intent, 700)
    stripe_sandbox.close_dispute(stripe_sandbox.dispute(intent)["id"], is_won=True)
    other = checkout(customer=customer.id)
    stripe_sandbox.pay(other.id)
    intent = stripe_sandbox.get(other.id)["payment_intent"]
    with stripe_api.calling() as client:
        invoices = client.v1.invoices
        invoice = invoices.create({"customer": customer.id})
        invoices.add_lines(invoice.id, {"lines": [{"amount": 20_000, "description": "Credit"}]})
        invoices.finalize_invoice(invoice.id)
        invoices.attach_payment(invoice.id, {"payment_intent": intent})
    return stripe_sandbox


@pytest.fixture
def world_of_djstripe(world, monkeypatch):
    """The same world, with a sandbox that dj-stripe calls too, through stripe-python's older interface."""
    monkeypatch.setattr(stripe, "default_http_client", SandboxTransport())
    own_endpoint()
    return world


def event_types(stripe_sandbox) -> list[str]:
    """Return the types of the events that are not delivered yet, oldest first."""
    return [event["type"] for event in stripe_sandbox.pending_events()]
