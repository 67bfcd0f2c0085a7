"""Stripe's objects as JSON, with the fields of API version 2026-05-27.dahlia. Pure.

tests/billing/sandbox/test_shapes.py compares them with stripe-python's types and stores them with dj-stripe.
"""

from typing import Any

# A JSON object of Stripe's, with `id` and `object`, or a part of one.
StripeObject = dict[str, Any]

# Stripe's limits (docs.stripe.com/api/checkout/sessions/create; docs.stripe.com/currencies; read 2026-11-20).
MIN_CENTS = 50
MAX_CENTS = 99_999_999
MAX_SESSION_SECONDS = 24 * 3600
MIN_SESSION_SECONDS = 30 * 60
CARD = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2040, "country": "US", "funding": "credit"}


def account(account_id: str) -> StripeObject:
    return {
        "id": account_id,
        "object": "account",
        "business_type": "company",
        "charges_enabled": True,
        "country": "US",
        "default_currency": "usd",
        "email": "sandbox@example.com",
        "payouts_enabled": True,
        "settings": {"dashboard": {"display_name": "Sandbox", "timezone": "Etc/UTC"}},
        "type": "standard",
    }


def customer(customer_id: str, *, now: int, fields: StripeObject) -> StripeObject:
    return {
        "id": customer_id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": now,
        "currency": None,
        "default_source": None,
        "delinquent": False,
        "description": None,
        "discount": None,
        "email": None,
        "invoice_prefix": customer_id[-8:].upper(),
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": None,
            "footer": None,
            "rendering_options": None,
        },
        "livemode": False,
        "metadata": {},
        "name": None,
        "next_invoice_sequence": 1,
        "phone": None,
        "preferred_locales": [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
        **fields,
    }


def session(session_id: str, *, now: int, amount: int, currency: str, url: str, fields: StripeObject) -> StripeObject:
    return {
        "id": session_id,
        "object": "checkout.session",
        "adaptive_pricing": None,
        "after_expiration": None,
        "allow_promotion_codes": None,
        "amount_subtotal": amount,
        "amount_total": amount,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "billing_address_collection": None,
        "cancel_url": None,
        "client_reference_id": None,
        "client_secret": None,
        "consent": None,
        "consent_collection": None,
        "created": now,
        "currency": currency,
        "currency_conversion": None,
        "custom_fields": [],
        "custom_text": {
            "after_submit": None,
            "shipping_address": None,
            "submit": None,
            "terms_of_service_acceptance": None,
        },
        "customer": None,
        "customer_creation": "if_required",
        "customer_details": None,
        "customer_email": None,
        "discounts": [],
        "expires_at": now + MAX_SESSION_SECONDS,
        "invoice": None,
        "invoice_creation": None,
        "livemode": False,
        "locale": None,
        "metadata": {},
        "mode": "payment",
        "origin_context": None,
        "payment_intent": None,
        "payment_link": None,
        "payment_method_collection": "if_required",
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "payment_status": "unpaid",
        "phone_number_collection": {"enabled": False},
        "recovered_from": None,
        "redirect_on_completion": None,
        "saved_payment_method_options": None,
        "setup_intent": None,
        "shipping_address_collection": None,
        "shipping_cost": None,
        "shipping_options": [],
        "status": "open",
        "submit_type": None,
        "subscription": None,
        "success_url": None,
        "tax_id_collection": None,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": "hosted_page",
        "url": url,
        "wallet_options": None,
        **fields,
    }


def line_items(session_id: str, items: list[StripeObject]) -> StripeObject:
    """Return the line items of a session.

    items: list of {"id", "description", "amount", "currency", "quantity"}; amount is the price of one.
    """
    shown = [
        {
            "id": item["id"],
            "object": "item",
            "amount_discount": 0,
            "amount_subtotal": item["amount"] * item["quantity"],
            "amount_tax": 0,
            "amount_total": item["amount"] * item["quantity"],
            "currency": item["currency"],
            "description": item["description"],
            "price": None,
            "quantity": item["quantity"],
        }
        for item in items
    ]
    return page_of(shown, url=f"/v1/checkout/sessions/{session_id}/line_items")


def payment_intent(intent_id: str, *, now: int, amount: int, currency: str, fields: StripeObject) -> StripeObject:
    return {
        "id": intent_id,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{intent_id}_secret_{intent_id[-16:]}",
        "confirmation_method": "automatic",
        "created": now,
        "currency": currency,
        "customer": None,
        "description": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": ["card"],
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
        **fields,
    }


