"""Events: each type reaches its verb, and a failure leaves nothing behind."""

import ast
import inspect
from typing import Any

import pytest
from djstripe.models import Event
from djstripe.signals import WEBHOOK_SIGNALS

from accounts.models import Organization
from billing import ledger, stripe_events
from billing.models import Entry, EntryKind
from billing.models.payments import TopUp, TopUpState, UnmatchedEvent
from billing.models.reversals import Dispute, Refund, RefundState
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import (
    charge_of,
    deliver,
    dispute_of,
    event_of,
    intent_of,
    make_topup,
    refund_of,
    session_of,
    tell,
)
from tests.stripe import StripeSandbox

# docs/operations.md, where an operator sets up the endpoint at Stripe.
ENABLED = ("checkout.session.", "payment_intent.", "charge.", "refund.", "invoice.")


def state_of(topup: TopUp) -> str:
    return TopUp.objects.get(pk=topup.pk).state


# --- Hostile ---------------------------------------------------------------------------------------------------------


def test_failure_answers_500_and_leaves_nothing_behind(acme: Organization, rival: Organization) -> None:
    """The ledger refuses an entry that another wallet has. Stripe sends the event again, and then it is credited."""
    topup = make_topup(acme)
    ledger.credit(rival, amount_micros=1, kind=EntryKind.BONUS, reference=topup.reference)
    event = event_of("checkout.session.completed", session_of(topup))
    assert deliver(event) == 500
    assert state_of(topup) == TopUpState.PENDING
    assert not Entry.objects.of(acme).exists()
    assert not Event.objects.exists()
    TopUp.objects.filter(pk=topup.pk).update(bonus_cents=0)
    assert deliver(event) == 200
    assert money_of(acme) == (200_000_000, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("checkout.session.completed", lambda topup: session_of(topup)),
        ("checkout.session.async_payment_succeeded", lambda topup: session_of(topup)),
        ("payment_intent.succeeded", lambda topup: intent_of(topup)),
    ],
)
def test_event_that_reports_a_payment_credits_it_once(acme: Organization, kind: str, make: Any) -> None:
    topup = make_topup(acme)
    event = event_of(kind, make(topup))
    assert [deliver(event), deliver(event), tell(kind, make(topup))] == [200, 200, 200]
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("checkout.session.completed", lambda topup: session_of(topup, payment_status="unpaid")),
        ("payment_intent.processing", lambda topup: intent_of(topup, status="processing")),
        ("payment_intent.created", lambda topup: intent_of(topup)),
        ("payment_intent.payment_failed", lambda topup: intent_of(topup, status="requires_payment_method")),
        ("charge.succeeded", lambda topup: charge_of(topup)),
        ("invoice.paid", lambda topup: {"id": "in_1", "status": "paid", "metadata": {"topup_id": str(topup.pk)}}),
        ("charge.refunded", lambda topup: charge_of(topup, amount_refunded=20_000)),
    ],
)
def test_event_that_reports_no_payment_moves_no_money(acme: Organization, kind: str, make: Any) -> None:
    assert tell(kind, make(make_topup(acme))) == 200
    assert not Entry.objects.exists()


