"""What happens to payments: paid, declined, processing. Every change emits events. Then see `refund_actions`.

The events come in Stripe's usual order. Stripe does not guarantee it, and neither does the sandbox.
"""

from enum import StrEnum

from django.conf import settings
from django.urls import reverse

from billing.sandbox import invoice_shapes, payment_shapes, shapes
from billing.sandbox.events import emit
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import ActionRefused, State

# How long a bank transfer takes: days at Stripe, seconds here, because a developer waits for it.
TRANSFER_SECONDS = 4


class Outcome(StrEnum):
    """How an attempt to pay ends."""

    PAID = "paid"
    DECLINED = "declined"
    # The bank requires the cardholder to confirm. Only for saved cards.
    AUTHENTICATION_REQUIRED = "authentication_required"
    # Bank transfers, which succeed or fail after TRANSFER_SECONDS.
    TRANSFER_PAID = "transfer_paid"
    TRANSFER_FAILED = "transfer_failed"


# docs.stripe.com/declines/codes, read 2026-11-20.
FAILURES = {
    Outcome.DECLINED: {
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": "Your card was declined.",
    },
    Outcome.AUTHENTICATION_REQUIRED: {
        "code": "authentication_required",
        "decline_code": "authentication_required",
        "message": "Your card was declined. This transaction requires authentication.",
    },
}


# --- Checkout --------------------------------------------------------------------------------------------------------


def pay_session(
    state: State, session_id: str, *, outcome: Outcome, save_card: bool = False, tax_id: str = ""
) -> StripeObject:
    """Pay a Checkout Session. If the card is declined, the session stays open for another attempt.

    save_card: whether the payer ticked the box, which counts only if the session offers it.
    Raises ActionRefused unless the session is open.
    """
    session = expire_if_due(state, state.get(session_id, kind="checkout.session"))
    if session["status"] != "open":
        raise ActionRefused(f"This Checkout Session is {session['status']}.")
    intent_data = session["_payment_intent_data"]
    is_card = outcome in {Outcome.PAID, Outcome.DECLINED}
    saves_card = is_card and bool(intent_data["setup_future_usage"] or (save_card and offers_to_save_card(session)))
    _ensure_customer(state, session, is_needed=saves_card and outcome == Outcome.PAID)
    intent = _payment_intent_of(state, session)
    method = state.put(
        payment_shapes.payment_method(
            state.new_id("pm"),
            now=state.now,
            customer_id=session["customer"] if saves_card and outcome == Outcome.PAID else None,
            is_card=is_card,
            redisplay="always" if save_card else "limited",
        )
    )
    if outcome == Outcome.DECLINED:
        _fail(state, intent, method=method, failure=FAILURES[outcome])
        return state.put(session)
    session["customer_details"] = _customer_details(state, session, tax_id=tax_id)
    if session["customer_details"]["tax_ids"] and session["customer"]:
        # Stripe stores the tax ID with the customer and shows it on all later invoices.
        customer = state.get(session["customer"])
        customer["_tax_ids"] = session["customer_details"]["tax_ids"]
        state.put(customer)
    session["status"], session["url"] = "complete", None
    if outcome == Outcome.PAID:
        if method["customer"]:
            emit(state, "payment_method.attached", method)
        succeed(state, intent, method=method)
        return _complete(state, session, event_kind="checkout.session.completed")
    intent |= {"status": "processing", "payment_method": method["id"]}
    intent["payment_method_types"] = ["us_bank_account"]
    emit(state, "payment_intent.processing", state.put(intent))
    emit(state, "checkout.session.completed", state.put(session))
    state.schedule(outcome, session_id, after_seconds=TRANSFER_SECONDS)
    return session


def settle_session(state: State, session_id: str, *, is_paid: bool) -> StripeObject:
    """Complete or fail the bank transfer of a session. Raises ActionRefused unless it is processing."""
    session = state.get(session_id, kind="checkout.session")
    intent = state.find(session["payment_intent"] or "")
    if session["status"] != "complete" or intent is None or intent["status"] != "processing":
        raise ActionRefused("This payment is not processing.")
    method = state.get(intent["payment_method"])
    if is_paid:
        succeed(state, intent, method=method)
        return _complete(state, session, event_kind="checkout.session.async_payment_succeeded")
    failure = {
        "code": "payment_intent_payment_attempt_failed",
        "decline_code": "",
        "message": "The bank transfer failed.",
    }
    _fail(state, intent, method=method, failure=failure)
    emit(state, "checkout.session.async_payment_failed", state.put(session))
    return session


