"""The pay page, receipts and invoices, and the control page where a developer acts as Stripe and the payer's bank.

Development only.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.decorators import open_page
from billing.sandbox import background_thread, payment_actions, refund_actions, transport, webhook_sender
from billing.sandbox.payment_actions import Outcome
from billing.sandbox.shapes import StripeObject
from billing.sandbox.store import ActionRefused, NoSuchObject, State, Store

MAX_ROWS = 20
PAY_PAGE_OUTCOMES = (Outcome.PAID, Outcome.DECLINED, Outcome.TRANSFER_PAID, Outcome.TRANSFER_FAILED)
SAVED_CARD_OUTCOMES = (Outcome.PAID, Outcome.DECLINED, Outcome.AUTHENTICATION_REQUIRED)
DECLINED_NOTE = "The card was declined. Nothing was charged; try again or go back."
CHECKBOXES = ("duplicate", "slow_refunds")


def sandbox_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Make a view a page of the sandbox: 404 unless the site uses the sandbox, even if the address is routed."""

    @open_page
    @wraps(view)
    def wrapper(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (settings.DEVELOPMENT and settings.STRIPE_SANDBOX):
            raise Http404
        background_thread.wake()
        try:
            return view(request, *args, **kwargs)
        except NoSuchObject as error:
            raise Http404 from error

    return wrapper


# --- For the payer ---------------------------------------------------------------------------------------------------


@sandbox_page
@require_http_methods(["GET", "HEAD", "POST"])
def pay(request: HttpRequest, session_id: str) -> HttpResponse:
    """Show the amount and the outcomes to choose from. After payment, redirect to the session's success_url."""
    note = ""
    with _store().transaction() as state:
        session = payment_actions.expire_if_due(state, state.get(session_id, kind="checkout.session"))
        if request.method == "POST" and session["status"] == "open":
            outcome = _choice(request.POST.get("outcome", ""), PAY_PAGE_OUTCOMES)
            is_saved = "save_card" in request.POST
            tax_id = request.POST.get("tax_id", "")[:40]
            session = payment_actions.pay_session(state, session_id, outcome=outcome, save_card=is_saved, tax_id=tax_id)
            note = DECLINED_NOTE if outcome == Outcome.DECLINED else ""
    if request.method == "POST" and session["status"] == "complete":
        background_thread.wake()
        return redirect(session["success_url"].replace("{CHECKOUT_SESSION_ID}", session_id))
    context = {
        "session": session,
        "lines": session["line_items"]["data"],
        "note": note,
        "saves_card": bool(session["_payment_intent_data"]["setup_future_usage"]),
        "offers_to_save_card": payment_actions.offers_to_save_card(session),
        "asks_for_tax_id": (session["tax_id_collection"] or {}).get("enabled", False),
    }
    return render(request, "sandbox/pay.html", context)


@sandbox_page
@require_safe
def receipt(request: HttpRequest, charge_id: str) -> HttpResponse:
    with _store().transaction() as state:
        charge = state.get(charge_id, kind="charge")
    return render(request, "sandbox/receipt.html", {"charge": charge})


@sandbox_page
@require_safe
def invoice(request: HttpRequest, invoice_id: str) -> HttpResponse:
    with _store().transaction() as state:
        found = state.get(invoice_id, kind="invoice")
    return render(request, "sandbox/invoice.html", {"invoice": found})


# --- For the developer -----------------------------------------------------------------------------------------------


@sandbox_page
@require_safe
def control(request: HttpRequest) -> HttpResponse:
    """List payments, saved cards and webhooks, with the actions that each allows."""
    with _store().transaction() as state:
        context = {
            "charges": [_with_returns(state, charge) for charge in state.list("charge")[:MAX_ROWS]],
            "pending_sessions": [s for s in state.list("checkout.session") if _is_processing(state, s)][:MAX_ROWS],
            "cards": [
                {**method, "outcome": state.get_setting(f"card:{method['id']}") or Outcome.PAID}
                for method in state.list("payment_method")[:MAX_ROWS]
                if method["customer"]
            ],
            "webhooks": _webhooks(state),
            "values": {name: state.get_setting(name) for name in (*CHECKBOXES, "delay_seconds", "order", "failure")},
            "orders": webhook_sender.ORDERS,
            "failures": ("", *transport.FAILURES),
        }
    return render(request, "sandbox/control.html", context)


@sandbox_page
@require_POST
def save_settings(request: HttpRequest) -> HttpResponse:
    delay = request.POST.get("delay_seconds", "")
    with _store().transaction() as state:
        for name in CHECKBOXES:
            state.set_setting(name, "on" if name in request.POST else "")
        state.set_setting("delay_seconds", delay if delay.isdecimal() else "")
        state.set_setting("order", _choice(request.POST.get("order", ""), webhook_sender.ORDERS))
        state.set_setting("failure", _choice(request.POST.get("failure", ""), ("", *transport.FAILURES)))
    return redirect("sandbox:control")


ACTIONS: dict[str, Callable[[State, str], Any]] = {
    "refund": lambda state, charge_id: refund_actions.refund(
        state, state.get(charge_id, kind="charge"), amount=None, fields={}
    ),
    "finish-refund": refund_actions.finish_refund,
    "fail-refund": refund_actions.fail_refund,
    "dispute": refund_actions.open_dispute,
    "inquire": lambda state, charge_id: refund_actions.open_dispute(state, charge_id, is_inquiry=True),
    "win": lambda state, dispute_id: refund_actions.close_dispute(state, dispute_id, is_won=True),
    "lose": lambda state, dispute_id: refund_actions.close_dispute(state, dispute_id, is_won=False),
    "complete-transfer": lambda state, session_id: payment_actions.settle_session(state, session_id, is_paid=True),
    "fail-transfer": lambda state, session_id: payment_actions.settle_session(state, session_id, is_paid=False),
    **{
        f"card-{outcome}": (
            lambda state, method_id, outcome=outcome: payment_actions.set_card_outcome(
                state, method_id, outcome=outcome
            )
        )
        for outcome in SAVED_CARD_OUTCOMES
    },
}


@sandbox_page
@require_POST
def run_action(request: HttpRequest, object_id: str, action: str) -> HttpResponse:
    """Run an action on a payment, a refund, a dispute or a card."""
    if action not in ACTIONS:
        raise Http404
    try:
        with _store().transaction() as state:
            ACTIONS[action](state, object_id)
    except ActionRefused as error:
        messages.error(request, str(error))
    background_thread.wake()
    return redirect("sandbox:control")


def _store() -> Store:
    return Store(settings.STRIPE_SANDBOX_FILE)


def _with_returns(state: State, charge: StripeObject) -> StripeObject:
    return {
        **charge,
        "refundable": charge["amount_captured"] - charge["amount_refunded"],
        "refunds": state.list("refund", charge=charge["id"]),
        "disputes": state.list("dispute", charge=charge["id"]),
    }


def _is_processing(state: State, session: StripeObject) -> bool:
    intent = state.find(session["payment_intent"] or "")
    return intent is not None and intent["status"] == "processing"


def _webhooks(state: State) -> list[StripeObject]:
    rows = state.database.execute(
        "SELECT event_id, attempts, status FROM webhooks ORDER BY number DESC LIMIT ?", (MAX_ROWS,)
    ).fetchall()
    return [
        {"type": state.get(event_id)["type"], "attempts": attempts, "status": status}
        for event_id, attempts, status in rows
    ]


def _choice(value: str, options: tuple[Any, ...]) -> Any:
    """Return the option with this value. Raises Http404: the page's buttons and lists send no other value."""
    for option in options:
        if option == value:
            return option
    raise Http404
