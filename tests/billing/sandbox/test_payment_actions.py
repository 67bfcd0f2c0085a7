"""Every outcome of a payment, and the events that it emits."""

import pytest

from billing import stripe_api
from billing.sandbox.store import ActionRefused
from tests.billing.sandbox.conftest import event_types


def test_card_payment_emits_all_its_events(stripe_sandbox, checkout):
    session = checkout(invoice_creation={"enabled": True, "invoice_data": {"metadata": {"topup_id": "7"}}})
    assert event_types(stripe_sandbox) == []
    paid = stripe_sandbox.pay(session.id)
    assert (paid["status"], paid["payment_status"], paid["url"]) == ("complete", "paid", None)
    assert event_types(stripe_sandbox) == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
        "invoice.created",
        "invoice.finalized",
        "invoice.paid",
    ]
    completed = stripe_sandbox.event("checkout.session.completed")["data"]["object"]
    assert (completed["amount_total"], completed["currency"], completed["metadata"]) == (
        20000,
        "usd",
        {"topup_id": "7"},
    )
    assert completed["payment_status"] == "paid"
    assert stripe_sandbox.get(completed["invoice"])["metadata"] == {"topup_id": "7"}
    assert "_payment_intent_data" not in completed
    assert "line_items" not in completed


def test_declined_card_can_be_tried_again_on_the_same_page(stripe_sandbox, checkout):
    session = checkout()
    assert stripe_sandbox.pay(session.id, "declined")["status"] == "open"
    assert event_types(stripe_sandbox) == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
    assert stripe_sandbox.pay(session.id)["payment_status"] == "paid"
    assert len(stripe_sandbox.all("payment_intent")) == 1
    assert len(stripe_sandbox.all("charge", status="succeeded")) == 1


@pytest.mark.parametrize(
    ("is_paid", "kind", "payment_status"),
    [
        (True, "checkout.session.async_payment_succeeded", "paid"),
        (False, "checkout.session.async_payment_failed", "unpaid"),
    ],
)
def test_bank_transfer_completes_the_session_unpaid_and_ends_later(
    stripe_sandbox, checkout, is_paid, kind, payment_status
):
    session = checkout()
    stripe_sandbox.pay(session.id, "transfer_paid")
    assert stripe_sandbox.event("checkout.session.completed")["data"]["object"]["payment_status"] == "unpaid"
    stripe_sandbox.settle(session.id, is_paid=is_paid)
    assert stripe_sandbox.event(kind)["data"]["object"]["payment_status"] == payment_status
    with pytest.raises(ActionRefused):
        stripe_sandbox.settle(session.id)


def test_session_is_paid_once(stripe_sandbox, checkout):
    session = checkout()
    stripe_sandbox.pay(session.id)
    with pytest.raises(ActionRefused):
        stripe_sandbox.pay(session.id)
    assert len(stripe_sandbox.all("charge")) == 1


def test_expired_session_cannot_be_paid(stripe_sandbox, checkout):
    session = checkout()
    with stripe_api.calling() as stripe:
        assert stripe.v1.checkout.sessions.expire(session.id).status == "expired"
    assert event_types(stripe_sandbox) == ["checkout.session.expired"]
    with pytest.raises(ActionRefused):
        stripe_sandbox.pay(session.id)


def test_session_expires_by_itself(stripe_sandbox, checkout):
    session = checkout()
    with stripe_sandbox.state() as state:
        state.put({**state.get(session.id), "expires_at": state.now})
    with stripe_api.calling() as stripe:
        assert stripe.v1.checkout.sessions.retrieve(session.id).status == "expired"
    assert event_types(stripe_sandbox) == ["checkout.session.expired"]


def test_card_is_saved_only_if_offered_and_ticked(stripe_sandbox, checkout, customer):
    stripe_sandbox.pay(checkout(customer=customer.id).id, save_card=True)
    assert stripe_sandbox.all("payment_method")[0]["customer"] is None
    offered = checkout(customer=customer.id, saved_payment_method_options={"payment_method_save": "enabled"})
    stripe_sandbox.pay(offered.id)
    assert stripe_sandbox.all("payment_method")[0]["customer"] is None
    offered = checkout(customer=customer.id, saved_payment_method_options={"payment_method_save": "enabled"})
    stripe_sandbox.pay(offered.id, save_card=True)
    assert stripe_sandbox.all("payment_method")[0]["customer"] == customer.id


def off_session(card, **changed):
    with stripe_api.calling() as stripe:
        return stripe.v1.payment_intents.create(
            {
                "amount": 2000,
                "currency": "usd",
                "customer": card["customer"],
                "payment_method": card["id"],
                "off_session": True,
                "confirm": True,
                **changed,
            }
        )


def test_saved_card_is_charged_without_its_owner(stripe_sandbox, saved_card):
    intent = off_session(saved_card, expand=["latest_charge"])
    assert intent.status == "succeeded"
    assert intent.latest_charge.payment_method_details.card.last4 == "4242"


@pytest.mark.parametrize(
    ("outcome", "code", "needs_person"),
    [("declined", "card_declined", False), ("authentication_required", "authentication_required", True)],
)
def test_failed_charge_of_a_saved_card_names_reason_and_payment(
    stripe_sandbox, saved_card, outcome, code, needs_person
):
    stripe_sandbox.set_card_outcome(saved_card["id"], outcome)
    with pytest.raises(stripe_api.CardDeclined) as raised:
        off_session(saved_card)
    assert (raised.value.code, raised.value.needs_person, raised.value.http_status) == (code, needs_person, 402)
    # Unlike all other errors, this one leaves an object behind.
    assert stripe_sandbox.get(raised.value.__cause__.error.payment_intent["id"])["status"] == "requires_payment_method"
    assert event_types(stripe_sandbox)[-2:] == ["charge.failed", "payment_intent.payment_failed"]


def test_card_that_needs_authentication_waits_for_its_owner_on_session(stripe_sandbox, saved_card):
    stripe_sandbox.set_card_outcome(saved_card["id"], "authentication_required")
    assert off_session(saved_card, off_session=False).status == "requires_action"


def test_removed_card_cannot_be_charged(stripe_sandbox, saved_card):
    with stripe_api.calling() as stripe:
        stripe.v1.payment_methods.detach(saved_card["id"])
    with pytest.raises(stripe_api.StripeRefused):
        off_session(saved_card)