def expire_session(state: State, session: StripeObject) -> StripeObject:
    """Expire an unpaid session. Raises ActionRefused unless it is open."""
    if session["status"] != "open":
        raise ActionRefused(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {session['status']}."
        )
    session["status"], session["url"] = "expired", None
    emit(state, "checkout.session.expired", state.put(session))
    return session


def expire_if_due(state: State, session: StripeObject) -> StripeObject:
    """Expire a session whose time is over. Returns the session, expired or not."""
    if session["status"] == "open" and session["expires_at"] <= state.now:
        return expire_session(state, session)
    return session


def offers_to_save_card(session: StripeObject) -> bool:
    """Return whether the pay page shows the checkbox that saves the card."""
    return bool((session["saved_payment_method_options"] or {}).get("payment_method_save") == "enabled")


def run_scheduled_actions(state: State) -> None:
    """Complete or fail the bank transfers that are due. Skips those that the control page has settled before."""
    due = state.database.execute(
        "SELECT number, action, object_id FROM scheduled_actions WHERE due_at <= ?", (state.now,)
    ).fetchall()
    for number, action, session_id in due:
        state.database.execute("DELETE FROM scheduled_actions WHERE number = ?", (number,))
        intent = state.find(state.get(session_id)["payment_intent"])
        if intent and intent["status"] == "processing":
            settle_session(state, session_id, is_paid=action == Outcome.TRANSFER_PAID)


def _complete(state: State, session: StripeObject, *, event_kind: str) -> StripeObject:
    session["payment_status"] = "paid"
    invoice = None
    if (session["invoice_creation"] or {}).get("enabled"):
        invoice = _make_invoice(state, session)
        session["invoice"] = invoice["id"]
    emit(state, event_kind, state.put(session))
    if invoice:
        for kind in ("invoice.created", "invoice.finalized", "invoice.paid"):
            emit(state, kind, invoice)
    return session


def _ensure_customer(state: State, session: StripeObject, *, is_needed: bool) -> None:
    if session["customer"] is None and (is_needed or session["customer_creation"] == "always"):
        fields = {"email": session["customer_email"]}
        customer = state.put(shapes.customer(state.new_id("cus"), now=state.now, fields=fields))
        session["customer"] = customer["id"]
        emit(state, "customer.created", customer)


def _customer_details(state: State, session: StripeObject, *, tax_id: str) -> StripeObject:
    customer = state.find(session["customer"] or "") or {}
    is_asked = (session["tax_id_collection"] or {}).get("enabled")
    return {
        "address": None,
        "email": session["customer_email"] or customer.get("email"),
        "name": customer.get("name"),
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [{"type": "eu_vat", "value": tax_id}] if tax_id and is_asked else [],
    }


def _payment_intent_of(state: State, session: StripeObject) -> StripeObject:
    """Return the session's PaymentIntent. The first attempt to pay creates it; later attempts use the same."""
    if session["payment_intent"]:
        return state.get(session["payment_intent"])
    fields = {**session["_payment_intent_data"], "customer": session["customer"]}
    intent = payment_shapes.payment_intent(
        state.new_id("pi"), now=state.now, amount=session["amount_total"], currency=session["currency"], fields=fields
    )
    session["payment_intent"] = intent["id"]
    emit(state, "payment_intent.created", state.put(intent))
    return intent


