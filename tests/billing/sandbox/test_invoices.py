"""Invoices without a Checkout: their events, what is refused, and that nobody is charged."""

import pytest

from billing import stripe_api


def call(function):
    with stripe_api.calling() as stripe:
        return function(stripe.v1.invoices)


@pytest.fixture
def charge(stripe_sandbox, saved_card):
    """Charge the saved card, $20 by default."""

    def make(amount=2000, **changed):
        params = {"amount": amount, "currency": "usd", "customer": saved_card["customer"], "confirm": True}
        params |= {"payment_method": saved_card["id"], "off_session": True, **changed}
        with stripe_api.calling() as stripe:
            return stripe.v1.payment_intents.create(params)

    return make


@pytest.fixture
def draft(stripe_sandbox, customer):
    """Create a draft with one line, $20 by default."""

    def make(amount=2000, **changed):
        made = call(lambda invoices: invoices.create({"customer": customer.id, "auto_advance": False, **changed}))
        if not amount:
            return made
        lines = [{"amount": amount, "description": "Credit"}]
        return call(lambda invoices: invoices.add_lines(made.id, {"lines": lines}))

    return make


@pytest.fixture
def opened(draft):
    def make(amount=2000):
        made = draft(amount)
        return call(lambda invoices: invoices.finalize_invoice(made.id, {"auto_advance": False}))

    return make


def attach(invoice, intent):
    params = {"payment_intent": intent.id, "expand": ["payments"]}
    return call(lambda invoices: invoices.attach_payment(invoice.id, params))


def test_invoice_is_paid_with_a_payment_that_was_made_before(stripe_sandbox, charge, opened):
    intent, invoice = charge(), opened()
    assert (invoice.status, invoice.amount_remaining, invoice.amount_paid) == ("open", 2000, 0)
    paid = attach(invoice, intent)
    assert (paid.status, paid.amount_remaining, paid.amount_paid) == ("paid", 0, 2000)
    assert [(each.is_default, each.status) for each in paid.payments.data] == [(True, "canceled"), (False, "paid")]
    # The checkout that saved the card, and the charge: nothing else.
    assert len(stripe_sandbox.all("charge")) == 2
    kinds = [event["type"] for event in stripe_sandbox.pending_events()]
    assert kinds[kinds.index("invoice.created") :] == [
        "invoice.created",
        "invoice.updated",
        "invoice.finalized",
        "payment_intent.created",
        "invoice_payment.paid",
        "payment_intent.canceled",
        "invoice.paid",
    ]


def test_finalizing_gives_page_and_number(stripe_sandbox, draft, opened):
    assert (draft().hosted_invoice_url, draft().number) == (None, None)
    invoice = opened()
    assert invoice.hosted_invoice_url.startswith("http")
    assert invoice.invoice_pdf
    assert invoice.number


def test_payments_are_sent_only_if_expanded(stripe_sandbox, opened):
    invoice = opened()
    assert "payments" not in call(lambda invoices: invoices.retrieve(invoice.id))
    assert call(lambda invoices: invoices.retrieve(invoice.id, {"expand": ["payments"]})).payments.data


@pytest.mark.parametrize(
    "change",
    [
        lambda invoices, invoice: invoices.add_lines(invoice.id, {"lines": [{"amount": 100}]}),
        lambda invoices, invoice: invoices.finalize_invoice(invoice.id),
        lambda invoices, invoice: invoices.void_invoice(invoice.id),
    ],
)
def test_paid_invoice_cannot_be_changed(stripe_sandbox, charge, opened, change):
    invoice = attach(opened(), charge())
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda invoices: change(invoices, invoice))
    assert stripe_sandbox.get(invoice.id)["status"] == "paid"


def test_nothing_is_paid_twice(stripe_sandbox, charge, opened):
    first, intent = opened(), charge()
    attach(first, intent)
    for invoice, other in ((first, charge()), (opened(), intent)):
        with pytest.raises(stripe_api.StripeRefused):
            attach(invoice, other)


def test_payment_must_fit(stripe_sandbox, charge, opened, draft):
    with pytest.raises(stripe_api.StripeRefused):
        attach(opened(1999), charge(2000))
    with pytest.raises(stripe_api.StripeRefused):
        attach(draft(2000), charge(2000))
    with pytest.raises(stripe_api.StripeRefused):
        attach(opened(2000), charge(2000, confirm=False, off_session=None, payment_method=None))


