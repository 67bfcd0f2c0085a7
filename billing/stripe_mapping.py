"""Maps Stripe's JSON objects to frozen values with the fields that billing uses. Pure.

Field names are from Stripe's API reference (docs.stripe.com/api: checkout/sessions, payment_intents, charges, invoices,
refunds and disputes; read 2026-11-20). A reference to another object is its id or, if the caller expanded it, the
object.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A JSON object from Stripe. `Any`, because this is the boundary.
StripeJson = Mapping[str, Any]

# Metadata keys with the id of the row here. Set on every object that this site creates at Stripe.
TOPUP_KEY = "topup_id"
REFUND_KEY = "refund_id"


@dataclass(frozen=True, slots=True)
class ReceiptLinks:
    """Links to a payment's receipt and invoice; empty if Stripe has sent none."""

    receipt_url: str = ""
    invoice_url: str = ""
    invoice_pdf_url: str = ""


@dataclass(frozen=True, slots=True)
class StripeCard:
    """A card that Stripe stores, with the fields that may be shown."""

    payment_method_id: str
    brand: str
    last4: str
    expires_month: int | None
    expires_year: int | None


@dataclass(frozen=True, slots=True)
class StripePayment:
    """A payment for a top-up, read from a Checkout Session or a PaymentIntent."""

    # Type of the object, "checkout" or "payment_intent", and its id.
    subject: str
    stripe_id: str
    # Id of the top-up from the metadata; "" if there is none.
    topup_id: str
    amount_cents: int
    currency: str
    is_paid: bool
    # The payer has paid; the bank has not confirmed yet.
    is_processing: bool
    # It can no longer be paid.
    is_closed: bool
    checkout_session_id: str
    payment_intent_id: str
    links: ReceiptLinks
    card: StripeCard | None
    # Address of the pay page while it is open, else "".
    page_url: str = ""


@dataclass(frozen=True, slots=True)
class StripeCharge:
    """The receipt's link and the card of a payment."""

    topup_id: str
    payment_intent_id: str
    links: ReceiptLinks
    card: StripeCard | None


@dataclass(frozen=True, slots=True)
class StripeInvoice:
    """An invoice and its payments."""

    stripe_id: str
    topup_id: str
    # Stripe's value: draft, open, paid, void, uncollectible.
    status: str
    currency: str
    has_lines: bool
    total_cents: int
    # The customer's balance at Stripe, which is applied when the invoice is finalized. Negative: a credit.
    balance_cents: int
    remaining_cents: int
    # PaymentIntent id → cents that it paid. Empty unless the caller expanded the payments.
    paid_with_cents: Mapping[str, int]
    links: ReceiptLinks

    @property
    def is_paid(self) -> bool:
        return self.status == "paid"


@dataclass(frozen=True, slots=True)
class StripeRefund:
    """A refund."""

    stripe_id: str
    # Id of the row here from the metadata; "" if it was made in the dashboard.
    refund_id: str
    payment_intent_id: str
    amount_cents: int
    currency: str
    # Stripe's value: pending, requires_action, succeeded, failed, canceled.
    status: str

    @property
    def has_failed(self) -> bool:
        return self.status in {"failed", "canceled"}


@dataclass(frozen=True, slots=True)
class StripeDispute:
    """A dispute (chargeback)."""

    stripe_id: str
    payment_intent_id: str
    amount_cents: int
    currency: str
    # Stripe's value: warning_needs_response, needs_response, under_review, won, lost ...
    status: str
    reason: str


def payment_of_checkout(session: StripeJson) -> StripePayment:
    """Read a Checkout Session."""
    status, payment_status = session.get("status") or "", session.get("payment_status") or "unpaid"
    intent = session.get("payment_intent")
    charge = _object(_object(intent).get("latest_charge"))
    return StripePayment(
        subject="checkout",
        stripe_id=session["id"],
        topup_id=_metadata(session).get(TOPUP_KEY) or session.get("client_reference_id") or "",
        amount_cents=session.get("amount_total") or 0,
        currency=session.get("currency") or "",
        is_paid=payment_status != "unpaid",
        is_processing=payment_status == "unpaid" and status == "complete",
        is_closed=status == "expired",
        checkout_session_id=session["id"],
        payment_intent_id=_id(intent),
        links=_receipt_links(charge=charge, invoice=_object(session.get("invoice"))),
        card=_card(charge),
        # "This value is only present when the session is active" (checkout/sessions/object).
        page_url=session.get("url") or "",
    )


