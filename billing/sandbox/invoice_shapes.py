"""Stripe's invoices as JSON, as `shapes` has other objects. Pure."""

from billing.sandbox.shapes import StripeObject, page_of


def invoice(
    invoice_id: str, *, now: int, currency: str, customer: StripeObject | None, fields: StripeObject
) -> StripeObject:
    """Return an invoice: a draft without lines, unless fields say otherwise."""
    return {
        "id": invoice_id,
        "object": "invoice",
        "amount_due": 0,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": 0,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": False,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "billing_reason": "manual",
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "custom_fields": None,
        "customer": customer["id"] if customer else None,
        "customer_email": (customer or {}).get("email"),
        "customer_name": (customer or {}).get("name"),
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "ending_balance": None,
        "footer": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "latest_revision": None,
        "lines": page_of([], url=f"/v1/invoices/{invoice_id}/lines"),
        "livemode": False,
        "metadata": {},
        "number": None,
        "on_behalf_of": None,
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "payments": page_of([], url="/v1/invoice_payments"),
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "starting_balance": 0,
        "status": "draft",
        "status_transitions": {
            "finalized_at": None,
            "marked_uncollectible_at": None,
            "paid_at": None,
            "voided_at": None,
        },
        "subtotal": 0,
        "test_clock": None,
        "total": 0,
        **fields,
    }


def invoice_line(line_id: str, *, now: int, invoice: StripeObject, amount: int, description: str) -> StripeObject:
    return {
        "id": line_id,
        "object": "line_item",
        "amount": amount,
        "currency": invoice["currency"],
        "description": description,
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice["id"],
        "livemode": False,
        "metadata": {},
        "parent": None,
        "period": {"end": now, "start": now},
        "pretax_credit_amounts": [],
        "pricing": None,
        "quantity": 1,
        "quantity_decimal": "1",
        "subscription": None,
        "subtotal": amount,
        "taxes": [],
    }


def invoice_payment(
    payment_id: str, *, now: int, invoice: StripeObject, intent: StripeObject, amount: int, is_default: bool
) -> StripeObject:
    """Return a payment of an invoice: paid, or open until somebody pays it.

    is_default: whether Stripe created its PaymentIntent together with the invoice.
    """
    is_paid = intent["status"] == "succeeded"
    return {
        "id": payment_id,
        "object": "invoice_payment",
        "amount_paid": amount if is_paid else None,
        "amount_requested": amount,
        "created": now,
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": is_default,
        "livemode": False,
        "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
        "status": "paid" if is_paid else "open",
        "status_transitions": {"canceled_at": None, "paid_at": now if is_paid else None},
    }
