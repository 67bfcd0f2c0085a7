"""Invoices without a Checkout: a draft, its lines, finalized, then paid with a payment that was made before.

Source: docs.stripe.com/api/invoices (create, add_lines, finalize, attach_payment, void) and
docs.stripe.com/invoicing/partial-payments, read 2026-11-20. The sandbox never collects an invoice, and refuses the
parameters that would make Stripe do it (`auto_advance`).
"""

from billing.sandbox import invoice_shapes, payment_actions, payment_shapes
from billing.sandbox.events import emit
from billing.sandbox.parameters import ApiError, Parameters, metadata_of, payable
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import ActionRefused, State


def create(state: State, params: Parameters) -> StripeObject:
    """Create a draft without lines."""
    if not params.get("customer"):
        raise ApiError("You must pass `customer`.", code="parameter_missing", param="customer")
    if params.get("collection_method", "charge_automatically") != "charge_automatically":
        raise ApiError("The payment sandbox sends no invoices.", param="collection_method")
    if params.get("pending_invoice_items_behavior", "exclude") != "exclude":
        raise ApiError("The payment sandbox has no pending invoice items.", param="pending_invoice_items_behavior")
    _refuse_collection(params)
    if params.get("discounts"):
        raise ApiError("The payment sandbox has no discounts.", param="discounts")
    customer = state.get(params["customer"], kind="customer")
    fields = {"metadata": metadata_of(params), "starting_balance": customer["balance"]}
    currency = params.get("currency", "usd")
    invoice = invoice_shapes.invoice(
        state.new_id("in"), now=state.now, currency=currency, customer=customer, fields=fields
    )
    emit(state, "invoice.created", state.put(invoice))
    return invoice


