"""Stripe's objects as JSON, with the fields of API version 2026-05-27.dahlia. Pure.

Here: accounts, customers, Checkout Sessions, events and lists. `payment_shapes` and `invoice_shapes` have the others.
Their tests compare them with stripe-python's types and store them with dj-stripe.
"""

from typing import Any

# A JSON object of Stripe's, with `id` and `object`, or a part of one.
StripeObject = dict[str, Any]

# Stripe's limits (docs.stripe.com/api/checkout/sessions/create; docs.stripe.com/currencies; read 2026-11-20).
MIN_CENTS = 50
MAX_CENTS = 99_999_999
MAX_SESSION_SECONDS = 24 * 3600
MIN_SESSION_SECONDS = 30 * 60


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