def payment_method(method_id: str, *, now: int, customer_id: str | None, is_card: bool, redisplay: str) -> StripeObject:
    details: StripeObject = (
        {
            "card": {
                **CARD,
                "checks": {"address_line1_check": None, "address_postal_code_check": None, "cvc_check": "pass"},
                "display_brand": CARD["brand"],
                "fingerprint": "SandboxSandbox00",
                "generated_from": None,
                "networks": {"available": [CARD["brand"]], "preferred": None},
                "regulated_status": "unregulated",
                "three_d_secure_usage": {"supported": True},
                "wallet": None,
            }
        }
        if is_card
        else {"us_bank_account": {"account_holder_type": "company", "bank_name": "SANDBOX BANK", "last4": "6789"}}
    )
    return {
        "id": method_id,
        "object": "payment_method",
        "allow_redisplay": redisplay,
        "billing_details": _billing_details(),
        "created": now,
        "customer": customer_id,
        "livemode": False,
        "metadata": {},
        "type": "card" if is_card else "us_bank_account",
        **details,
    }


def charge(
    charge_id: str,
    *,
    now: int,
    intent: StripeObject,
    method: StripeObject,
    receipt_url: str,
    failure: StripeObject | None,
) -> StripeObject:
    """Return a charge.

    failure: {"code", "decline_code", "message"} of a declined charge, or None.
    """
    shown = {name: method["card"][name] for name in CARD} if method["type"] == "card" else method["us_bank_account"]
    return {
        "id": charge_id,
        "object": "charge",
        "amount": intent["amount"],
        "amount_captured": 0 if failure else intent["amount"],
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": _billing_details(),
        "calculated_statement_descriptor": "SANDBOX",
        "captured": not failure,
        "created": now,
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": failure["code"] if failure else None,
        "failure_message": failure["message"] if failure else None,
        "fraud_details": {},
        "livemode": False,
        "metadata": intent["metadata"],
        "on_behalf_of": None,
        "outcome": {
            "network_status": "declined_by_network" if failure else "approved_by_network",
            "reason": failure["decline_code"] if failure else None,
            "risk_level": "normal",
            "seller_message": "The bank did not return any further details." if failure else "Payment complete.",
            "type": "issuer_declined" if failure else "authorized",
        },
        "paid": not failure,
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": {method["type"]: shown, "type": method["type"]},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": None if failure else receipt_url,
        "refunded": False,
        "review": None,
        "shipping": None,
        "source": None,
        "source_transfer": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "failed" if failure else "succeeded",
        "transfer": None,
        "transfer_data": None,
        "transfer_group": None,
    }


def refund(
    refund_id: str, *, now: int, charge: StripeObject, amount: int, status: str, fields: StripeObject
) -> StripeObject:
    return {
        "id": refund_id,
        "object": "refund",
        "amount": amount,
        "balance_transaction": None,
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "customer": charge["customer"],
        "destination_details": {"card": {"type": "refund"}, "type": "card"},
        "failure_balance_transaction": None,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method": charge["payment_method"],
        "pending_reason": "processing" if status == "pending" else None,
        "reason": None,
        "receipt_number": None,
        "source_transfer_reversal": None,
        "status": status,
        "transfer_reversal": None,
        **fields,
    }


def dispute(
    dispute_id: str, *, now: int, charge: StripeObject, amount: int, is_inquiry: bool, reason: str
) -> StripeObject:
    return {
        "id": dispute_id,
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": {},
        "evidence_details": {
            "due_by": now + 7 * 24 * 3600,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": is_inquiry,
        "livemode": False,
        "metadata": {},
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {"card": {"brand": CARD["brand"], "case_type": "chargeback"}, "type": "card"},
        "reason": reason,
        "status": "warning_needs_response" if is_inquiry else "needs_response",
    }


def balance_transaction(
    transaction_id: str, *, now: int, amount: int, source: StripeObject, kind: str, category: str
) -> StripeObject:
    """Return a change of the merchant's balance at Stripe by a dispute or failed refund; withdrawals are negative."""
    return {
        "id": transaction_id,
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": source["currency"],
        "description": None,
        "exchange_rate": None,
        "fee": 0,
        "fee_details": [],
        "net": amount,
        "reporting_category": category,
        "source": source["id"],
        "status": "available",
        "type": kind,
    }


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


def event(
    event_id: str, *, now: int, kind: str, stripe_object: StripeObject, version: str, previous: StripeObject | None
) -> StripeObject:
    """Return an event.

    previous: the fields that an update changed, with their values before.
    """
    return {
        "id": event_id,
        "object": "event",
        "api_version": version,
        "created": now,
        "data": {"object": stripe_object, **({"previous_attributes": previous} if previous else {})},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": None},
        "type": kind,
    }


def page_of(objects: list[StripeObject], *, url: str, has_more: bool = False) -> StripeObject:
    """Return one page of a list."""
    return {"object": "list", "data": objects, "has_more": has_more, "url": url}


def _billing_details() -> StripeObject:
    return {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
