"""What happens to payments: paid, declined, processing, refunded, disputed. Every change emits events.

The events come in Stripe's usual order. Stripe does not guarantee it, and neither does the sandbox.
"""

from enum import StrEnum

from django.conf import settings
from django.urls import reverse

from billing.sandbox import invoice_shapes, payment_shapes, shapes, webhook_sender
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import State

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

# Fields that Stripe sends only if `expand` names them.
SENT_ON_REQUEST = {"checkout.session": "line_items", "invoice": "payments"}


class ActionRefused(Exception):
    """The state of the object does not allow the action.

    message: the reason, for people. code: Stripe's error code, or empty.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


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


# --- Refunds and disputes --------------------------------------------------------------------------------------------


def refund(state: State, charge: StripeObject, *, amount: int | None, fields: StripeObject) -> StripeObject:
    """Refund a charge.

    amount: cents; None for all that is not refunded yet. Raises ActionRefused if less than that is left.
    """
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["status"] != "succeeded":
        raise ActionRefused(f"Charge {charge['id']} has not succeeded.", code="charge_not_refundable")
    if left == 0:
        raise ActionRefused(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if charge["disputed"] and not all(d["is_charge_refundable"] for d in state.list("dispute", charge=charge["id"])):
        raise ActionRefused(
            f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed"
        )
    amount = left if amount is None else amount
    if amount > left:
        raise ActionRefused(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge (${left / 100:.2f})"
        )
    status = "pending" if state.get_setting("slow_refunds") else "succeeded"
    made = payment_shapes.refund(
        state.new_id("re"), now=state.now, charge=charge, amount=amount, status=status, fields=fields
    )
    _set_refunded(state, charge, by=amount)
    emit(state, "refund.created", state.put(made))
    emit(state, "charge.refunded", charge)
    return made


def finish_refund(state: State, refund_id: str) -> StripeObject:
    """Let a pending refund succeed."""
    found = state.get(refund_id, kind="refund")
    if found["status"] != "pending":
        raise ActionRefused(f"This refund has {found['status']}.")
    found |= {"status": "succeeded", "pending_reason": None}
    emit(state, "refund.updated", state.put(found), previous={"status": "pending"})
    emit(state, "charge.refund.updated", found, previous={"status": "pending"})
    return found


def fail_refund(state: State, refund_id: str) -> StripeObject:
    """Let a refund fail, even one that had succeeded: the bank returns the money to the merchant."""
    found = state.get(refund_id, kind="refund")
    if found["status"] not in {"pending", "succeeded"}:
        raise ActionRefused(f"This refund has {found['status']}.")
    previous = {"status": found["status"]}
    found |= {
        "status": "failed",
        "pending_reason": None,
        "failure_reason": "expired_or_canceled_card",
        "failure_balance_transaction": _move_money(
            state, found, amount=found["amount"], kind="payment_failure_refund", category="refund_failure"
        )["id"],
    }
    state.put(found)
    charge = state.get(found["charge"])
    _set_refunded(state, charge, by=-found["amount"])
    for kind in ("refund.updated", "charge.refund.updated", "refund.failed"):
        emit(state, kind, found, previous=previous)
    return found


def open_dispute(state: State, charge_id: str, *, amount: int | None = None, is_inquiry: bool = False) -> StripeObject:
    """Open a dispute. The bank withdraws the money at once, except for an inquiry.

    amount: cents; None for all that is not refunded.
    """
    charge = state.get(charge_id, kind="charge")
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] or left <= 0:
        raise ActionRefused("This payment is fully refunded or disputed already.")
    made = payment_shapes.dispute(
        state.new_id("du"),
        now=state.now,
        charge=charge,
        amount=min(amount or left, left),
        is_inquiry=is_inquiry,
        reason="general" if is_inquiry else "fraudulent",
    )
    charge["disputed"] = True
    state.put(charge)
    emit(state, "charge.dispute.created", state.put(made))
    if not is_inquiry:
        _move_dispute_money(state, made, amount=-made["amount"])
        emit(state, "charge.dispute.funds_withdrawn", made)
    return made


def close_dispute(state: State, dispute_id: str, *, is_won: bool) -> StripeObject:
    """Close a dispute. If it is won, the bank returns the money to the merchant."""
    found = state.get(dispute_id, kind="dispute")
    if found["status"] in {"won", "lost", "warning_closed"}:
        raise ActionRefused("This dispute is closed.")
    is_inquiry = found["status"].startswith("warning_")
    found["status"] = "warning_closed" if is_inquiry else "won" if is_won else "lost"
    if is_won and not is_inquiry:
        _move_dispute_money(state, found, amount=found["amount"])
        emit(state, "charge.dispute.funds_reinstated", found)
    emit(state, "charge.dispute.closed", state.put(found))
    return found


def _move_dispute_money(state: State, dispute: StripeObject, *, amount: int) -> None:
    category = "dispute" if amount < 0 else "dispute_reversal"
    moved = _move_money(state, dispute, amount=amount, kind="adjustment", category=category)
    dispute["balance_transactions"].append(moved)
    state.put(dispute)


def _move_money(state: State, source: StripeObject, *, amount: int, kind: str, category: str) -> StripeObject:
    moved = payment_shapes.balance_transaction(
        state.new_id("txn"), now=state.now, amount=amount, source=source, kind=kind, category=category
    )
    return state.put(moved)


def _set_refunded(state: State, charge: StripeObject, *, by: int) -> None:
    charge["amount_refunded"] += by
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    state.put(charge)


# --- Responses and events --------------------------------------------------------------------------------------------


def without_hidden_fields(stripe_object: StripeObject) -> StripeObject:
    """Return an object without the fields that Stripe does not send, or only if `expand` names them.

    The sandbox's own fields begin with an underscore.
    """
    hidden = SENT_ON_REQUEST.get(stripe_object["object"], "")
    return {name: value for name, value in stripe_object.items() if name != hidden and not name.startswith("_")}


def page_url(name: str, object_id: str) -> str:
    """Return the URL of one of the sandbox's pages."""
    return settings.SITE_URL + reverse(f"sandbox:{name}", args=[object_id])


def emit(state: State, kind: str, stripe_object: StripeObject, *, previous: StripeObject | None = None) -> None:
    """Store an event and queue its webhook.

    kind: the event's type. previous: the fields that an update changed, with their values before.
    """
    made = shapes.event(
        state.new_id("evt"),
        now=state.now,
        kind=kind,
        stripe_object=without_hidden_fields(stripe_object),
        version=settings.STRIPE_API_VERSION,
        previous=previous,
    )
    made["request"] = {"id": state.request_id, "idempotency_key": state.idempotency_key}
    webhook_sender.enqueue(state, state.put(made))
