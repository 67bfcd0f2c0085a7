"""Invoices of automatic top-ups: one for each, paid with its charge, whatever fails on the way."""

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

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
    stripe_calls,
    stripe_mapping,
    topups,
)
from billing.models.payments import AutomaticTopUp, Customer, SavedCard, TopUp, TopUpState, UnmatchedEvent
from tests.billing.conftest import money_of
from tests.billing.paying import ADDRESSES, pay
from tests.billing.stripe_objects import intent_of, make_topup, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)
# create, add_lines, finalize, attach_payment.
CALLS = 4


@pytest.fixture(autouse=True)
def frozen() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def paid(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> TopUp:
    """An automatic top-up of $200 that was just charged and credited, after a checkout of $5 that saved the card."""
    pay(stripe_sandbox, acme, owner, 500, save_card=True)
    ledger.settle(ledger.reserve(acme, amount_micros=5_000_000, reference="job:1"), actual_micros=5_000_000)
    automatic_topups.turn_on(acme, person=owner, threshold_cents=500, amount_cents=20_000, monthly_cap_cents=50_000)
    assert automatic_topups.run() == 1
    return TopUp.objects.get(is_automatic=True)


def later(times: int = 1) -> datetime:
    return NOW + times * invoices.NEXT_TRY_AFTER


def own_invoices(sandbox: StripeSandbox, topup: TopUp) -> list[dict[str, Any]]:
    return [each for each in sandbox.all("invoice") if each["metadata"] == {"topup_id": str(topup.pk)}]


def is_settled(sandbox: StripeSandbox, topup: TopUp) -> None:
    """Check that one invoice exists, is paid with the top-up's one charge and linked, and that no money moved."""
    topup.refresh_from_db()
    [invoice] = own_invoices(sandbox, topup)
    assert (invoice["status"], invoice["total"], invoice["amount_paid"], invoice["amount_remaining"]) == (
        "paid",
        20_000,
        20_000,
        0,
    )
    paid_with = [each["payment"] for each in invoice["payments"]["data"] if each["status"] == "paid"]
    assert paid_with == [{"payment_intent": topup.payment_intent_id, "type": "payment_intent"}]
    assert [(line["amount"], line["description"]) for line in invoice["lines"]["data"]] == [(20_000, "Voxsite credit")]
    assert (topup.invoice_id, topup.invoice_due_at) == (invoice["id"], None)
    assert (topup.invoice_url, topup.invoice_pdf_url) == (invoice["hosted_invoice_url"], invoice["invoice_pdf"])
    assert topup.invoice_url
    is_charged_once(sandbox, topup)


def is_charged_once(sandbox: StripeSandbox, topup: TopUp) -> None:
    assert sum(charge["status"] == "succeeded" for charge in sandbox.all("charge")) == 2
    assert money_of(topup.organization) == (210_000_000, 0)
    assert list(reconciliation.faults()) == []


def is_given_up(sandbox: StripeSandbox, topup: TopUp, reason: str) -> None:
    """Check that one unmatched event was recorded, the payer lost nothing, and nobody is asked for money."""
    for _ in range(2):
        invoices.make_due(now=later(2))
    topup.refresh_from_db()
    assert topup.invoice_due_at is None
    event = UnmatchedEvent.objects.get()
    assert (event.subject, event.reason, event.topup) == ("invoice", "no_invoice", topup)
    assert reason in event.explanation
    assert not [each for each in sandbox.all("invoice") if each["status"] == "open"]
    assert money_of(topup.organization) == (210_000_000, 0)


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


class Killed(BaseException):
    """The process dies."""


def failing_at(number: int, error: BaseException, *, is_done: bool, times: int = 1) -> AbstractContextManager[None]:
    """Raise an error at the request with this number, before or after Stripe has performed it."""
    count = 0

    def fail(perform: Perform, _: Request) -> Response:
        nonlocal count
        count += 1
        if not number <= count < number + times:
            return perform()
        if is_done:
            perform()
        raise error

    return intercepting(fail)


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


# --- What does not fit -----------------------------------------------------------------------------------------------


def stop_after(number: int) -> None:
    """Let a process die after the request with this number."""
    with failing_at(number, Killed(), is_done=True), pytest.raises(Killed):
        invoices.make_due()


@contextmanager
def answering(name: str, response: Any) -> Iterator[list[str]]:
    """Answer requests to addresses that end with a name by response(), which the sandbox never sees.

    Yields the addresses of these requests.
    """
    asked: list[str] = []

    def answer(perform: Perform, request: Request) -> Response:
        if not request.path.endswith(name):
            return perform()
        asked.append(request.path)
        return response()

    with intercepting(answer):
        yield asked


def test_step_that_brings_nothing_is_not_taken_for_ever(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    """No open invoice, whose page takes money, may remain, and Stripe must not be asked for ever."""

    def unchanged() -> Any:
        return json.dumps(own_invoices(stripe_sandbox, paid)[0]), 200, {}

    with answering("/attach_payment", unchanged) as asked:
        for times in range(3):
            assert invoices.make_due(now=later(times)) == 1
        # Once in each attempt, because the effect may show later.
        assert len(asked) == 3
        assert not UnmatchedEvent.objects.exists()
        with time_machine.travel(NOW + timedelta(days=1), tick=False):
            assert invoices.make_due() == 1
    is_given_up(stripe_sandbox, paid, "nothing comes of it")


def test_payment_that_is_called_declined_is_a_refusal(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    declined = {"error": {"type": "card_error", "code": "card_declined", "message": "Declined."}}
    with answering("/attach_payment", lambda: (json.dumps(declined), 402, {})):
        assert invoices.make_due() == 1
    is_given_up(stripe_sandbox, paid, "refused the next step (card_declined)")


@pytest.mark.parametrize("balance", [-20_000, -1, 1, 20_000])
@pytest.mark.parametrize("number", [0, 2])
def test_balance_at_stripe_is_not_touched(
    stripe_sandbox: StripeSandbox, paid: TopUp, balance: int, number: int
) -> None:
    """A credit would be used up, and the rest of the payment credited to the customer; with a debit they would owe."""
    if number:
        stop_after(number)
    with stripe_sandbox.state() as state:
        state.put({**state.get(Customer.objects.get().stripe_id), "balance": balance})
        for invoice in state.list("invoice", status="draft"):
            state.put({**invoice, "starting_balance": balance})
    assert invoices.make_due(now=later()) == 1
    is_given_up(stripe_sandbox, paid, f"balance of {balance} cents")
    assert stripe_sandbox.get(Customer.objects.get().stripe_id)["balance"] == balance


@pytest.mark.parametrize("balance", [-20_000, -19_990, 1])
def test_balance_that_came_in_the_last_moment_is_given_back(
    stripe_sandbox: StripeSandbox, paid: TopUp, balance: int
) -> None:
    stop_after(2)
    with stripe_sandbox.state() as state:
        # The draft was checked before.
        state.put({**state.get(Customer.objects.get().stripe_id), "balance": balance})
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "balance of")
    if balance != -20_000:
        assert stripe_sandbox.get(Customer.objects.get().stripe_id)["balance"] == balance


def test_invoice_that_somebody_else_paid_is_shown_to_an_operator(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    stop_after(3)
    paid.refresh_from_db()
    stripe_sandbox.pay_invoice(paid.invoice_id)
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "not with this payment alone")
    stripe_sandbox.deliver(times=2)
    # An operator decides about the second payment at Stripe: it is not credited automatically.
    assert money_of(paid.organization) == (210_000_000, 0)


def test_invoice_of_another_amount_is_not_finalized(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    """For example, a person added a line to the draft in Stripe's dashboard."""
    stop_after(2)
    with stripe_sandbox.state() as state:
        [draft] = state.list("invoice", status="draft")
        state.put({**draft, "total": 20_100, "amount_due": 20_100, "amount_remaining": 20_100})
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "20100 cents")
    assert own_invoices(stripe_sandbox, paid)[0]["status"] == "draft"


def test_payment_that_stripe_will_not_attach_leaves_no_open_invoice(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    stop_after(3)
    with stripe_sandbox.state() as state:
        state.put({**state.get(paid.payment_intent_id), "customer": "cus_other"})
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "refused the next step")
    assert own_invoices(stripe_sandbox, paid)[0]["status"] == "void"


def test_process_that_dies_while_it_voids_is_followed_by_one_that_does(
    stripe_sandbox: StripeSandbox, paid: TopUp
) -> None:
    stop_after(3)
    with stripe_sandbox.state() as state:
        state.put({**state.get(paid.payment_intent_id), "customer": "cus_other"})
    # The calls: read, refused step, read again, void.
    with failing_at(4, Killed(), is_done=True), pytest.raises(Killed):
        invoices.make_due(now=later())
    assert invoices.make_due(now=later(2)) == 1
    is_given_up(stripe_sandbox, paid, "It is void.")


def test_draft_that_an_operator_deleted_is_not_made_again(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    stop_after(2)
    with stripe_sandbox.state() as state:
        state.database.execute("DELETE FROM objects WHERE kind = 'invoice' AND body LIKE '%\"draft\"%'")
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "does not know it any more")
    assert own_invoices(stripe_sandbox, paid) == []


def test_invoice_that_an_operator_voided_is_not_made_again(stripe_sandbox: StripeSandbox, paid: TopUp) -> None:
    stop_after(3)
    paid.refresh_from_db()
    stripe_calls.void_invoice(paid)
    invoices.make_due(now=later())
    is_given_up(stripe_sandbox, paid, "It is void.")
    assert len(own_invoices(stripe_sandbox, paid)) == 1


def test_invoice_that_an_operator_made_by_hand_is_linked(stripe_sandbox: StripeSandbox, acme: Organization) -> None:
    """docs/operations.md describes it, also for top-ups that are older than the invoices."""
    topup = make_topup(acme, is_automatic=True, state=TopUpState.PAID, paid_at=NOW - timedelta(days=90))
    invoice = {"id": "in_1", "metadata": {"topup_id": str(topup.pk)}, "status": "paid"}
    assert tell("invoice.paid", {**invoice, "hosted_invoice_url": "https://invoice.stripe.com/1"}) == 200
    topup.refresh_from_db()
    assert topup.invoice_url == "https://invoice.stripe.com/1"


def test_customer_that_was_deleted_at_stripe_is_an_operators_business(
    stripe_sandbox: StripeSandbox, paid: TopUp
) -> None:
    with stripe_sandbox.state() as state:
        state.database.execute("DELETE FROM objects WHERE kind = 'customer'")
    invoices.make_due()
    is_given_up(stripe_sandbox, paid, "")


def test_one_that_fails_does_not_stop_the_others_and_stays_open_to_nobody(
    stripe_sandbox: StripeSandbox, paid: TopUp, rival: Organization
) -> None:
    early = NOW - timedelta(hours=1)
    other = topups.begin(rival, amount_cents=20_000, person=None, is_automatic=True)
    # Stripe does not know this payment.
    topups.fulfil(stripe_mapping.payment_of_intent(intent_of(other)))
    TopUp.objects.filter(pk=other.pk).update(paid_at=early, invoice_due_at=early)
    assert invoices.make_due() == 2
    is_settled(stripe_sandbox, paid)
    assert UnmatchedEvent.objects.get().topup == other
    assert [each["status"] for each in own_invoices(stripe_sandbox, other)] == ["void"]
    assert money_of(rival) == (210_000_000, 0)


def test_invoice_of_another_customer_is_never_taken_for_ours(
    stripe_sandbox: StripeSandbox, paid: TopUp, rival: Organization
) -> None:
    """An invoice of another customer that names the top-up must not be paid with its payment or linked to it."""
    with stripe_sandbox.failing("refused"):
        invoices.make_due()
    strange = stripe_calls.create_invoice(TopUp(pk=paid.pk, organization=rival, amount_cents=20_000))
    with stripe_sandbox.state() as state:
        # Made in the dashboard, without an idempotency key of this site.
        state.database.execute("DELETE FROM responses")
    assert invoices.make_due(now=later()) == 1
    paid.refresh_from_db()
    assert paid.invoice_id not in {"", strange["id"]}
    customer = Customer.objects.get(organization=paid.organization)
    assert stripe_sandbox.get(paid.invoice_id)["customer"] == customer.stripe_id
    assert stripe_sandbox.get(strange["id"])["status"] == "draft"


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
