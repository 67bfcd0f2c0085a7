"""A browser of somebody who buys credit."""

import pytest

from billing.models import Wallet
from billing.models.payments import TopUp


def start(client, **fields):
    """Choose an amount and go to Stripe; return the waiting top-up."""
    response = client.post("/billing/top-up/", {"amount": "20000", **fields})
    assert response.status_code == 302, response.content.decode()
    return TopUp.objects.get(checkout_session_id__in=[part for part in response.url.split("/") if part])


def pay(client, stripe_sandbox, **fields):
    """Buy, and see the success page; return the top-up."""
    topup = start(client, **fields)
    stripe_sandbox.pay(topup.checkout_session_id)
    assert client.get(f"/billing/top-up/{topup.pk}/success/").status_code == 200
    topup.refresh_from_db()
    return topup


@pytest.fixture
def browser(alice, organization, client_of):
    return client_of(alice)


def balance_of(organization):
    return Wallet.objects.of(organization).get().balance_micros
