"""Idempotency keys, and failures of the connection."""

import pytest

from billing import stripe_api
from billing.sandbox.transport import SandboxTransport


def call(function):
    with stripe_api.calling() as stripe:
        return function(stripe)


def test_same_key_returns_the_first_response(stripe_sandbox, checkout):
    first, again = checkout("topup-1"), checkout("topup-1")
    assert first.id == again.id
    assert len(stripe_sandbox.all("checkout.session")) == 1


def test_same_key_with_other_parameters_is_refused(stripe_sandbox, checkout):
    checkout("topup-1")
    with pytest.raises(stripe_api.StripeRefused) as raised:
        checkout("topup-1", metadata={"topup_id": "8"})
    assert raised.value.stripe_code == "idempotency_error"


def test_key_of_a_refused_request_may_be_used_again(stripe_sandbox, checkout):
    with pytest.raises(stripe_api.StripeRefused):
        checkout("topup-1", success_url=None)
    assert checkout("topup-1").status == "open"


def test_same_key_repeats_a_declined_charge(stripe_sandbox, saved_card):
    stripe_sandbox.set_card_outcome(saved_card["id"], "declined")

    def charge(stripe):
        params = {"amount": 2000, "currency": "usd", "customer": saved_card["customer"], "confirm": True}
        params |= {"payment_method": saved_card["id"], "off_session": True}
        return stripe.v1.payment_intents.create(params, options={"idempotency_key": "topup-2"})

    with pytest.raises(stripe_api.CardDeclined) as first:
        call(charge)
    stripe_sandbox.set_card_outcome(saved_card["id"], "paid")
    with pytest.raises(stripe_api.CardDeclined) as again:
        call(charge)
    first_id, second_id = (each.value.__cause__.error.payment_intent["id"] for each in (first, again))
    assert first_id == second_id


def test_overlong_key_is_refused(stripe_sandbox, checkout):
    with pytest.raises(stripe_api.StripeRefused):
        checkout("k" * 256)


@pytest.mark.parametrize("how", ["refused", "error", "timeout", "response_lost"])
def test_failure_is_translated_to_a_sentence(stripe_sandbox, checkout, how):
    with stripe_sandbox.failing(how), pytest.raises(stripe_api.StripeFailed) as raised:
        checkout("topup-1")
    assert raised.value.http_status == 502
    assert "does not answer" in raised.value.message


def test_repeated_request_returns_the_lost_response(stripe_sandbox, checkout):
    with stripe_sandbox.failing("response_lost", times=1):
        session = checkout("topup-1")
    assert [kept["id"] for kept in stripe_sandbox.all("checkout.session")] == [session.id]


def test_refused_connection_changes_nothing(stripe_sandbox, checkout):
    with stripe_sandbox.failing("refused"), pytest.raises(stripe_api.StripeFailed):
        checkout("topup-1")
    assert stripe_sandbox.all("checkout.session") == []


@pytest.mark.parametrize("changed", [{"DEVELOPMENT": False}, {"STRIPE_SANDBOX": False}])
def test_transport_cannot_be_created_without_the_sandbox(settings, changed):
    for name, value in changed.items():
        setattr(settings, name, value)
    with pytest.raises(RuntimeError):
        SandboxTransport()
