"""As strict as Stripe, and as dead as Stripe may be."""

import pytest

from billing import stripe_api
from billing.sandbox.transport import SandboxTransport


def call(act):
    with stripe_api.calling() as stripe:
        return act(stripe)


def test_same_key_gives_the_same_answer_once_made(stripe_sandbox, checkout):
    first, again = checkout("topup-1"), checkout("topup-1")
    assert first.id == again.id
    assert len(stripe_sandbox.all("checkout.session")) == 1


def test_same_key_for_something_else_is_refused(stripe_sandbox, checkout):
    checkout("topup-1")
    with pytest.raises(stripe_api.StripeRefused) as raised:
        checkout("topup-1", metadata={"topup_id": "8"})
    assert raised.value.stripe_code == "idempotency_error"


def test_key_of_a_refused_request_may_be_used_again(stripe_sandbox, checkout):
    with pytest.raises(stripe_api.StripeRefused):
        checkout("topup-1", success_url=None)
    assert checkout("topup-1").status == "open"


def test_declined_charge_is_remembered_under_its_key(stripe_sandbox, saved_card):
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


@pytest.mark.parametrize(
    "changed",
    [
        {"mode": "subscription"},
        {"success_url": None},
        {"line_items": None},
        {"line_items": []},
        {"imagined": "yes"},
        {"payment_intent_data": {"imagined": "yes"}},
        {"customer": "cus_none"},
        {"expires_at": 1},
        {"metadata": {"k" * 41: "v"}},
        {"line_items": [{"price_data": {"currency": "usd", "unit_amount": 49, "product_data": {"name": "x"}}}]},
        {"line_items": [{"price_data": {"currency": "eur", "unit_amount": 500, "product_data": {"name": "x"}}}]},
        {"line_items": [{"price_data": {"currency": "usd", "unit_amount": "lots", "product_data": {"name": "x"}}}]},
    ],
)
def test_session_that_stripe_would_refuse_is_refused(stripe_sandbox, checkout, changed):
    with pytest.raises((stripe_api.StripeRefused, stripe_api.StripeMissing)):
        checkout(**changed)
    assert stripe_sandbox.all("checkout.session") == []


def test_unknown_objects_and_addresses_are_missing(stripe_sandbox, customer):
    for act in (
        lambda stripe: stripe.v1.checkout.sessions.retrieve("cs_none"),
        # An object of another kind is as good as none.
        lambda stripe: stripe.v1.refunds.retrieve(customer.id),
        lambda stripe: stripe.v1.subscriptions.list(),
    ):
        with pytest.raises(stripe_api.StripeMissing):
            call(act)


def test_references_are_expanded_when_asked_for(stripe_sandbox, checkout, customer):
    session = checkout(customer=customer.id, invoice_creation={"enabled": True})
    stripe_sandbox.pay(session.id)
    plain = call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id))
    assert isinstance(plain.payment_intent, str)
    paths = ["payment_intent.latest_charge", "invoice", "line_items"]
    full = call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id, {"expand": paths}))
    assert full.payment_intent.latest_charge.receipt_url.startswith("http")
    assert full.invoice.hosted_invoice_url.startswith("http")
    assert full.line_items.data[0].amount_total == 20000
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.checkout.sessions.retrieve(session.id, {"expand": ["imagined"]}))


def test_lists_come_in_pages_newest_first(stripe_sandbox, checkout):
    ids = [checkout().id for _ in range(3)][::-1]
    page = call(lambda stripe: stripe.v1.checkout.sessions.list({"limit": 2}))
    assert ([session.id for session in page.data], page.has_more) == (ids[:2], True)
    page = call(lambda stripe: stripe.v1.checkout.sessions.list({"starting_after": ids[1]}))
    assert ([session.id for session in page.data], page.has_more) == (ids[2:], False)


def test_lists_are_filtered(stripe_sandbox, checkout, customer):
    checkout(customer=customer.id)
    checkout()
    found = call(lambda stripe: stripe.v1.checkout.sessions.list({"customer": customer.id}))
    assert len(found.data) == 1
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda stripe: stripe.v1.checkout.sessions.list({"colour": "red"}))


def test_metadata_is_merged_and_taken_away(stripe_sandbox, customer):
    for metadata in ({"plan": "a"}, {"organization": ""}):
        call(lambda stripe, metadata=metadata: stripe.v1.customers.update(customer.id, {"metadata": metadata}))
    assert stripe_sandbox.get(customer.id)["metadata"] == {"plan": "a"}


@pytest.mark.parametrize("how", ["refused", "error", "timeout", "response_lost"])
def test_dead_stripe_is_told_in_a_sentence(stripe_sandbox, checkout, how):
    with stripe_sandbox.failing(how), pytest.raises(stripe_api.StripeFailed) as raised:
        checkout("topup-1")
    assert raised.value.http_status == 502
    assert "does not answer" in raised.value.message


def test_lost_answer_is_had_by_asking_again(stripe_sandbox, checkout):
    with stripe_sandbox.failing("response_lost", times=1):
        session = checkout("topup-1")
    assert [kept["id"] for kept in stripe_sandbox.all("checkout.session")] == [session.id]


def test_nothing_was_done_by_a_stripe_that_refused(stripe_sandbox, checkout):
    with stripe_sandbox.failing("refused"), pytest.raises(stripe_api.StripeFailed):
        checkout("topup-1")
    assert stripe_sandbox.all("checkout.session") == []


@pytest.mark.parametrize("changed", [{"DEVELOPMENT": False}, {"STRIPE_SANDBOX": False}])
def test_transport_cannot_be_made_elsewhere(settings, changed):
    for name, value in changed.items():
        setattr(settings, name, value)
    with pytest.raises(RuntimeError):
        SandboxTransport()
