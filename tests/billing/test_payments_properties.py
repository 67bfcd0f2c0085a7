"""Payments, refunds, disputes, work and expiry in any order, with repeated and late events: the ledger stays correct.

VOXSITE_LEDGER_RUNS sets the number of runs, for example 1000.
"""

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule, run_state_machine_as_test

from accounts.errors import Conflict, PaymentRequired
from accounts.models import Organization, User
from billing import disputes, ledger, money, reconciliation, refund_math, refunds, stripe_mapping, topups
from billing.models import Entry, EntryKind, Hold, Wallet
from billing.models.payments import TopUp, TopUpState
from billing.models.reversals import Refund
from tests.billing.stripe_objects import dispute_of, intent_of, make_topup, refund_of, session_of

RUNS = int(os.environ.get("VOXSITE_LEDGER_RUNS", "10"))
AMOUNTS = st.sampled_from([500, 777, 1_000, 20_000, 20_001, 33_333, 50_000, 99_999])
SHARES = st.integers(min_value=1, max_value=100)
WORK = st.integers(min_value=0, max_value=300_000_000)
numbers = itertools.count()


@dataclass
class Payment:
    """A payment at Stripe, and what Stripe and the banks returned of it."""

    topup: TopUp
    refunded_cents: int = 0
    # Live refunds and disputes that were reported to the site, in cents.
    told: dict[str, int] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    is_told: bool = False
    is_unmatched: bool = False


@dataclass
class News:
    """An event, what it changes in the model, whether the site is ready for it, and its payment."""

    tell: Callable[[], Any]
    happened: Callable[[], None]
    is_ready: Callable[[], bool]
    payment: Payment | None = None


