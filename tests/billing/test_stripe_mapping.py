"""What billing reads from Stripe's objects. Above all: what counts as paid, how much, and for which top-up."""

from typing import Any

import pytest

from billing import stripe_mapping

SESSION = {
    "id": "cs_1",
    "status": "complete",
    "payment_status": "paid",
    "amount_total": 20_000,
    "currency": "usd",
    "metadata": {"topup_id": "7"},
    "payment_intent": "pi_1",
}
INTENT = {
    "id": "pi_1",
    "status": "succeeded",
    "amount": 20_000,
    "amount_received": 20_000,
    "currency": "usd",
    "metadata": {"topup_id": "7"},
}
CARD = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2031}
CHARGE = {
    "id": "ch_1",
    "metadata": {"topup_id": "7"},
    "payment_intent": "pi_1",
    "payment_method": "pm_1",
    "payment_method_details": {"type": "card", "card": CARD},
    "receipt_url": "https://pay.stripe.com/receipts/1",
}
INVOICE = {"id": "in_1", "status": "open", "currency": "usd", "metadata": {"topup_id": "7"}, "total": 20_000}


# --- Paid, and how much ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "is_paid", "is_processing", "is_closed"),
    [
        ({}, True, False, False),
        ({"payment_status": "unpaid"}, False, True, False),
        ({"payment_status": None}, False, True, False),
        ({"payment_status": "unpaid", "status": "open"}, False, False, False),
        ({"payment_status": "unpaid", "status": "expired"}, False, False, True),
        ({"payment_status": "unpaid", "status": None}, False, False, False),
    ],
)
def test_checkout_is_paid_only_if_stripe_says_so(
    changes: dict[str, Any], is_paid: bool, is_processing: bool, is_closed: bool
) -> None:
    payment = stripe_mapping.payment_of_checkout({**SESSION, **changes})
    assert (payment.is_paid, payment.is_processing, payment.is_closed) == (is_paid, is_processing, is_closed)


def test_checkout_without_any_field_is_neither_paid_nor_worth_anything() -> None:
    payment = stripe_mapping.payment_of_checkout({"id": "cs_1"})
    assert (payment.is_paid, payment.is_processing, payment.amount_cents, payment.currency) == (False, False, 0, "")
    assert (payment.topup_id, payment.payment_intent_id, payment.card, payment.page_url) == ("", "", None, "")


def test_free_checkout_has_paid_nothing() -> None:
    free = {**SESSION, "payment_status": "no_payment_required", "amount_total": 0, "payment_intent": None}
    assert stripe_mapping.payment_of_checkout(free).amount_cents == 0


@pytest.mark.parametrize(
    ("status", "is_paid", "is_processing", "is_closed"),
    [
        ("succeeded", True, False, False),
        ("processing", False, True, False),
        ("canceled", False, False, True),
        ("requires_payment_method", False, False, False),
        ("requires_confirmation", False, False, False),
        ("requires_action", False, False, False),
        ("requires_capture", False, False, False),
        ("", False, False, False),
        (None, False, False, False),
    ],
)
def test_payment_intent_is_paid_only_if_it_succeeded(
    status: str | None, is_paid: bool, is_processing: bool, is_closed: bool
) -> None:
    payment = stripe_mapping.payment_of_intent({**INTENT, "status": status})
    assert (payment.is_paid, payment.is_processing, payment.is_closed) == (is_paid, is_processing, is_closed)


def test_amount_of_a_paid_intent_is_what_arrived() -> None:
    partly = {**INTENT, "amount_received": 1}
    assert stripe_mapping.payment_of_intent(partly).amount_cents == 1
    assert stripe_mapping.payment_of_intent({**partly, "amount_received": None}).amount_cents == 0
    assert stripe_mapping.payment_of_intent({**partly, "status": "processing"}).amount_cents == 20_000


# --- Which top-up ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "topup_id"),
    [
        ({}, "7"),
        ({"client_reference_id": "8"}, "7"),
        ({"metadata": {}, "client_reference_id": "8"}, "8"),
        ({"metadata": {"topup_id": ""}, "client_reference_id": "8"}, "8"),
        ({"metadata": None}, ""),
        ({"metadata": {"other": "7"}}, ""),
    ],
)
def test_checkout_names_its_topup_in_metadata_or_reference(changes: dict[str, Any], topup_id: str) -> None:
    assert stripe_mapping.payment_of_checkout({**SESSION, **changes}).topup_id == topup_id


@pytest.mark.parametrize("metadata", [None, {}, {"topup": "7"}])
def test_object_of_another_application_names_no_topup(metadata: dict[str, str] | None) -> None:
    assert stripe_mapping.payment_of_intent({**INTENT, "metadata": metadata}).topup_id == ""
    assert stripe_mapping.charge({**CHARGE, "metadata": metadata}).topup_id == ""
    assert stripe_mapping.invoice({**INVOICE, "metadata": metadata}).topup_id == ""