def payment_of_intent(intent: StripeJson) -> StripePayment:
    """Read a PaymentIntent."""
    status = intent.get("status") or ""
    charge = _object(intent.get("latest_charge"))
    return StripePayment(
        subject="payment_intent",
        stripe_id=intent["id"],
        topup_id=_metadata(intent).get(TOPUP_KEY) or "",
        amount_cents=(intent.get("amount_received") if status == "succeeded" else intent.get("amount")) or 0,
        currency=intent.get("currency") or "",
        is_paid=status == "succeeded",
        is_processing=status == "processing",
        is_closed=status == "canceled",
        checkout_session_id="",
        payment_intent_id=intent["id"],
        links=_receipt_links(charge=charge, invoice={}),
        card=_card(charge),
    )


def charge(charge: StripeJson) -> StripeCharge:
    """Read a Charge."""
    return StripeCharge(
        topup_id=_metadata(charge).get(TOPUP_KEY) or "",
        payment_intent_id=_id(charge.get("payment_intent")),
        links=_receipt_links(charge=charge, invoice={}),
        card=_card(charge),
    )


def invoice(invoice: StripeJson) -> StripeInvoice:
    """Read an Invoice."""
    return StripeInvoice(
        stripe_id=invoice["id"],
        topup_id=_metadata(invoice).get(TOPUP_KEY) or "",
        status=invoice.get("status") or "",
        currency=invoice.get("currency") or "",
        has_lines=bool(_object(invoice.get("lines")).get("data")),
        total_cents=invoice.get("total") or 0,
        balance_cents=invoice.get("starting_balance") or 0,
        remaining_cents=invoice.get("amount_remaining") or 0,
        paid_with_cents={
            _id(_object(payment.get("payment")).get("payment_intent")): payment.get("amount_paid") or 0
            for payment in _object(invoice.get("payments")).get("data") or []
            if payment.get("status") == "paid"
        },
        links=_receipt_links(charge={}, invoice=invoice),
    )


def refund(refund: StripeJson) -> StripeRefund:
    """Read a Refund."""
    return StripeRefund(
        stripe_id=refund["id"],
        refund_id=_metadata(refund).get(REFUND_KEY) or "",
        payment_intent_id=_id(refund.get("payment_intent")),
        amount_cents=refund["amount"],
        currency=refund.get("currency") or "",
        status=refund.get("status") or "pending",
    )


def dispute(dispute: StripeJson) -> StripeDispute:
    """Read a Dispute."""
    return StripeDispute(
        stripe_id=dispute["id"],
        payment_intent_id=_id(dispute.get("payment_intent")),
        amount_cents=dispute["amount"],
        currency=dispute.get("currency") or "",
        status=dispute.get("status") or "",
        reason=dispute.get("reason") or "",
    )


def _metadata(stripe_object: StripeJson) -> StripeJson:
    return stripe_object.get("metadata") or {}


def _object(reference: object) -> StripeJson:
    """Return the object if Stripe sent it, an empty one if it sent only the id."""
    return reference if isinstance(reference, Mapping) else {}


def _id(reference: object) -> str:
    if isinstance(reference, Mapping):
        return str(reference["id"])
    return str(reference or "")


def _receipt_links(*, charge: StripeJson, invoice: StripeJson) -> ReceiptLinks:
    return ReceiptLinks(
        receipt_url=charge.get("receipt_url") or "",
        invoice_url=invoice.get("hosted_invoice_url") or "",
        invoice_pdf_url=invoice.get("invoice_pdf") or "",
    )


def _card(charge: StripeJson) -> StripeCard | None:
    shown = _object(_object(charge.get("payment_method_details")).get("card"))
    payment_method_id = _id(charge.get("payment_method"))
    if not payment_method_id or not shown:
        return None
    return StripeCard(
        payment_method_id=payment_method_id,
        brand=shown.get("brand") or "",
        last4=shown.get("last4") or "",
        expires_month=shown.get("exp_month"),
        expires_year=shown.get("exp_year"),
    )