class PaymentsMachine(RuleBasedStateMachine):
    """Compares rows and ledger with a model: the live part of each payment, of what was reported to the site."""

    payments = Bundle("payments")
    news = Bundle("news")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        # Every run starts with empty tables.
        self.run = transaction.atomic()
        self.run.__enter__()
        self.person = User.objects.create_user(f"payer{next(numbers)}@example.com")
        self.organization = Organization.objects.create(name="Machine")
        self.wallet = ledger.wallet_of(self.organization)
        self.all_payments: list[Payment] = []
        self.all_news: list[News] = []

    # --- Payments ----------------------------------------------------------------------------------------------------

    @rule(target=payments, amount=AMOUNTS, state=st.sampled_from([TopUpState.PENDING, TopUpState.EXPIRED]))
    def pay(self, amount: int, state: TopUpState) -> Payment:
        payment = Payment(make_topup(self.organization, amount, state=state))
        self.all_payments.append(payment)
        return payment

    @rule(target=news, payment=payments, way=st.sampled_from(["session", "intent"]))
    def payment_is_told(self, payment: Payment, way: str) -> News:
        reported = (
            stripe_mapping.payment_of_checkout(session_of(payment.topup))
            if way == "session"
            else stripe_mapping.payment_of_intent(intent_of(payment.topup))
        )

        def happened() -> None:
            payment.is_told = True

        return self._event(lambda: topups.fulfil(reported), happened)

    @rule(payment=payments, bad=st.sampled_from(["expire", "fail", "unpaid", "amount", "currency"]))
    def something_else_is_told(self, payment: Payment, bad: str) -> None:
        if bad in {"amount", "currency"}:
            # It credits nothing. A row that was not paid yet waits for an operator, or for the right payment.
            change = {"amount_total": 1} if bad == "amount" else {"currency": "eur"}
            topups.fulfil(stripe_mapping.payment_of_checkout(session_of(payment.topup, **change)))
            payment.is_unmatched = True
            return
        reported = stripe_mapping.payment_of_checkout(session_of(payment.topup, payment_status="unpaid"))
        {"expire": topups.expire, "fail": topups.fail, "unpaid": topups.fulfil}[bad](reported)

    # --- Money that goes back ----------------------------------------------------------------------------------------

    @rule(
        target=news,
        payment=payments,
        share=SHARES,
        status=st.sampled_from(["pending", "succeeded"]),
        fails=st.booleans(),
    )
    def refund_in_the_dashboard(self, payment: Payment, share: int, status: str, fails: bool) -> News:
        name, cents = f"re_{next(numbers)}", self._refundable(payment, share)
        if not cents:
            return self._nothing()
        payment.refunded_cents += cents
        if fails:
            self._refund_event(payment, name, cents, status="failed")
        return self._refund_event(payment, name, cents, status=status)

    @rule(
        target=news,
        payment=payments,
        share=SHARES,
        answer=st.sampled_from(["made", "lost", "refused", "given up but made"]),
    )
    def refund_that_is_asked_for_here(self, payment: Payment, share: int, answer: str) -> News:
        cents = self._refundable(payment, share)
        if not cents or not payment.is_told:
            return self._nothing()
        topup = TopUp.objects.get(pk=payment.topup.pk)
        before = Wallet.objects.get(pk=self.wallet.pk).available_micros
        try:
            with transaction.atomic():
                row = refunds._take_from_ledger(topup, person=self.person, amount_cents=cents, token=None)
        except Conflict:
            assert before < (cents + topup.bonus_cents) * money.MICROS_PER_CENT
            return self._nothing()
        assert Wallet.objects.get(pk=self.wallet.pk).available_micros >= 0
        name = f"refund {row.pk}"
        payment.told[name] = cents
        if answer in {"refused", "given up but made"}:
            refunds._give_up(row)
            self._ended(payment, name)
        if answer == "refused":
            return self._nothing()
        payment.refunded_cents += cents
        stripe_id = f"re_{next(numbers)}"
        event = self._refund_event(
            payment,
            stripe_id,
            cents,
            status="succeeded",
            # A refund that was given up here and made all the same is treated as made in the dashboard.
            known_as=name if name in payment.told else "",
            metadata={"refund_id": str(row.pk)},
        )
        if answer == "made":
            self._deliver(event)
        return event

    @rule(target=news, payment=payments, pick=st.integers(min_value=0))
    def refund_fails(self, payment: Payment, pick: int) -> News:
        rows = [row for row in Refund.objects.filter(topup=payment.topup).order_by("created_at", "pk") if row.stripe_id]
        if not rows:
            return self._nothing()
        row = rows[pick % len(rows)]
        name = row.reference.replace("refund:", "refund ") if row.person_id else str(row.stripe_id)
        return self._refund_event(payment, str(row.stripe_id), row.amount_cents, status="failed", known_as=name)

    @rule(target=news, payment=payments, share=SHARES)
    def dispute(self, payment: Payment, share: int) -> News:
        """Of any part, also of a refunded one: banks do not know of refunds."""
        name, cents = f"dp_{next(numbers)}", max(1, payment.topup.amount_cents * share // 100)
        reported = stripe_mapping.dispute(dispute_of(payment.topup, cents, stripe_id=name))

        def withdrawn() -> None:
            if name not in payment.ended:
                payment.told[name] = cents

        self._event(
            lambda: disputes.reinstate(reported),
            lambda: self._ended(payment, name),
            lambda: payment.is_told and (name in payment.told or name in payment.ended),
            payment,
        )
        return self._event(lambda: disputes.withdraw(reported), withdrawn, lambda: payment.is_told, payment)

    # --- What is told ------------------------------------------------------------------------------------------------

    @rule(event=news, times=st.integers(min_value=1, max_value=3))
    def deliver(self, event: News, times: int) -> None:
        for _ in range(times):
            self._deliver(event)

    @rule(pick=st.integers(min_value=0), event=consumes(news))
    def deliver_any_other(self, pick: int, event: News) -> None:
        self._deliver(self.all_news[pick % len(self.all_news)])

    def _deliver(self, event: News) -> None:
        if event.is_ready():
            event.tell()
            event.happened()
        elif event.payment is not None and event.payment.is_unmatched and not event.payment.is_told:
            # The refund of an unmatched payment is unmatched too; Stripe must not repeat its event.
            event.tell()
        else:
            with pytest.raises((topups.TopUpUnknown, disputes.DisputeUnknown)), transaction.atomic():
                event.tell()

    # --- Work --------------------------------------------------------------------------------------------------------

    @rule(target=holds, amount=WORK)
    def reserve(self, amount: int) -> str:
        reference = f"work:{next(numbers)}"
        wallet = Wallet.objects.get(pk=self.wallet.pk)
        may = not wallet.is_frozen and wallet.available_micros >= amount
        try:
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)
            assert may
        except PaymentRequired:
            assert not may
        return reference

    @rule(reference=holds, amount=WORK, is_charged=st.booleans())
    def end_work(self, reference: str, amount: int, is_charged: bool) -> None:
        hold = Hold.objects.filter(reference=reference).first()
        if hold is not None and hold.is_open:
            _ = ledger.settle(hold, actual_micros=amount) if is_charged else ledger.release(hold)

    @rule()
    def expire(self) -> None:
        ledger.expire(self.organization, inactive_since=timezone.now())

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.run.__exit__(None, None, None)

    # --- What always holds -------------------------------------------------------------------------------------------

    @invariant()
    def the_books_agree(self) -> None:
        wallet = Wallet.objects.get(pk=self.wallet.pk)
        assert ledger.verify(wallet) == []
        assert list(reconciliation.faults()) == []
        came = sum(
            (payment.topup.amount_cents + payment.topup.bonus_cents) * money.MICROS_PER_CENT
            for payment in self.all_payments
            if payment.is_told
        )
        assert came == self._booked(EntryKind.PAYMENT, EntryKind.BONUS)
        lost = 0
        for payment in self.all_payments:
            mine = self._lost(payment)
            wanted = refund_math.clawed_micros(
                paid_cents=payment.topup.amount_cents,
                bonus_cents=payment.topup.bonus_cents,
                returned_cents=sum(payment.told.values()),
            )
            assert wanted <= mine <= wanted + len(payment.ended)
            if not payment.told:
                assert mine == 0
            lost += mine
        gone = self._booked(EntryKind.USAGE, EntryKind.EXPIRY)
        given = self._booked(EntryKind.CREDIT)
        assert wallet.balance_micros == came - lost + gone + given
        # Expired money is given back only if money has expired.
        assert 0 <= given <= -self._booked(EntryKind.EXPIRY)
        assert wallet.available_micros >= 0 or wallet.is_frozen

    def _booked(self, *kinds: EntryKind) -> int:
        return sum(self.wallet.entries.filter(kind__in=kinds).values_list("amount_micros", flat=True))

    def _lost(self, payment: Payment) -> int:
        kinds = [EntryKind.REFUND, EntryKind.DISPUTE, EntryKind.REFUND_REVERSAL, EntryKind.DISPUTE_REVERSAL]
        topup = payment.topup
        references = {row.reference for row in topup.refunds.all()} | {row.reference for row in topup.disputes.all()}
        entries = Entry.objects.filter(wallet=self.wallet, kind__in=kinds)
        return -sum(
            entry.amount_micros
            for entry in entries
            if entry.reference in references or entry.reference.rpartition(":")[0] in references
        )

    # --- Small parts -------------------------------------------------------------------------------------------------

    def _event(
        self,
        tell: Callable[[], Any],
        happened: Callable[[], None],
        is_ready: Callable[[], bool] = lambda: True,
        payment: Payment | None = None,
    ) -> News:
        event = News(tell, happened, is_ready, payment)
        self.all_news.append(event)
        return event

    def _nothing(self) -> News:
        return self._event(lambda: None, lambda: None)

    def _refund_event(
        self, payment: Payment, stripe_id: str, cents: int, *, status: str, known_as: str = "", **changes: Any
    ) -> News:
        reported = stripe_mapping.refund(refund_of(payment.topup, cents, stripe_id=stripe_id, status=status, **changes))

        name = known_as or stripe_id

        def happened() -> None:
            if status == "failed":
                self._ended(payment, name)
            elif name not in payment.ended:
                payment.told[name] = cents

        return self._event(lambda: refunds.record(reported), happened, lambda: payment.is_told, payment)

    def _refundable(self, payment: Payment, share: int) -> int:
        return (payment.topup.amount_cents - payment.refunded_cents) * share // 100

    def _ended(self, payment: Payment, name: str) -> None:
        payment.told.pop(name, None)
        payment.ended.add(name)


@pytest.mark.slow
@pytest.mark.django_db
@pytest.mark.timeout(180 + 10 * RUNS)
def test_payments_in_any_order() -> None:
    run_state_machine_as_test(
        PaymentsMachine,
        settings=settings(
            max_examples=RUNS,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
