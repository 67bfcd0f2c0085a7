"""Calls to Stripe about refunds: a repeated one returns no more money, and an impossible one is refused."""

import pytest

from accounts.models import Organization, User
from billing import stripe_api, stripe_calls
from tests.billing.paying import start
from tests.stripe import StripeSandbox


@pytest.fixture
def paid_intent(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> str:
    """The payment of a checkout of $200."""
    session_id = start(acme, owner).topup.checkout_session_id
    return str(stripe_sandbox.pay(session_id)["payment_intent"])


def test_refund_sent_twice_returns_the_money_once(stripe_sandbox: StripeSandbox, paid_intent: str) -> None:
    made = [
        stripe_calls.create_refund(payment_intent_id=paid_intent, amount_cents=5_000, refund_id="7") for _ in range(2)
    ]
    assert made[0]["id"] == made[1]["id"]
    assert made[0]["metadata"] == {"refund_id": "7"}
    assert stripe_sandbox.all("charge")[0]["amount_refunded"] == 5_000


def test_refund_key_with_another_amount_is_refused(stripe_sandbox: StripeSandbox, paid_intent: str) -> None:
    stripe_calls.create_refund(payment_intent_id=paid_intent, amount_cents=5_000, refund_id="7")
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.create_refund(payment_intent_id=paid_intent, amount_cents=5_001, refund_id="7")
    assert stripe_sandbox.all("charge")[0]["amount_refunded"] == 5_000


@pytest.mark.parametrize("amount_cents", [-1, 0, 20_001])
def test_refund_of_more_or_less_than_is_possible_is_refused(
    stripe_sandbox: StripeSandbox, paid_intent: str, amount_cents: int
) -> None:
    with pytest.raises(stripe_api.StripeRefused):
        stripe_calls.create_refund(payment_intent_id=paid_intent, amount_cents=amount_cents, refund_id="7")
    assert stripe_calls.list_refunds(payment_intent_id=paid_intent) == []


@pytest.mark.long
def test_all_refunds_of_a_payment_are_listed_and_no_others(stripe_sandbox: StripeSandbox, paid_intent: str) -> None:
    for number in range(stripe_calls.PAGE_SIZE + 1):
        stripe_calls.create_refund(payment_intent_id=paid_intent, amount_cents=1, refund_id=str(number))
    found = [refund["metadata"]["refund_id"] for refund in stripe_calls.list_refunds(payment_intent_id=paid_intent)]
    assert found == [str(number) for number in reversed(range(stripe_calls.PAGE_SIZE + 1))]
    assert stripe_calls.list_refunds(payment_intent_id="pi_other") == []
