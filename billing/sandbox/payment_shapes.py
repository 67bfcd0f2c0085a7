"""Stripe's payments, refunds and disputes as JSON, as `shapes` has other objects. Pure."""

from billing.sandbox.shapes import StripeObject

CARD = {"brand": "visa", "last4": "4242", "exp_month": 12, "exp_year": 2040, "country": "US", "funding": "credit"}


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


def _billing_details() -> StripeObject:
    return {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