def _make_invoice(state: State, session: StripeObject) -> StripeObject:
    """Create the invoice of a paid Checkout Session."""
    invoice_data = (session["invoice_creation"] or {}).get("invoice_data") or {}
    invoice_id, amount = state.new_id("in"), session["amount_total"]
    fields = {
        "metadata": invoice_data.get("metadata") or {},
        "description": invoice_data.get("description"),
        "footer": invoice_data.get("footer"),
        "customer_tax_ids": session["customer_details"]["tax_ids"],
        "amount_due": amount,
        "amount_paid": amount,
        "subtotal": amount,
        "total": amount,
        "attempted": True,
        "ending_balance": 0,
        "status": "paid",
        "status_transitions": {
            "finalized_at": state.now,
            "marked_uncollectible_at": None,
            "paid_at": state.now,
            "voided_at": None,
        },
        **invoice_links(invoice_id),
    }
    customer = state.find(session["customer"] or "")
    made = invoice_shapes.invoice(
        invoice_id, now=state.now, currency=session["currency"], customer=customer, fields=fields
    )
    made["lines"]["data"] = [
        invoice_shapes.invoice_line(
            state.new_id("il"),
            now=state.now,
            invoice=made,
            amount=item["amount_total"],
            description=item["description"],
        )
        for item in session["line_items"]["data"]
    ]
    intent = state.get(session["payment_intent"])
    made["payments"]["data"] = [
        invoice_shapes.invoice_payment(
            state.new_id("inpay"), now=state.now, invoice=made, intent=intent, amount=amount, is_default=True
        )
    ]
    return state.put(made)


def invoice_links(invoice_id: str) -> StripeObject:
    """Return the links and the number that finalizing gives to an invoice."""
    url = page_url("invoice", invoice_id)
    return {"hosted_invoice_url": url, "invoice_pdf": url, "number": f"SANDBOX-{invoice_id[-6:].upper()}"}


# --- Payments without a page -----------------------------------------------------------------------------------------


def pay_intent(
    state: State, intent: StripeObject, *, method: StripeObject, is_off_session: bool
) -> StripeObject | None:
    """Charge a saved card with the outcome that `set_card_outcome` chose.

    Returns None, or the fields of Stripe's card error if the charge failed.
    """
    outcome = Outcome(state.get_setting(f"card:{method['id']}") or Outcome.PAID)
    if outcome == Outcome.PAID:
        succeed(state, intent, method=method)
        return None
    if outcome == Outcome.AUTHENTICATION_REQUIRED and not is_off_session:
        intent |= {"status": "requires_action", "payment_method": method["id"]}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        emit(state, "payment_intent.requires_action", state.put(intent))
        return None
    failure = FAILURES[outcome]
    charge = _fail(state, intent, method=method, failure=failure)
    return {**failure, "charge": charge["id"], "payment_intent": intent, "payment_method": method}


def set_card_outcome(state: State, method_id: str, *, outcome: Outcome) -> None:
    """Choose how later charges of a saved card end: PAID, DECLINED or AUTHENTICATION_REQUIRED."""
    state.get(method_id, kind="payment_method")
    state.set_setting(f"card:{method_id}", outcome)


def succeed(state: State, intent: StripeObject, *, method: StripeObject) -> None:
    """Let a PaymentIntent succeed, with a charge."""
    charge_id = state.new_id("ch")
    intent |= {
        "status": "succeeded",
        "amount_received": intent["amount"],
        "latest_charge": charge_id,
        "payment_method": method["id"],
        "last_payment_error": None,
        "next_action": None,
    }
    charge = payment_shapes.charge(
        charge_id, now=state.now, intent=intent, method=method, receipt_url=page_url("receipt", charge_id), failure=None
    )
    emit(state, "charge.succeeded", state.put(charge))
    emit(state, "payment_intent.succeeded", state.put(intent))


def _fail(state: State, intent: StripeObject, *, method: StripeObject, failure: dict[str, str]) -> StripeObject:
    charge = payment_shapes.charge(
        state.new_id("ch"), now=state.now, intent=intent, method=method, receipt_url="", failure=failure
    )
    intent |= {
        "status": "requires_payment_method",
        "latest_charge": charge["id"],
        "payment_method": None,
        "last_payment_error": {**failure, "type": "card_error", "charge": charge["id"], "payment_method": method},
    }
    emit(state, "charge.failed", state.put(charge))
    emit(state, "payment_intent.payment_failed", state.put(intent))
    return charge


def page_url(name: str, object_id: str) -> str:
    """Return the URL of one of the sandbox's pages."""
    return settings.SITE_URL + reverse(f"sandbox:{name}", args=[object_id])
