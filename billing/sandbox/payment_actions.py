"""What happens to payments: paid, declined, on its way, refunded, disputed. Every change is told of by events.

The order of the events is Stripe's usual one, which Stripe does not promise either.
"""

from enum import StrEnum
from typing import Any

from django.conf import settings
from django.urls import reverse

from billing.sandbox import shapes, webhook_sender
from billing.sandbox.store import State, Thing

# A slow bank, quick enough for somebody who watches.
BANK_SECONDS = 4


class Outcome(StrEnum):
    """What the payer's bank says."""

    PAID = "paid"
    DECLINED = "declined"
    # Only off-session: the bank wants to see the card's owner.
    ASKS_OWNER = "asks_owner"
    # A bank transfer: the answer comes later.
    LATER_PAID = "later_paid"
    LATER_FAILED = "later_failed"


# docs.stripe.com/declines/codes, read 2026-11-20.
FAILURES = {
    Outcome.DECLINED: {
        "code": "card_declined",
        "decline_code": "generic_decline",
        "message": "Your card was declined.",
    },
    Outcome.ASKS_OWNER: {
        "code": "authentication_required",
        "decline_code": "authentication_required",
        "message": "Your card was declined. This transaction requires authentication.",
    },
}


# What is sent only when asked for.
HIDDEN = {"checkout.session": "line_items", "invoice": "payments"}


class Impossible(Exception):
    """The object is not in a state where this can happen to it. The text says why; code: Stripe's word, or empty."""

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(message)
        self.code = code


# --- Checkout --------------------------------------------------------------------------------------------------------


def pay_session(state: State, session_id: str, *, outcome: Outcome, save_card: bool = False, tax_id: str = "") -> Thing:
    """Let the payer of a Checkout Session finish, or fail and stay on the page.

    save_card: the tick on the page, where the session offers it. Raises Impossible if it is no longer open.
    """
    session = expire_if_late(state, state.get(session_id, kind="checkout.session"))
    if session["status"] != "open":
        raise Impossible(f"This Checkout Session is {session['status']}.")
    wishes = session["_wishes"]
    is_card = outcome in {Outcome.PAID, Outcome.DECLINED}
    keeps_card = is_card and bool(wishes["setup_future_usage"] or (save_card and offers_to_save(session)))
    _have_customer(state, session, is_needed=keeps_card and outcome == Outcome.PAID)
    intent = _intent_of(state, session)
    method = state.put(
        shapes.payment_method(
            state.new_id("pm"),
            now=state.now,
            customer_id=session["customer"] if keeps_card and outcome == Outcome.PAID else None,
            is_card=is_card,
            redisplay="always" if save_card else "limited",
        )
    )
    if outcome == Outcome.DECLINED:
        _fail(state, intent, method=method, failure=FAILURES[outcome])
        return state.put(session)
    session["customer_details"] = _customer_details(state, session, tax_id=tax_id)
    if session["customer_details"]["tax_ids"] and session["customer"]:
        # Stripe keeps it with the customer, and shows it on every invoice from then on.
        customer = state.get(session["customer"])
        customer["_tax_ids"] = session["customer_details"]["tax_ids"]
        state.put(customer)
    session["status"], session["url"] = "complete", None
    if outcome == Outcome.PAID:
        if method["customer"]:
            tell(state, "payment_method.attached", method)
        succeed(state, intent, method=method)
        return _complete(state, session, event_kind="checkout.session.completed")
    intent |= {"status": "processing", "payment_method": method["id"]}
    intent["payment_method_types"] = ["us_bank_account"]
    tell(state, "payment_intent.processing", state.put(intent))
    tell(state, "checkout.session.completed", state.put(session))
    state.plan(outcome, session_id, after_seconds=BANK_SECONDS)
    return session