def add_lines(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    """Add lines to a draft."""
    invoice = _in_status(state, object_id, "draft", "This invoice is no longer editable")
    for number, line in enumerate(params["lines"]):
        if "amount" not in line:
            path = f"lines[{number}][amount]"
            raise ApiError(f"Missing required param: {path}.", code="parameter_missing", param=path)
        invoice["lines"]["data"].append(
            invoice_shapes.invoice_line(
                state.new_id("il"),
                now=state.now,
                invoice=invoice,
                amount=payable(line["amount"], invoice["currency"]),
                description=line.get("description", ""),
            )
        )
    total = sum(line["amount"] for line in invoice["lines"]["data"])
    invoice |= dict.fromkeys(("amount_due", "amount_remaining", "subtotal", "total"), total)
    emit(state, "invoice.updated", state.put(invoice))
    return invoice


def finalize(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    """Open a draft: it gets a number and a page, and can no longer be edited."""
    _refuse_collection(params)
    invoice = _in_status(state, object_id, "draft", "This invoice is already finalized")
    customer = state.get(invoice["customer"])
    # Stripe applies the customer's balance first. A negative one is a credit.
    balance = customer["balance"]
    invoice["amount_due"] = invoice["amount_remaining"] = max(0, invoice["total"] + balance)
    invoice["starting_balance"] = balance
    invoice["ending_balance"] = customer["balance"] = min(0, invoice["total"] + balance)
    state.put(customer)
    invoice["customer_tax_ids"] = customer.get("_tax_ids", [])
    invoice |= {"status": "open", **payment_actions.invoice_links(object_id)}
    invoice["status_transitions"]["finalized_at"] = state.now
    emit(state, "invoice.finalized", state.put(invoice))
    if invoice["amount_due"] == 0:
        return _paid(state, invoice)
    _add_payment(state, invoice, _default_intent(state, invoice), amount=invoice["amount_due"], is_default=True)
    return invoice


def attach_payment(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    """Pay an open invoice with a PaymentIntent that has succeeded."""
    invoice = _in_status(state, object_id, "open", "Payments can only be attached to an open invoice")
    if not params.get("payment_intent"):
        raise ApiError("You must pass `payment_intent`.", code="parameter_missing", param="payment_intent")
    intent = state.get(params["payment_intent"], kind="payment_intent")
    for name in ("customer", "currency"):
        if intent[name] != invoice[name]:
            raise ApiError(f"The PaymentIntent must have the same {name} as the invoice.", param="payment_intent")
    if intent["status"] != "succeeded":
        raise ApiError("The payment sandbox attaches only payments that have succeeded.", param="payment_intent")
    if any(_pays(other, intent) for other in state.list("invoice")):
        raise ApiError("The PaymentIntent is already attached to an invoice.", param="payment_intent")
    if intent["amount_received"] > invoice["amount_remaining"]:
        raise ApiError("The PaymentIntent's amount is greater than what remains.", param="payment_intent")
    _add_payment(state, invoice, intent, amount=intent["amount_received"], is_default=False)
    return _credit(state, invoice, amount=intent["amount_received"])


def void(state: State, params: Parameters, *, object_id: str) -> StripeObject:
    """Void an open invoice, so that it can no longer be paid."""
    invoice = _in_status(state, object_id, "open", "Only an open invoice can be voided")
    if any(payment["status"] == "paid" for payment in invoice["payments"]["data"]):
        raise ActionRefused("You can't void an invoice that has paid payments.")
    customer = state.get(invoice["customer"])
    customer["balance"] = invoice["starting_balance"]
    state.put(customer)
    _cancel_default(state, invoice)
    invoice |= {"status": "void", "amount_remaining": 0}
    invoice["status_transitions"]["voided_at"] = state.now
    emit(state, "invoice.voided", state.put(invoice))
    return invoice


# --- Helpers ---------------------------------------------------------------------------------------------------------


def _in_status(state: State, invoice_id: str, status: str, message: str) -> StripeObject:
    invoice = state.get(invoice_id, kind="invoice")
    if invoice["status"] != status:
        raise ActionRefused(f"{message} (it is {invoice['status']}).")
    return invoice


def _refuse_collection(params: Parameters) -> None:
    # Stripe would charge the customer's card, and try again after each decline.
    if params.get("auto_advance"):
        raise ApiError("The payment sandbox does not collect invoices.", param="auto_advance")


def _default_intent(state: State, invoice: StripeObject) -> StripeObject:
    """Create the PaymentIntent that belongs to every open invoice. It has none of the invoice's metadata."""
    fields = {"customer": invoice["customer"], "description": "Payment for Invoice"}
    intent = payment_shapes.payment_intent(
        state.new_id("pi"), now=state.now, amount=invoice["amount_due"], currency=invoice["currency"], fields=fields
    )
    emit(state, "payment_intent.created", state.put(intent))
    return intent


def _add_payment(state: State, invoice: StripeObject, intent: StripeObject, *, amount: int, is_default: bool) -> None:
    made = invoice_shapes.invoice_payment(
        state.new_id("inpay"), now=state.now, invoice=invoice, intent=intent, amount=amount, is_default=is_default
    )
    invoice["payments"]["data"].append(made)
    state.put(invoice)
    if made["status"] == "paid":
        emit(state, "invoice_payment.paid", made)


def _pays(invoice: StripeObject, intent: StripeObject) -> bool:
    return any(payment["payment"]["payment_intent"] == intent["id"] for payment in invoice["payments"]["data"])


def _credit(state: State, invoice: StripeObject, *, amount: int) -> StripeObject:
    invoice["amount_paid"] += amount
    invoice["amount_remaining"] -= amount
    if invoice["amount_remaining"] == 0:
        _cancel_default(state, invoice)
        return _paid(state, invoice)
    return state.put(invoice)


def _paid(state: State, invoice: StripeObject) -> StripeObject:
    invoice |= {"status": "paid", "attempted": True}
    invoice["status_transitions"]["paid_at"] = state.now
    emit(state, "invoice.paid", state.put(invoice))
    return invoice


def _cancel_default(state: State, invoice: StripeObject) -> None:
    for payment in invoice["payments"]["data"]:
        if payment["status"] == "open":
            payment["status"] = "canceled"
            payment["status_transitions"]["canceled_at"] = state.now
            intent = state.get(payment["payment"]["payment_intent"])
            intent |= {"status": "canceled", "canceled_at": state.now, "cancellation_reason": "automatic"}
            emit(state, "payment_intent.canceled", state.put(intent))
