"""What happens to payments that were paid: refunded, disputed. Every change emits events."""

from billing.sandbox import payment_shapes
from billing.sandbox.events import emit
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import ActionRefused, State


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