def test_payment_of_another_customer_is_refused(stripe_sandbox, charge, opened):
    intent = charge()
    with stripe_sandbox.state() as state:
        state.put({**state.get(intent.id), "customer": "cus_other"})
    with pytest.raises(stripe_api.StripeRefused):
        attach(opened(), intent)


def test_part_of_an_invoice_leaves_it_open_and_then_it_cannot_be_voided(stripe_sandbox, charge, opened):
    invoice = attach(opened(2000), charge(500))
    assert (invoice.status, invoice.amount_remaining) == ("open", 1500)
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda invoices: invoices.void_invoice(invoice.id))


def test_customer_balance_is_applied_first_and_voiding_restores_it(stripe_sandbox, customer, opened):
    with stripe_sandbox.state() as state:
        state.put({**state.get(customer.id), "balance": -500})
    invoice = opened(2000)
    assert (invoice.amount_remaining, invoice.starting_balance, invoice.ending_balance) == (1500, -500, 0)
    assert stripe_sandbox.get(customer.id)["balance"] == 0
    call(lambda invoices: invoices.void_invoice(invoice.id))
    assert stripe_sandbox.get(customer.id)["balance"] == -500
    with stripe_sandbox.state() as state:
        state.put({**state.get(customer.id), "balance": -5000})
    assert opened(2000).status == "paid"
    assert stripe_sandbox.get(customer.id)["balance"] == -3000


def test_voided_invoice_cannot_be_paid(stripe_sandbox, opened, charge):
    invoice = opened()
    call(lambda invoices: invoices.void_invoice(invoice.id))
    with pytest.raises(stripe_api.StripeRefused):
        attach(invoice, charge())
    assert {intent["status"] for intent in stripe_sandbox.all("payment_intent")} == {"succeeded", "canceled"}


def test_customer_may_pay_an_open_invoice_on_its_page(stripe_sandbox, opened):
    invoice = stripe_sandbox.pay_invoice(opened().id)
    assert invoice["status"] == "paid"
    assert len(stripe_sandbox.all("charge")) == 1
    # The PaymentIntent that Stripe created with the invoice has none of its metadata.
    assert stripe_sandbox.all("payment_intent")[0]["metadata"] == {}


@pytest.mark.parametrize(
    "changed",
    [
        {"customer": None},
        {"customer": "cus_none"},
        {"auto_advance": True},
        {"collection_method": "send_invoice"},
        {"pending_invoice_items_behavior": "include"},
        {"discounts": [{"coupon": "half"}]},
        {"imagined": "yes"},
        {"footer": "Stripe knows it, the sandbox does not support it"},
    ],
)
def test_invalid_or_unsupported_invoice_is_refused(stripe_sandbox, draft, changed):
    with pytest.raises((stripe_api.StripeRefused, stripe_api.StripeMissing)):
        draft(**changed)
    assert stripe_sandbox.all("invoice") == []


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [{"amount": 49}],
        [{"amount": "lots"}],
        [{"description": "no amount"}],
        [{"amount": 100, "imagined": "yes"}],
        [{"amount": 100, "quantity": 2}],
    ],
)
def test_invalid_or_unsupported_line_is_refused(stripe_sandbox, draft, lines):
    invoice = draft(None)
    with pytest.raises(stripe_api.StripeRefused):
        call(lambda invoices: invoices.add_lines(invoice.id, {"lines": lines}))
    assert stripe_sandbox.get(invoice.id)["total"] == 0


def test_same_key_adds_one_line(stripe_sandbox, draft):
    invoice = draft(None)
    for _ in range(2):
        call(
            lambda invoices: invoices.add_lines(
                invoice.id, {"lines": [{"amount": 700}]}, options={"idempotency_key": "line"}
            )
        )
    assert stripe_sandbox.get(invoice.id)["total"] == 700


def test_invoices_are_found_by_customer_and_time(stripe_sandbox, draft, customer):
    invoice = draft()
    found = call(lambda invoices: invoices.list({"customer": customer.id, "created": {"gte": invoice.created}}))
    assert [each.id for each in found.data] == [invoice.id]
    assert call(lambda invoices: invoices.list({"created": {"gte": invoice.created + 1}})).data == []