def settle_session(state: State, session_id: str, *, is_paid: bool) -> Thing:
    """Let the bank answer that was slow. Raises Impossible if it has, or was never asked."""
    session = state.get(session_id, kind="checkout.session")
    intent = state.find(session["payment_intent"] or "")
    if session["status"] != "complete" or intent is None or intent["status"] != "processing":
        raise Impossible("No bank has this payment in hand.")
    method = state.get(intent["payment_method"])
    if is_paid:
        succeed(state, intent, method=method)
        return _complete(state, session, event_kind="checkout.session.async_payment_succeeded")
    failure = {
        "code": "payment_intent_payment_attempt_failed",
        "decline_code": "",
        "message": "The bank sent no money.",
    }
    _fail(state, intent, method=method, failure=failure)
    tell(state, "checkout.session.async_payment_failed", state.put(session))
    return session


def expire_session(state: State, session: Thing) -> Thing:
    """Close a session that nobody paid. Raises Impossible unless it is open."""
    if session["status"] != "open":
        raise Impossible(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of {session['status']}."
        )
    session["status"], session["url"] = "expired", None
    tell(state, "checkout.session.expired", state.put(session))
    return session


def expire_if_late(state: State, session: Thing) -> Thing:
    if session["status"] == "open" and session["expires_at"] <= state.now:
        return expire_session(state, session)
    return session


def offers_to_save(session: Thing) -> bool:
    """Tell whether the pay page has a tick for saving the card."""
    return bool((session["saved_payment_method_options"] or {}).get("payment_method_save") == "enabled")


def carry_out_plans(state: State) -> None:
    """Let happen what is due by now."""
    due = state.database.execute("SELECT number, act, id FROM plans WHERE due_at <= ?", (state.now,)).fetchall()
    for number, act, session_id in due:
        state.database.execute("DELETE FROM plans WHERE number = ?", (number,))
        intent = state.find(state.get(session_id)["payment_intent"])
        if intent and intent["status"] == "processing":
            settle_session(state, session_id, is_paid=act == Outcome.LATER_PAID)


def _complete(state: State, session: Thing, *, event_kind: str) -> Thing:
    session["payment_status"] = "paid"
    invoice = None
    if (session["invoice_creation"] or {}).get("enabled"):
        invoice = _make_invoice(state, session)
        session["invoice"] = invoice["id"]
    tell(state, event_kind, state.put(session))
    if invoice:
        for kind in ("invoice.created", "invoice.finalized", "invoice.paid"):
            tell(state, kind, invoice)
    return session


def _have_customer(state: State, session: Thing, *, is_needed: bool) -> None:
    if session["customer"] is None and (is_needed or session["customer_creation"] == "always"):
        fields = {"email": session["customer_email"]}
        customer = state.put(shapes.customer(state.new_id("cus"), now=state.now, fields=fields))
        session["customer"] = customer["id"]
        tell(state, "customer.created", customer)


def _customer_details(state: State, session: Thing, *, tax_id: str) -> Thing:
    customer = state.find(session["customer"] or "") or {}
    may_give = (session["tax_id_collection"] or {}).get("enabled")
    return {
        "address": None,
        "email": session["customer_email"] or customer.get("email"),
        "name": customer.get("name"),
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": [{"type": "eu_vat", "value": tax_id}] if tax_id and may_give else [],
    }


def _intent_of(state: State, session: Thing) -> Thing:
    """Return the session's PaymentIntent: made with the first attempt to pay, used again after a decline."""
    if session["payment_intent"]:
        return state.get(session["payment_intent"])
    fields = {**session["_wishes"], "customer": session["customer"]}
    intent = shapes.payment_intent(
        state.new_id("pi"), now=state.now, amount=session["amount_total"], currency=session["currency"], fields=fields
    )
    session["payment_intent"] = intent["id"]
    tell(state, "payment_intent.created", state.put(intent))
    return intent


