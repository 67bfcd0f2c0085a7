"""The page where one "pays", receipts, and the desk from which a developer plays bank. Development only."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.decorators import open_page
from billing.sandbox import background_thread, payment_actions, transport, webhook_sender
from billing.sandbox.payment_actions import Impossible, Outcome
from billing.sandbox.store import Missing, State, Store, Thing

SHOWN = 20
PAY_OUTCOMES = (Outcome.PAID, Outcome.DECLINED, Outcome.LATER_PAID, Outcome.LATER_FAILED)
DECLINED_NOTE = "The card was declined. Nothing was charged; try again or go back."
SWITCHES = ("duplicate", "slow_refunds")


def sandbox_page(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """A page of the sandbox: there is none unless the site runs on it, however the address came to be routed."""

    @open_page
    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (settings.DEVELOPMENT and settings.STRIPE_SANDBOX):
            raise Http404
        background_thread.wake()
        try:
            return view(request, *args, **kwargs)
        except Missing as error:
            raise Http404 from error

    return answer


# --- The payer -------------------------------------------------------------------------------------------------------


@sandbox_page
@require_http_methods(["GET", "HEAD", "POST"])
def pay(request: HttpRequest, session_id: str) -> HttpResponse:
    """Show the amount and the buttons; afterwards send the payer to where the product wants them."""
    note = ""
    with _store().change() as state:
        session = payment_actions.expire_if_late(state, state.get(session_id, kind="checkout.session"))
        if request.method == "POST" and session["status"] == "open":
            outcome = _choice(request.POST.get("outcome", ""), PAY_OUTCOMES)
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
        "saves_always": bool(session["_wishes"]["setup_future_usage"]),
        "may_save": payment_actions.offers_to_save(session),
        "asks_tax_id": (session["tax_id_collection"] or {}).get("enabled", False),
    }
    return render(request, "sandbox/pay.html", context)


@sandbox_page
@require_safe
def paper(request: HttpRequest, thing_id: str) -> HttpResponse:
    """Show a receipt (of a charge) or an invoice."""
    with _store().change() as state:
        thing = state.get(thing_id)
    if thing["object"] not in {"charge", "invoice"}:
        raise Http404
    return render(request, "sandbox/paper.html", {"paper": thing, "is_invoice": thing["object"] == "invoice"})


# --- The bank --------------------------------------------------------------------------------------------------------


@sandbox_page
@require_safe
def control(request: HttpRequest) -> HttpResponse:
    """List what was paid, with everything that may happen to it."""
    with _store().change() as state:
        context = {
            "rows": [_row(state, charge) for charge in state.list("charge")[:SHOWN]],
            "slow": [s for s in state.list("checkout.session") if _is_slow(state, s)][:SHOWN],
            "cards": [
                {**method, "will": state.knob(f"card:{method['id']}") or Outcome.PAID}
                for method in state.list("payment_method")[:SHOWN]
                if method["customer"]
            ],
            "deliveries": _deliveries(state),
            "knobs": {name: state.knob(name) for name in (*SWITCHES, "late", "order", "failure")},
            "orders": webhook_sender.ORDERS,
            "failures": ("", *transport.FAILURES),
            "card_outcomes": (Outcome.PAID, Outcome.DECLINED, Outcome.ASKS_OWNER),
        }
    return render(request, "sandbox/control.html", context)


@sandbox_page
@require_POST
def turn_knobs(request: HttpRequest) -> HttpResponse:
    late = request.POST.get("late", "")
    with _store().change() as state:
        for name in SWITCHES:
            state.turn(name, "on" if name in request.POST else "")
        state.turn("late", late if late.isdecimal() else "")
        state.turn("order", _choice(request.POST.get("order", ""), webhook_sender.ORDERS))
        state.turn("failure", _choice(request.POST.get("failure", ""), ("", *transport.FAILURES)))
    return redirect("sandbox:control")


ACTS: dict[str, Callable[[State, str], Any]] = {
    "refund": lambda state, charge_id: payment_actions.refund(
        state, state.get(charge_id, kind="charge"), amount=None, fields={}
    ),
    "finish-refund": payment_actions.finish_refund,
    "fail-refund": payment_actions.fail_refund,
    "dispute": payment_actions.open_dispute,
    "inquire": lambda state, charge_id: payment_actions.open_dispute(state, charge_id, is_inquiry=True),
    "win": lambda state, dispute_id: payment_actions.close_dispute(state, dispute_id, is_won=True),
    "lose": lambda state, dispute_id: payment_actions.close_dispute(state, dispute_id, is_won=False),
    "bank-pays": lambda state, session_id: payment_actions.settle_session(state, session_id, is_paid=True),
    "bank-refuses": lambda state, session_id: payment_actions.settle_session(state, session_id, is_paid=False),
    **{
        f"card-{outcome}": (
            lambda state, method_id, outcome=outcome: payment_actions.card_will(state, method_id, outcome=outcome)
        )
        for outcome in (Outcome.PAID, Outcome.DECLINED, Outcome.ASKS_OWNER)
    },
}


@sandbox_page
@require_POST
def do(request: HttpRequest, thing_id: str, act: str) -> HttpResponse:
    """Let something happen to a payment, a refund, a dispute or a card."""
    if act not in ACTS:
        raise Http404
    try:
        with _store().change() as state:
            ACTS[act](state, thing_id)
    except Impossible as error:
        messages.error(request, str(error))
    background_thread.wake()
    return redirect("sandbox:control")


def _store() -> Store:
    return Store(settings.STRIPE_SANDBOX_FILE)


def _row(state: State, charge: Thing) -> Thing:
    return {
        **charge,
        "left": charge["amount_captured"] - charge["amount_refunded"],
        "refunds": state.list("refund", charge=charge["id"]),
        "disputes": state.list("dispute", charge=charge["id"]),
    }


def _is_slow(state: State, session: Thing) -> bool:
    intent = state.find(session["payment_intent"] or "")
    return intent is not None and intent["status"] == "processing"


def _deliveries(state: State) -> list[Thing]:
    rows = state.database.execute(
        "SELECT event_id, attempts, answered, is_done FROM deliveries ORDER BY number DESC LIMIT ?", (SHOWN,)
    ).fetchall()
    return [
        {"type": state.get(event_id)["type"], "attempts": attempts, "answered": answered, "is_done": is_done}
        for event_id, attempts, answered, is_done in rows
    ]


def _choice(given: str, options: tuple[Any, ...]) -> Any:
    """Return the option of this name. Buttons and lists send nothing else."""
    for option in options:
        if option == given:
            return option
    raise Http404