def test_reference_is_an_id_or_the_expanded_object() -> None:
    expanded = {**INTENT, "latest_charge": {**CHARGE, "receipt_url": "https://pay.stripe.com/receipts/2"}}
    invoice = {"id": "in_1", "hosted_invoice_url": "https://invoice.stripe.com/1", "invoice_pdf": "https://pdf/1"}
    plain = stripe_mapping.payment_of_checkout({**SESSION, "invoice": "in_1"})
    full = stripe_mapping.payment_of_checkout({**SESSION, "payment_intent": expanded, "invoice": invoice})
    assert plain.payment_intent_id == full.payment_intent_id == "pi_1"
    assert plain.links == stripe_mapping.ReceiptLinks()
    assert full.links == stripe_mapping.ReceiptLinks(
        receipt_url="https://pay.stripe.com/receipts/2",
        invoice_url="https://invoice.stripe.com/1",
        invoice_pdf_url="https://pdf/1",
    )


# --- Cards -----------------------------------------------------------------------------------------------------------


def test_card_has_only_fields_that_may_be_shown() -> None:
    number = {**CARD, "number": "4242424242424242", "cvc": "123", "fingerprint": "secret"}
    charge = stripe_mapping.charge({**CHARGE, "payment_method_details": {"type": "card", "card": number}})
    assert charge.card == stripe_mapping.StripeCard(
        payment_method_id="pm_1", brand="visa", last4="4242", expires_month=12, expires_year=2031
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"payment_method": None},
        {"payment_method_details": None},
        {"payment_method_details": {"type": "us_bank_account", "us_bank_account": {"last4": "6789"}}},
    ],
)
def test_payment_without_a_card_has_none(changes: dict[str, Any]) -> None:
    assert stripe_mapping.charge({**CHARGE, **changes}).card is None


# --- Invoices --------------------------------------------------------------------------------------------------------


def payment(status: str, amount: int | None, intent: Any = "pi_1") -> dict[str, Any]:
    return {"status": status, "amount_paid": amount, "payment": {"type": "payment_intent", "payment_intent": intent}}


def test_invoice_counts_only_payments_that_are_paid() -> None:
    payments = [payment("open", None, "pi_0"), payment("paid", 500), payment("canceled", 700, {"id": "pi_2"})]
    invoice = stripe_mapping.invoice({**INVOICE, "payments": {"data": payments}})
    assert invoice.paid_with_cents == {"pi_1": 500}
    assert not invoice.is_paid


def test_invoice_reads_amounts_with_their_sign() -> None:
    invoice = stripe_mapping.invoice({**INVOICE, "starting_balance": -500, "amount_remaining": 19_500})
    assert (invoice.total_cents, invoice.balance_cents, invoice.remaining_cents) == (20_000, -500, 19_500)
    assert invoice.paid_with_cents == {}


@pytest.mark.parametrize("lines", [None, {}, {"data": []}])
def test_invoice_without_lines_has_none(lines: Any) -> None:
    assert not stripe_mapping.invoice({**INVOICE, "lines": lines}).has_lines


def test_draft_that_was_just_created_has_no_links_and_no_payments() -> None:
    invoice = stripe_mapping.invoice({"id": "in_1"})
    assert (invoice.status, invoice.total_cents, invoice.links) == ("", 0, stripe_mapping.ReceiptLinks())


# --- Refunds and disputes --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "has_failed"),
    [
        ("pending", False),
        ("requires_action", False),
        ("succeeded", False),
        ("failed", True),
        ("canceled", True),
        (None, False),
    ],
)
def test_refund_has_failed_only_if_stripe_says_so(status: str | None, has_failed: bool) -> None:
    refund = stripe_mapping.refund({"id": "re_1", "amount": 500, "status": status, "metadata": None})
    assert (refund.has_failed, refund.refund_id, refund.payment_intent_id) == (has_failed, "", "")


@pytest.mark.parametrize("read", [stripe_mapping.refund, stripe_mapping.dispute])
def test_refund_or_dispute_without_an_amount_is_not_taken_for_nothing(read: Any) -> None:
    """The webhook answers 500, and Stripe sends the event again."""
    with pytest.raises(KeyError):
        read({"id": "re_1", "currency": "usd"})


def test_dispute_names_its_payment() -> None:
    dispute = stripe_mapping.dispute({"id": "dp_1", "amount": 500, "payment_intent": {"id": "pi_1"}, "reason": None})
    assert (dispute.payment_intent_id, dispute.amount_cents, dispute.reason) == ("pi_1", 500, "")