@pytest.mark.long
def test_events_are_handled_while_stripe_is_down(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    topup = make_topup(acme)
    with stripe_sandbox.failing("refused"):
        assert tell("checkout.session.completed", session_of(topup)) == 200
        assert tell("charge.succeeded", charge_of(topup)) == 200
        assert tell("refund.created", refund_of(topup, 5_000)) == 200
        assert tell("charge.dispute.funds_withdrawn", dispute_of(topup, 15_000)) == 200
    assert not UnmatchedEvent.objects.exists()


# --- Each receiver ---------------------------------------------------------------------------------------------------


def receivers() -> dict[str, str]:
    """Return type of event → name of the receiver, as the decorators say."""
    found = {}
    for function in ast.parse(inspect.getsource(stripe_events)).body:
        if isinstance(function, ast.FunctionDef):
            (decorator,) = function.decorator_list
            assert isinstance(decorator, ast.Call)
            kinds = ast.literal_eval(decorator.args[0])
            found |= dict.fromkeys([kinds] if isinstance(kinds, str) else kinds, function.name)
    return found


def test_every_receiver_is_connected_and_to_an_event_that_operators_enable() -> None:
    for kind, name in receivers().items():
        live = WEBHOOK_SIGNALS[kind]._live_receivers(Event)[0]
        assert getattr(stripe_events, name) in live, kind
        assert kind.startswith(ENABLED), kind


def test_no_other_event_has_a_receiver() -> None:
    connected = {kind for kind, signal in WEBHOOK_SIGNALS.items() if signal.has_listeners(Event)}
    assert connected == set(receivers())


@pytest.mark.parametrize("kind", ["checkout.session.async_payment_failed", "checkout.session.expired"])
def test_checkout_that_failed_or_expired_ends(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    assert tell(kind, session_of(topup, payment_status="unpaid")) == 200
    assert state_of(topup) == (TopUpState.FAILED if kind.endswith("failed") else TopUpState.EXPIRED)


@pytest.mark.parametrize("kind", ["payment_intent.payment_failed", "payment_intent.canceled"])
def test_failed_charge_ends_an_automatic_topup_and_no_checkout(
    acme: Organization, rival: Organization, kind: str
) -> None:
    automatic = make_topup(acme, is_automatic=True, state=TopUpState.STARTING, checkout_session_id="")
    checkout = make_topup(rival)
    for topup in (automatic, checkout):
        assert tell(kind, intent_of(topup, status="requires_payment_method")) == 200
    assert (state_of(automatic), state_of(checkout)) == (TopUpState.FAILED, TopUpState.PENDING)


@pytest.mark.parametrize("kind", ["charge.succeeded", "charge.updated"])
def test_receipt_is_stored(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    assert tell(kind, charge_of(topup)) == 200
    assert TopUp.objects.get().receipt_url == "https://pay.stripe.com/receipts/1"


@pytest.mark.parametrize("kind", ["invoice.finalized", "invoice.paid"])
def test_links_of_a_paid_invoice_are_stored(acme: Organization, kind: str) -> None:
    metadata = {"topup_id": str(make_topup(acme).pk)}
    invoice = {"id": "in_1", "metadata": metadata, "status": "paid", "hosted_invoice_url": "https://invoice/1"}
    assert tell(kind, invoice) == 200
    assert TopUp.objects.get().invoice_url == "https://invoice/1"


@pytest.mark.long
@pytest.mark.parametrize("kind", ["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def test_refund_is_recorded_whichever_event_reports_it(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    tell("checkout.session.completed", session_of(topup))
    has_failed = kind == "refund.failed"
    assert tell(kind, refund_of(topup, 20_000, status="failed" if has_failed else "succeeded")) == 200
    assert Refund.objects.get().state == (RefundState.FAILED if has_failed else RefundState.SUCCEEDED)
    assert money_of(acme)[0] == (210_000_000 if has_failed else 0)


@pytest.mark.long
def test_dispute_moves_money_only_when_stripe_moves_it(acme: Organization) -> None:
    topup = make_topup(acme)
    tell("checkout.session.completed", session_of(topup))
    balances = []
    for kind, status in (
        ("charge.dispute.created", "needs_response"),
        ("charge.dispute.funds_withdrawn", "needs_response"),
        ("charge.dispute.updated", "under_review"),
        ("charge.dispute.funds_reinstated", "won"),
        ("charge.dispute.closed", "won"),
    ):
        assert tell(kind, dispute_of(topup, 20_000, status=status)) == 200
        balances.append(money_of(acme)[0])
    assert balances == [210_000_000, 0, 0, 210_000_000, 210_000_000]
    assert Dispute.objects.get().status == "won"
