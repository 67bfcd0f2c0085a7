"""Refunds and disputes, and the events that they emit."""

import pytest

from billing import stripe_api
from billing.sandbox.store import ActionRefused
from tests.billing.sandbox.conftest import event_types


@pytest.fixture
def paid(stripe_sandbox, checkout):
    """A PaymentIntent of $200 that was paid."""
    stripe_sandbox.pay(checkout().id)
    return stripe_sandbox.all("payment_intent")[0]["id"]


def refund(intent_id, amount=None):
    with stripe_api.calling() as stripe:
        return stripe.v1.refunds.create({"payment_intent": intent_id, **({"amount": amount} if amount else {})})


def test_never_more_is_refunded_than_was_paid(stripe_sandbox, paid):
    refund(paid, 15000)
    with pytest.raises(stripe_api.StripeRefused):
        refund(paid, 5001)
    refund(paid)
    with pytest.raises(stripe_api.StripeRefused) as raised:
        refund(paid, 1)
    assert raised.value.stripe_code == "charge_already_refunded"
    charge = stripe_sandbox.all("charge")[0]
    assert (charge["amount_refunded"], charge["refunded"]) == (20000, True)


def test_failed_refund_restores_the_charge(stripe_sandbox, paid):
    made = refund(paid)
    stripe_sandbox.fail_refund(made.id)
    assert stripe_sandbox.get(made.id)["status"] == "failed"
    assert stripe_sandbox.all("charge")[0]["amount_refunded"] == 0
    assert event_types(stripe_sandbox)[-3:] == ["refund.updated", "charge.refund.updated", "refund.failed"]
    with pytest.raises(ActionRefused):
        stripe_sandbox.fail_refund(made.id)


def test_delayed_refund_is_pending_first(stripe_sandbox, paid):
    stripe_sandbox.delay_refunds()
    made = refund(paid, 100)
    assert made.status == "pending"
    assert stripe_sandbox.finish_refund(made.id)["status"] == "succeeded"


def test_dispute_withdraws_money_and_winning_it_returns_the_money(stripe_sandbox, paid):
    dispute = stripe_sandbox.dispute(paid)
    assert event_types(stripe_sandbox)[-2:] == ["charge.dispute.created", "charge.dispute.funds_withdrawn"]
    with pytest.raises(stripe_api.StripeRefused) as raised:
        refund(paid)
    assert raised.value.stripe_code == "charge_disputed"
    won = stripe_sandbox.close_dispute(dispute["id"], is_won=True)
    assert sum(moved["amount"] for moved in won["balance_transactions"]) == 0
    assert event_types(stripe_sandbox)[-2:] == ["charge.dispute.funds_reinstated", "charge.dispute.closed"]
    with pytest.raises(ActionRefused):
        stripe_sandbox.close_dispute(dispute["id"], is_won=False)


def test_lost_dispute_returns_nothing(stripe_sandbox, paid):
    dispute = stripe_sandbox.dispute(paid, 5000)
    lost = stripe_sandbox.close_dispute(dispute["id"], is_won=False)
    assert lost["status"] == "lost"
    assert [moved["amount"] for moved in lost["balance_transactions"]] == [-5000]
    assert event_types(stripe_sandbox)[-1] == "charge.dispute.closed"


def test_inquiry_moves_no_money(stripe_sandbox, paid):
    dispute = stripe_sandbox.dispute(paid, is_inquiry=True)
    assert event_types(stripe_sandbox)[-1] == "charge.dispute.created"
    assert stripe_sandbox.close_dispute(dispute["id"], is_won=True)["status"] == "warning_closed"
    assert stripe_sandbox.all("dispute")[0]["balance_transactions"] == []
