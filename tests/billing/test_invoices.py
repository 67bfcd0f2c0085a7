"""Invoices of automatic top-ups: one for each, paid with its charge, whatever fails on the way."""

from datetime import timedelta

import pytest
import stripe
import time_machine
from django.utils import timezone

from accounts.models import Organization, User
from billing import (
    automatic_topups,
    invoices,
    ledger,
    periodic,
    reconciliation,
    refunds,
    saved_cards,
    topups,
)
from billing.models.payments import AutomaticTopUp, Customer, SavedCard, TopUp, TopUpState, UnmatchedEvent
from tests.billing.conftest import NOW, money_of
from tests.billing.invoicing import Killed, failing_at, is_charged_once, is_settled, later, own_invoices
from tests.billing.paying import ADDRESSES
from tests.billing.stripe_objects import intent_of, make_topup, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

pytestmark = pytest.mark.usefixtures("frozen")

# create, add_lines, finalize, attach_payment.
CALLS = 4


# --- What is made ----------------------------------------------------------------------------------------------------


def test_automatic_topup_gets_a_paid_invoice(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    assert invoices.make_due() == 1
    is_settled(stripe_sandbox, paid)
    [invoice] = own_invoices(stripe_sandbox, paid)
    assert invoice["customer"] == Customer.objects.get().stripe_id
    assert invoices.make_due(now=later()) == 0


def test_clock_makes_invoices_apart_from_charges(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    periodic.invoice_automatic_topups()
    is_settled(stripe_sandbox, paid)
    assert {periodic.top_up_automatically, periodic.invoice_automatic_topups} <= {duty for _, duty in periodic.DUTIES}


def test_stripe_never_collects_it(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    asked = []

    def record(perform: Perform, request: Request) -> Response:
        asked.append((request.path.rpartition("/")[2], request.body))
        return perform()

    with intercepting(record):
        invoices.make_due()
    assert [name for name, _ in asked] == ["invoices", "add_lines", "finalize", "attach_payment"]
    for name, data in asked:
        assert ("auto_advance=False" in data or "auto_advance=false" in data) == (name in {"invoices", "finalize"})


def test_events_say_the_same_in_any_order(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    invoices.make_due()
    # One of them cancels the payment that Stripe creates with each invoice. It is no decline of a top-up.
    kinds = {kind for kind, _ in stripe_sandbox.deliver(times=2, order="shuffled", seed=1)}
    assert {"invoice.paid", "payment_intent.canceled"} <= kinds
    is_settled(stripe_sandbox, paid)
    topup_settings = AutomaticTopUp.objects.get()
    assert (topup_settings.is_on, topup_settings.declines_count) == (True, 0)
    assert not UnmatchedEvent.objects.exists()


def test_charge_that_a_webhook_told_of_gets_one_too(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    assert topup.invoice_due_at is None
    for _ in range(2):
        assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    topup.refresh_from_db()
    assert topup.invoice_due_at == topup.paid_at


def test_tax_number_of_an_earlier_checkout_is_on_it(
    stripe_sandbox: StripeSandbox, acme: Organization, owner: User
) -> None:
    from billing.sandbox import payment_actions

    checkout = topups.start_checkout(acme, amount_cents=500, person=owner, save_card=True, **ADDRESSES).topup
    with stripe_sandbox.state() as state:
        payment_actions.pay_session(
            state, checkout.checkout_session_id, outcome=payment_actions.Outcome.PAID, tax_id="DE123456789"
        )
    stripe_sandbox.deliver()
    ledger.settle(ledger.reserve(acme, amount_micros=5_000_000, reference="job:1"), actual_micros=5_000_000)
    automatic_topups.turn_on(acme, person=owner, threshold_cents=500, amount_cents=20_000, monthly_cap_cents=50_000)
    automatic_topups.run()
    invoices.make_due()
    [invoice] = own_invoices(stripe_sandbox, TopUp.objects.get(is_automatic=True))
    assert invoice["customer_tax_ids"] == [{"type": "eu_vat", "value": "DE123456789"}]


def test_no_invoice_for_what_was_not_paid(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    topups.end(topup, state=TopUpState.FAILED, failure=automatic_topups.DECLINED)
    assert invoices.make_due(now=later()) == 0


def test_checkout_gets_no_second_invoice(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> None:
    checkout = topups.start_checkout(acme, amount_cents=500, person=owner, save_card=False, **ADDRESSES).topup
    stripe_sandbox.pay(checkout.checkout_session_id)
    stripe_sandbox.deliver()
    assert invoices.make_due(now=later()) == 0
    assert len(stripe_sandbox.all("invoice")) == 1


def test_topup_from_before_there_were_invoices_gets_none(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    make_topup(acme, is_automatic=True, state=TopUpState.PAID, paid_at=NOW - timedelta(days=90))
    assert invoices.make_due(now=later()) == 0


# --- A dead Stripe, and dead processes -------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("forgets", [False, True], ids=["soon after", "when Stripe has forgotten the keys"])
@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_process_that_dies_at_any_call_is_followed_by_one_that_goes_on(
    stripe_sandbox: StripeSandbox,
    paid: TopUp,
    number: int,
    is_done: bool,
    forgets: bool,
) -> None:
    with failing_at(number, Killed(), is_done=is_done), pytest.raises(Killed):
        invoices.make_due()
    # The events up to then arrive, and ask nobody for money.
    stripe_sandbox.deliver(times=2)
    paid.refresh_from_db()
    assert bool(paid.invoice_url) == (number == CALLS and is_done)
    is_charged_once(stripe_sandbox, paid)
    if forgets:
        stripe_sandbox.forget_responses()
    # The claim of the dead process holds for a while.
    assert invoices.make_due(now=NOW + timedelta(minutes=1)) == 0
    assert invoices.make_due(now=later(100 if forgets else 1)) == 1
    is_settled(stripe_sandbox, paid)
    stripe_sandbox.deliver(times=2, order="reversed")
    is_settled(stripe_sandbox, paid)


@pytest.mark.long
@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done"])
@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_silence_at_any_call_delays_the_invoice_and_nothing_else(
    stripe_sandbox: StripeSandbox, paid: TopUp, number: int, is_done: bool
) -> None:
    silence = stripe.APIConnectionError("No answer.", should_retry=True)
    # The client repeats a failed call once.
    with failing_at(number, silence, is_done=is_done, times=2):
        assert invoices.make_due() == 1
    assert automatic_topups.run(now=later()) == 0
    is_charged_once(stripe_sandbox, paid)
    assert invoices.make_due(now=later()) == 1
    is_settled(stripe_sandbox, paid)


@pytest.mark.long
@pytest.mark.parametrize("how", ["refused", "error", "timeout", "response_lost"])
def test_stripe_that_is_down_for_a_week_delays_it_for_a_week(
    stripe_sandbox: StripeSandbox, paid: TopUp, how: str
) -> None:
    with stripe_sandbox.failing(how):
        for hours in range(0, 7 * 24, 42):
            assert invoices.make_due(now=NOW + timedelta(hours=hours)) == 1
    stripe_sandbox.forget_responses()
    assert invoices.make_due(now=NOW + timedelta(days=7)) == 1
    is_settled(stripe_sandbox, paid)


def test_silent_stripe_is_waited_for_once_in_a_round(
    stripe_sandbox: StripeSandbox, paid: TopUp, rival: Organization
) -> None:
    other = make_topup(rival, is_automatic=True, state=TopUpState.PAID, paid_at=NOW, invoice_due_at=NOW)
    with stripe_sandbox.failing("timeout"):
        assert invoices.make_due() == 1
    waiting = {paid.pk, other.pk} - set(TopUp.objects.filter(invoice_due_at__gt=NOW).values_list("pk", flat=True))
    assert len(waiting) == 1


@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_two_clocks_make_one_invoice(stripe_sandbox: StripeSandbox, paid: TopUp, number: int) -> None:
    """The claim of a slow process expires while Stripe answers one of its calls, and another process takes over."""
    asked: list[str] = []
    counts: list[int] = []

    def take_over(perform: Perform, request: Request) -> Response:
        asked.append(request.path)
        if len(asked) == number:
            counts.append(invoices.make_due(now=later()))
        return perform()

    with intercepting(take_over):
        assert invoices.make_due() == 1
    assert counts == [1]
    is_settled(stripe_sandbox, paid)


def test_round_takes_only_what_no_other_took(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    counts = []

    def make_due_meanwhile(perform: Perform, _: Request) -> Response:
        counts.append(invoices.make_due())
        return perform()

    with intercepting(make_due_meanwhile):
        assert invoices.make_due() == 1
    assert counts == [0] * CALLS
    is_settled(stripe_sandbox, paid)


def test_claim_counts_from_when_it_is_made(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    """With a slow Stripe, the last invoice of a round is claimed long after the round began."""
    with (
        time_machine.travel(NOW + timedelta(hours=1), tick=False),
        failing_at(1, Killed(), is_done=True),
        pytest.raises(Killed),
    ):
        invoices.make_due(now=NOW)
    paid.refresh_from_db()
    assert paid.invoice_due_at == NOW + timedelta(hours=1) + invoices.NEXT_TRY_AFTER


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_stripe_is_asked(
    stripe_sandbox: StripeSandbox, paid: TopUp, asked_in_transaction: list[bool]
) -> None:
    invoices.make_due()
    assert asked_in_transaction == [False] * CALLS


# --- Refunds ---------------------------------------------------------------------------------------------------------


def test_refund_before_the_invoice_changes_neither(stripe_sandbox: StripeSandbox, paid: TopUp, owner: User) -> None:
    refunds.request(paid, person=owner)
    stripe_sandbox.deliver(times=2)
    invoices.make_due()
    paid.refresh_from_db()
    assert paid.invoice_url
    assert own_invoices(stripe_sandbox, paid)[0]["status"] == "paid"
    assert money_of(paid.organization) == (0, 0)


def test_refund_after_the_invoice_is_made_as_ever(stripe_sandbox: StripeSandbox, paid: TopUp, owner: User) -> None:
    invoices.make_due()
    refund = refunds.request(paid, person=owner)
    stripe_sandbox.deliver(times=2, order="shuffled", seed=3)
    refund.refresh_from_db()
    assert refund.state == "succeeded"
    assert money_of(paid.organization) == (0, 0)
    assert invoices.make_due(now=later()) == 0
    assert list(reconciliation.faults()) == []


def test_card_that_is_removed_meanwhile_changes_nothing(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    saved_cards.remove(paid.organization)
    assert not SavedCard.objects.exists()
    invoices.make_due(now=timezone.now())
    is_settled(stripe_sandbox, paid)
