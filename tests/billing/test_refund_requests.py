"""Refunds that are requested here: by a customer, of the unspent part, or by an operator."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.errors import Conflict, InvalidField, PaymentRequired, UpstreamFailed
from accounts.models import Organization, User
from billing import ledger, refunds, topups
from billing.models import Entry, EntryKind, Wallet
from billing.models.payments import TopUp
from billing.models.reversals import Refund, RefundState
from tests.billing.conftest import fund, money_of, spend
from tests.billing.paying import pay
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting


@pytest.fixture
def paid(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> TopUp:
    """$200, which brought $10."""
    return pay(stripe_sandbox, acme, payer)


# --- What is unspent -------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("spent_micros", "refundable_cents"),
    [(0, 20_000), (1, 19_999), (10_000_000, 19_000), (200_000_000, 0), (205_000_000, 0), (210_000_000, 0)],
)
def test_bonus_is_spent_last(paid: TopUp, acme: Organization, spent_micros: int, refundable_cents: int) -> None:
    if spent_micros:
        spend(acme, spent_micros)
    assert refunds.refundable(paid).amount_cents == refundable_cents


def test_older_money_is_spent_first(stripe_sandbox: StripeSandbox, acme: Organization, payer: User) -> None:
    fund(acme, 5_000_000)
    first = pay(stripe_sandbox, acme, payer, 1_000)
    second = pay(stripe_sandbox, acme, payer, 2_000)
    fund(acme, 3_000_000)
    # $12 are spent: the $5 of credit, and $7 of the first $10.
    spend(acme, 12_000_000)
    assert [refunds.refundable(topup).amount_cents for topup in (first, second)] == [300, 2_000]
    refunds.request(second, person=payer, amount_cents=500)
    refunds.request(first, person=payer)
    assert [refunds.refundable(topup).amount_cents for topup in (first, second)] == [0, 1_500]
    assert money_of(acme) == (18_000_000, 0)


def test_money_that_is_held_counts_as_spent(paid: TopUp, acme: Organization) -> None:
    hold = ledger.reserve(acme, amount_micros=50_000_000, reference="job:1")
    assert refunds.refundable(paid).amount_cents == 15_000
    ledger.release(hold)
    assert refunds.refundable(paid).amount_cents == 20_000


def test_nothing_after_the_time_is_over(paid: TopUp, payer: User, settings: Any) -> None:
    assert paid.paid_at is not None
    last = paid.paid_at + timedelta(days=settings.REFUND_DAYS)
    assert refunds.refundable(paid, now=last) == refunds.Refundable(20_000, last)
    assert refunds.refundable(paid, now=last + timedelta(seconds=1)) == refunds.Refundable(0, last)
    with time_machine.travel(last + timedelta(seconds=1)), pytest.raises(Conflict, match="for 14 days"):
        refunds.request(paid, person=payer)


def test_nothing_of_what_was_not_paid(acme: Organization, payer: User) -> None:
    topup = topups.begin(acme, amount_cents=1_000, person=payer)
    assert refunds.refundable(topup) == refunds.Refundable(0, None)
    with pytest.raises(Conflict, match="not paid"):
        refunds.request(topup, person=payer)


def test_nothing_while_the_wallet_is_frozen(paid: TopUp, acme: Organization, payer: User) -> None:
    ledger.freeze(acme, reason="operator")
    assert refunds.refundable(paid).amount_cents == 0
    with pytest.raises(Conflict, match="dispute or debt"):
        refunds.request(paid, person=payer)


# --- Asking ----------------------------------------------------------------------------------------------------------


def test_request_gives_the_unspent_part_back(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    spend(acme, 10_000_000)
    refund = refunds.request(paid, person=payer)
    assert (refund.state, refund.amount_cents, refund.person) == (RefundState.SUCCEEDED, 19_000, payer)
    at_stripe = stripe_sandbox.get(str(refund.stripe_id))
    assert (at_stripe["amount"], at_stripe["metadata"]) == (19_000, {"refund_id": str(refund.pk)})
    # $10 are spent, $190 are refunded, and 95 % of the bonus is taken back.
    assert money_of(acme) == (500_000, 0)
    stripe_sandbox.deliver(times=2, order="reversed")
    assert money_of(acme) == (500_000, 0)
    assert Refund.objects.count() == 1


def test_part_of_it(stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User) -> None:
    refunds.request(paid, person=payer, amount_cents=5_000)
    assert money_of(acme) == (157_500_000, 0)
    assert refunds.refundable(paid).amount_cents == 15_000


@pytest.mark.parametrize("amount_cents", [-5, 0, 20_001])
def test_more_than_that_is_refused(paid: TopUp, acme: Organization, payer: User, amount_cents: int) -> None:
    with pytest.raises(InvalidField, match=r"Up to \$200.00"):
        refunds.request(paid, person=payer, amount_cents=amount_cents)
    assert money_of(acme) == (210_000_000, 0)


def test_same_form_twice_is_one_refund(paid: TopUp, acme: Organization, payer: User) -> None:
    token = uuid.uuid4()
    for _ in range(2):
        assert refunds.request(paid, person=payer, amount_cents=5_000, token=token).pk == token
        assert refunds.start(paid, person=payer, amount_cents=5_000, token=token).pk == token
    assert money_of(acme) == (157_500_000, 0)


@pytest.mark.long
def test_bank_that_does_not_take_it_back_gives_the_money_back_here(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    stripe_sandbox.delay_refunds()
    refund = refunds.request(paid, person=payer)
    assert (refund.state, money_of(acme)) == (RefundState.PENDING, (0, 0))
    stripe_sandbox.fail_refund(str(refund.stripe_id))
    stripe_sandbox.deliver(order="reversed", times=2)
    refund.refresh_from_db()
    assert (refund.state, money_of(acme)) == (RefundState.FAILED, (210_000_000, 0))
    assert refund.failure == refunds.FAILED_LATER


# --- Races and crashes -----------------------------------------------------------------------------------------------


def test_job_that_reserved_first_keeps_the_money(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    """The unspent part has changed when the money is taken. The taking decides, and Stripe is not called."""
    refundable = refunds.refundable(paid)
    ledger.reserve(acme, amount_micros=15_000_000, reference="job:1")
    with pytest.raises(Conflict, match="is spent, or reserved"):
        refunds.start(paid, person=payer, amount_cents=refundable.amount_cents)
    assert money_of(acme) == (210_000_000, 15_000_000)
    assert not Refund.objects.exists()
    assert stripe_sandbox.all("refund") == []


def test_job_that_comes_while_stripe_is_asked_finds_nothing(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    refused = []

    def reserve_meanwhile(perform: Perform, _: Request) -> Response:
        with pytest.raises(PaymentRequired) as caught:
            ledger.reserve(acme, amount_micros=1, reference="job:1")
        refused.append(caught.value.data["available_micros"])
        return perform()

    with intercepting(reserve_meanwhile):
        refunds.request(paid, person=payer)
    assert refused == [0]


@pytest.mark.long
@pytest.mark.parametrize("how", ["refused", "error", "timeout"])
def test_dead_stripe_leaves_the_money_aside_until_the_clock_has_finished(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User, how: str
) -> None:
    with stripe_sandbox.failing(how), pytest.raises(UpstreamFailed, match="as soon as it does"):
        refunds.request(paid, person=payer)
    assert Refund.objects.get().state == RefundState.REQUESTED
    assert money_of(acme) == (0, 0)
    assert refunds.sweep() == 0
    later = timezone.now() + refunds.FIRST_CHECK_AFTER
    with stripe_sandbox.failing(how):
        assert refunds.sweep(now=later) == 1
    assert refunds.sweep(now=later) == 0
    assert refunds.sweep(now=later + refunds.NEXT_CHECK_AFTER) == 1
    refund = Refund.objects.get()
    assert (refund.state, money_of(acme)) == (RefundState.SUCCEEDED, (0, 0))
    assert len(stripe_sandbox.all("refund")) == 1


@pytest.mark.long
@pytest.mark.parametrize("heard_by", ["clock", "webhook"])
def test_refund_whose_answer_was_lost_is_made_once(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User, heard_by: str
) -> None:
    with stripe_sandbox.failing("response_lost"), pytest.raises(UpstreamFailed):
        refunds.request(paid, person=payer, amount_cents=5_000)
    if heard_by == "webhook":
        assert {status for _, status in stripe_sandbox.deliver()} == {200}
    # Days later the idempotency key has expired: a blind repetition would pay a second time.
    stripe_sandbox.forget_responses()
    refunds.sweep(now=timezone.now() + timedelta(days=3))
    refund = Refund.objects.get()
    assert (refund.state, refund.stripe_id) == (RefundState.SUCCEEDED, stripe_sandbox.all("refund")[0]["id"])
    assert len(stripe_sandbox.all("refund")) == 1
    assert money_of(acme) == (157_500_000, 0)


def test_refusal_of_stripe_gives_the_money_back(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    # The payment is refunded in the dashboard, and its event has not arrived yet.
    stripe_sandbox.refund(paid.payment_intent_id)
    with pytest.raises(UpstreamFailed, match="back in your balance"):
        refunds.request(paid, person=payer, amount_cents=5_000)
    refund = Refund.objects.get()
    assert (refund.state, refund.failure) == (RefundState.FAILED, refunds.REFUSED)
    assert money_of(acme) == (210_000_000, 0)
    assert list(Entry.objects.order_by("id").values_list("kind", "amount_micros"))[-2:] == [
        (EntryKind.REFUND, -52_500_000),
        (EntryKind.REFUND_REVERSAL, 52_500_000),
    ]
    stripe_sandbox.deliver()
    assert money_of(acme) == (0, 0)


def test_refund_that_we_gave_up_and_that_was_made_all_the_same_is_taken(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    with stripe_sandbox.failing("response_lost"), pytest.raises(UpstreamFailed):
        refunds.request(paid, person=payer, amount_cents=5_000)
    refunds._give_up(Refund.objects.get())
    assert money_of(acme) == (210_000_000, 0)
    stripe_sandbox.deliver()
    assert money_of(acme) == (157_500_000, 0)


# --- Operators -------------------------------------------------------------------------------------------------------


def test_operator_may_give_back_what_is_old_while_the_balance_bears_it(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    TopUp.objects.update(paid_at=timezone.now() - timedelta(days=400))
    spend(acme, 195_000_000)
    fund(acme, 195_000_000)
    refunds.start(paid, person=payer, amount_cents=20_000)
    assert money_of(acme) == (0, 0)


def test_operator_may_not_give_back_more_than_was_paid(paid: TopUp, payer: User, acme: Organization) -> None:
    fund(acme, 500_000_000)
    refunds.start(paid, person=payer, amount_cents=15_000)
    with pytest.raises(InvalidField, match=r"\$50.00"):
        refunds.start(paid, person=payer, amount_cents=5_001)


def test_operator_may_not_give_back_what_was_not_paid(acme: Organization, payer: User) -> None:
    topup = topups.begin(acme, amount_cents=1_000, person=payer)
    with pytest.raises(Conflict, match="not paid"):
        refunds.start(topup, person=payer, amount_cents=1)


def test_wallet_is_whole_after_all_this(paid: TopUp, acme: Organization, payer: User) -> None:
    refunds.request(paid, person=payer)
    assert ledger.verify(Wallet.objects.get()) == []


def test_payment_that_stripe_does_not_know_gives_the_money_back(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    TopUp.objects.update(payment_intent_id="pi_of_nobody")
    with pytest.raises(UpstreamFailed, match="back in your balance"):
        refunds.request(paid, person=payer, amount_cents=5_000)
    assert Refund.objects.get().state == RefundState.FAILED
    assert money_of(acme) == (210_000_000, 0)


def test_clock_waits_for_a_silent_stripe_once_in_a_round(
    stripe_sandbox: StripeSandbox, paid: TopUp, payer: User, acme: Organization
) -> None:
    with stripe_sandbox.failing("timeout"):
        for _ in range(3):
            with pytest.raises(UpstreamFailed):
                refunds.request(paid, person=payer, amount_cents=5_000)
        later = timezone.now() + refunds.FIRST_CHECK_AFTER
        assert refunds.sweep(now=later) == 1
    # The next round begins with the refunds that were not checked.
    assert refunds.sweep(now=later) == 2
    assert refunds.sweep(now=later + refunds.NEXT_CHECK_AFTER) == 1
    assert set(Refund.objects.values_list("state", flat=True)) == {RefundState.SUCCEEDED}
    assert money_of(acme) == (52_500_000, 0)


def test_offer_takes_as_many_questions_however_many_payments_follow(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, payer: User
) -> None:
    refunds.refundable(paid)
    counts = []
    for _ in range(3):
        later = pay(stripe_sandbox, acme, payer, 1_000)
        refunds.request(later, person=payer, amount_cents=500)
        with CaptureQueriesContext(connection) as questions:
            assert refunds.refundable(paid).amount_cents == 20_000
        counts.append(len(questions))
    assert len(set(counts)) == 1


def test_token_of_another_payments_refund_is_refused(
    stripe_sandbox: StripeSandbox, paid: TopUp, acme: Organization, rival: Organization, payer: User
) -> None:
    rivals = pay(stripe_sandbox, rival, payer, 1_000)
    token = refunds.request(rivals, person=payer, amount_cents=500).pk
    for ask in (refunds.request, refunds.start):
        with pytest.raises(Conflict, match="another payment"):
            ask(paid, person=payer, amount_cents=500, token=token)
    assert money_of(acme) == (210_000_000, 0)