def _make_invoice(state: State, session: Thing) -> Thing:
    """Return the invoice of a Checkout that was paid."""
    wishes = (session["invoice_creation"] or {}).get("invoice_data") or {}
    invoice_id, amount = state.new_id("in"), session["amount_total"]
    fields = {
        "metadata": wishes.get("metadata") or {},
        "description": wishes.get("description"),
        "footer": wishes.get("footer"),
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
        **papers_of(invoice_id),
    }
    customer = state.find(session["customer"] or "")
    made = shapes.invoice(invoice_id, now=state.now, currency=session["currency"], customer=customer, fields=fields)
    made["lines"]["data"] = [
        shapes.invoice_line(
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
        shapes.invoice_payment(
            state.new_id("inpay"), now=state.now, invoice=made, intent=intent, amount=amount, is_default=True
        )
    ]
    return state.put(made)


def papers_of(invoice_id: str) -> Thing:
    """Return what an invoice gets when it is no draft any more."""
    url = page_url("paper", invoice_id)
    return {"hosted_invoice_url": url, "invoice_pdf": url, "number": f"SANDBOX-{invoice_id[-6:].upper()}"}


# --- Payments without a page -----------------------------------------------------------------------------------------


def pay_intent(state: State, intent: Thing, *, method: Thing, is_off_session: bool) -> Thing | None:
    """Charge a saved card. Returns None if it was paid, else the failure as Stripe's error tells of it.

    What the card does is chosen beforehand: `card_will`.
    """
    outcome = Outcome(state.knob(f"card:{method['id']}") or Outcome.PAID)
    if outcome == Outcome.PAID:
        succeed(state, intent, method=method)
        return None
    if outcome == Outcome.ASKS_OWNER and not is_off_session:
        intent |= {"status": "requires_action", "payment_method": method["id"]}
        intent["next_action"] = {"type": "use_stripe_sdk", "use_stripe_sdk": {}}
        tell(state, "payment_intent.requires_action", state.put(intent))
        return None
    failure = FAILURES[outcome]
    charge = _fail(state, intent, method=method, failure=failure)
    return {**failure, "charge": charge["id"], "payment_intent": intent, "payment_method": method}


def card_will(state: State, method_id: str, *, outcome: Outcome) -> None:
    """Choose what a saved card does from now on: PAID, DECLINED or ASKS_OWNER."""
    state.get(method_id, kind="payment_method")
    state.turn(f"card:{method_id}", outcome)


def succeed(state: State, intent: Thing, *, method: Thing) -> None:
    charge_id = state.new_id("ch")
    intent |= {
        "status": "succeeded",
        "amount_received": intent["amount"],
        "latest_charge": charge_id,
        "payment_method": method["id"],
        "last_payment_error": None,
        "next_action": None,
    }
    charge = shapes.charge(
        charge_id, now=state.now, intent=intent, method=method, receipt_url=page_url("paper", charge_id), failure=None
    )
    tell(state, "charge.succeeded", state.put(charge))
    tell(state, "payment_intent.succeeded", state.put(intent))


def _fail(state: State, intent: Thing, *, method: Thing, failure: dict[str, str]) -> Thing:
    charge = shapes.charge(
        state.new_id("ch"), now=state.now, intent=intent, method=method, receipt_url="", failure=failure
    )
    intent |= {
        "status": "requires_payment_method",
        "latest_charge": charge["id"],
        "payment_method": None,
        "last_payment_error": {**failure, "type": "card_error", "charge": charge["id"], "payment_method": method},
    }
    tell(state, "charge.failed", state.put(charge))
    tell(state, "payment_intent.payment_failed", state.put(intent))
    return charge


# --- Money that goes back --------------------------------------------------------------------------------------------


def refund(state: State, charge: Thing, *, amount: int | None, fields: Thing) -> Thing:
    """Give a payment back, or what is left of it. Raises Impossible if that is more than is left."""
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["status"] != "succeeded":
        raise Impossible(f"Charge {charge['id']} has not succeeded.", code="charge_not_refundable")
    if left == 0:
        raise Impossible(f"Charge {charge['id']} has already been refunded.", code="charge_already_refunded")
    if charge["disputed"] and not all(d["is_charge_refundable"] for d in state.list("dispute", charge=charge["id"])):
        raise Impossible(f"Charge {charge['id']} has been charged back; cannot issue a refund.", code="charge_disputed")
    amount = left if amount is None else amount
    if amount > left:
        raise Impossible(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount on charge (${left / 100:.2f})"
        )
    status = "pending" if state.knob("slow_refunds") else "succeeded"
    made = shapes.refund(state.new_id("re"), now=state.now, charge=charge, amount=amount, status=status, fields=fields)
    _set_refunded(state, charge, by=amount)
    tell(state, "refund.created", state.put(made))
    tell(state, "charge.refunded", charge)
    return made


def finish_refund(state: State, refund_id: str) -> Thing:
    """Let a pending refund arrive."""
    found = state.get(refund_id, kind="refund")
    if found["status"] != "pending":
        raise Impossible(f"This refund has {found['status']}.")
    found |= {"status": "succeeded", "pending_reason": None}
    tell(state, "refund.updated", state.put(found), previous={"status": "pending"})
    tell(state, "charge.refund.updated", found, previous={"status": "pending"})
    return found


def fail_refund(state: State, refund_id: str) -> Thing:
    """Let a refund come back from the bank, days later perhaps: the money is ours again."""
    found = state.get(refund_id, kind="refund")
    if found["status"] not in {"pending", "succeeded"}:
        raise Impossible(f"This refund has {found['status']}.")
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
        tell(state, kind, found, previous=previous)
    return found


def open_dispute(state: State, charge_id: str, *, amount: int | None = None, is_inquiry: bool = False) -> Thing:
    """Let the payer object at the bank; the money is withdrawn at once, unless it is only a question."""
    charge = state.get(charge_id, kind="charge")
    left = charge["amount_captured"] - charge["amount_refunded"]
    if charge["disputed"] or left <= 0:
        raise Impossible("There is nothing left of this payment to dispute, or it is disputed already.")
    made = shapes.dispute(
        state.new_id("du"),
        now=state.now,
        charge=charge,
        amount=min(amount or left, left),
        is_inquiry=is_inquiry,
        reason="general" if is_inquiry else "fraudulent",
    )
    charge["disputed"] = True
    state.put(charge)
    tell(state, "charge.dispute.created", state.put(made))
    if not is_inquiry:
        _move_dispute_money(state, made, amount=-made["amount"])
        tell(state, "charge.dispute.funds_withdrawn", made)
    return made


def close_dispute(state: State, dispute_id: str, *, is_won: bool) -> Thing:
    """Let the bank decide: won gives the money back to us."""
    found = state.get(dispute_id, kind="dispute")
    if found["status"] in {"won", "lost", "warning_closed"}:
        raise Impossible("This dispute is closed.")
    is_inquiry = found["status"].startswith("warning_")
    found["status"] = "warning_closed" if is_inquiry else "won" if is_won else "lost"
    if is_won and not is_inquiry:
        _move_dispute_money(state, found, amount=found["amount"])
        tell(state, "charge.dispute.funds_reinstated", found)
    tell(state, "charge.dispute.closed", state.put(found))
    return found


def _move_dispute_money(state: State, dispute: Thing, *, amount: int) -> None:
    category = "dispute" if amount < 0 else "dispute_reversal"
    moved = _move_money(state, dispute, amount=amount, kind="adjustment", category=category)
    dispute["balance_transactions"].append(moved)
    state.put(dispute)


def _move_money(state: State, source: Thing, *, amount: int, kind: str, category: str) -> Thing:
    moved = shapes.balance_transaction(
        state.new_id("txn"), now=state.now, amount=amount, source=source, kind=kind, category=category
    )
    return state.put(moved)


def _set_refunded(state: State, charge: Thing, *, by: int) -> None:
    charge["amount_refunded"] += by
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    state.put(charge)


# --- What others see -------------------------------------------------------------------------------------------------


def visible(thing: Any) -> Any:
    """Return the object without what Stripe would not show: our notes, and what is sent only when asked for."""
    if isinstance(thing, dict):
        hidden = HIDDEN.get(thing.get("object", ""), "")
        return {name: value for name, value in thing.items() if name != hidden and not name.startswith("_")}
    return thing


def page_url(name: str, thing_id: str) -> str:
    """Return the address of one of the sandbox's pages."""
    return settings.SITE_URL + reverse(f"sandbox:{name}", args=[thing_id])


def tell(state: State, kind: str, thing: Thing, *, previous: Thing | None = None) -> None:
    made = shapes.event(
        state.new_id("evt"),
        now=state.now,
        kind=kind,
        thing=visible(thing),
        version=settings.STRIPE_API_VERSION,
        previous=previous,
    )
    made["request"] = {"id": state.request_id, "idempotency_key": state.idempotency_key}
    webhook_sender.take(state, state.put(made))
