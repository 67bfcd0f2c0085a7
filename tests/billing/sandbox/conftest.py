"""Objects that the sandbox's tests start with, created through stripe-python as the product does."""

from typing import Any

import pytest

from billing import stripe_api

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
        with stripe_api.calling() as stripe:
            return stripe.v1.checkout.sessions.create(
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
