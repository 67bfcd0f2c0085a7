"""Invoices of automatic top-ups that Stripe, an operator or somebody else has changed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from accounts.models import Organization
from billing import (
    invoices,
    stripe_calls,
    stripe_mapping,
    topups,
)
from billing.models.payments import Customer, TopUp, TopUpState, UnmatchedEvent
from tests.billing.conftest import NOW, money_of
from tests.billing.invoicing import Killed, failing_at, is_given_up, is_settled, later, own_invoices
from tests.billing.stripe_objects import intent_of, make_topup, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting

pytestmark = pytest.mark.usefixtures("frozen")


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


@pytest.mark.long
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


@pytest.mark.long
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
