"""The ledger stays correct in any order of verbs, also if they are repeated or come too early.

Every step is done to the ledger and to a model of it in plain Python, and then both are compared. The ordinary suite
does 10 runs; VOXSITE_LEDGER_RUNS sets another number.
"""

import itertools
import os
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from accounts import api_keys
from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing import ledger
from billing.models import REVERSALS, Entry, EntryKind, Hold, HoldState, MonthlySpend, Wallet
from tests.billing.ledger.money_model import Money, Work

RUNS = int(os.environ.get("VOXSITE_LEDGER_RUNS", "10"))
AMOUNTS = st.integers(min_value=0, max_value=1_000)
SUMS = st.integers(min_value=1, max_value=2_000)
LIMITS = st.none() | st.integers(min_value=1, max_value=3_000)
INCOMING = st.sampled_from([EntryKind.PAYMENT, EntryKind.BONUS, EntryKind.CREDIT])
BACK = st.sampled_from([EntryKind.REFUND, EntryKind.DISPUTE])
# Once or twice, because Stripe repeats events.
TIMES = st.integers(min_value=1, max_value=2)
numbers = itertools.count()


class LedgerMachine(RuleBasedStateMachine):
    """Does the same to the ledger and to the model."""

    works = Bundle("works")
    backs = Bundle("backs")

    def __init__(self) -> None:
        super().__init__()
        self.time = time_machine.travel(datetime(2026, 11, 20, tzinfo=UTC), tick=False)
        self.clock = self.time.start()
        self.organization = Organization.objects.create(name="Machine")
        self.rival = Organization.objects.create(name="Rival")
        self.key: ApiKey = api_keys.issue(self.organization, name="machine", by=None)[0]
        self.wallet = ledger.wallet_of(self.organization)
        self.money = Money()
        self.steps = 0

    def teardown(self) -> None:
        try:
            entries = Entry.objects.of(self.organization).values_list("kind", "reference", "amount_micros")
            assert {(kind, reference): amount for kind, reference, amount in entries} == self.money.entries
            assert not Entry.objects.of(self.rival).exists()
            assert ledger.verify(self.wallet) == []
        finally:
            self.time.stop()

    @property
    def month(self) -> date:
        return timezone.now().date().replace(day=1)

    def new(self, name: str) -> str:
        return f"{name}:{next(numbers)}"

    # --- Time and settings

    @rule(days=st.sampled_from([1, 20]))
    def time_passes(self, days: int) -> None:
        self.clock.shift(timedelta(days=days))

    @rule(limit=LIMITS)
    def limit_organization(self, limit: int | None) -> None:
        ledger.set_monthly_limit(self.organization, limit_micros=limit)
        self.money.limit = limit

    @rule(limit=LIMITS)
    def limit_key(self, limit: int | None) -> None:
        api_keys.set_monthly_limit(self.organization, key_id=self.key.pk, limit_micros=limit)
        self.money.key_limit = limit

    @rule(threshold=LIMITS)
    def watch(self, threshold: int | None) -> None:
        ledger.set_low_balance(self.organization, threshold_micros=threshold)
        self.money.threshold = threshold

    # --- Entries

    @rule(amount=SUMS, kind=INCOMING, times=TIMES)
    def credit(self, amount: int, kind: EntryKind, times: int) -> None:
        reference = self.new("money")
        entries = {
            ledger.credit(self.organization, amount_micros=amount, kind=kind, reference=reference).pk
            for _ in range(times)
        }
        assert len(entries) == 1
        self.money.entries[kind, reference] = amount
        with pytest.raises(ledger.ReferenceReused):
            ledger.credit(self.rival, amount_micros=amount, kind=kind, reference=reference)

    @rule(target=backs, kind=BACK)
    def hear_of_a_return(self, kind: EntryKind) -> tuple[EntryKind, str]:
        """Make the reference of a refund or dispute, whose events may come in any order."""
        return kind, self.new("back")

    @rule(back=backs, amount=SUMS, times=TIMES)
    def claw_back(self, back: tuple[EntryKind, str], amount: int, times: int) -> None:
        kind, reference = back
        taken = self.money.entries.get(back)
        for _ in range(times):
            if taken not in {None, -amount}:
                with pytest.raises(ledger.ReferenceReused):
                    ledger.claw_back(self.organization, amount_micros=amount, kind=kind, reference=reference)
                return
            entry = ledger.claw_back(self.organization, amount_micros=amount, kind=kind, reference=reference)
            assert entry.amount_micros == -amount
        if taken is None:
            self.money.entries[back] = -amount
            if kind == EntryKind.DISPUTE:
                self.money.reasons.add(reference)

    @rule(back=backs, times=TIMES)
    def restore(self, back: tuple[EntryKind, str], times: int) -> None:
        kind, reference = back
        taken = self.money.entries.get(back)
        for _ in range(times):
            if taken is None:
                with pytest.raises(ledger.NothingToRestore):
                    ledger.restore(self.organization, kind=kind, reference=reference)
                return
            assert ledger.restore(self.organization, kind=kind, reference=reference).amount_micros == -taken
        assert taken is not None
        if self.money.entries.setdefault((REVERSALS[kind], reference), -taken):
            self.money.reasons.discard(reference)

    @rule(back=backs)
    def lose_dispute(self, back: tuple[EntryKind, str]) -> None:
        reference = back[1]
        assert ledger.thaw(self.organization, reason=reference) is (reference in self.money.reasons)
        self.money.reasons.discard(reference)

    @rule()
    def operator_freezes(self) -> None:
        assert ledger.freeze(self.organization, reason="operator") is ("operator" not in self.money.reasons)
        self.money.reasons.add("operator")

    @rule()
    def operator_thaws(self) -> None:
        assert ledger.thaw(self.organization, reason="operator") is ("operator" in self.money.reasons)
        self.money.reasons.discard("operator")

    @rule(is_inactive=st.booleans(), times=TIMES)
    def expire(self, is_inactive: bool, times: int) -> None:
        since = timezone.now() if is_inactive else datetime(2020, 1, 1, tzinfo=UTC)
        works = self.money.works.values()
        is_busy = any(work.state == HoldState.OPEN for work in works)
        balance = self.money.balance
        may = is_inactive and balance > 0 and not self.money.is_frozen and not is_busy
        for _ in range(times):
            entry = ledger.expire(self.organization, inactive_since=since)
            assert (entry is not None) is may
            if entry is not None:
                assert entry.amount_micros == -balance
                self.money.entries[EntryKind.EXPIRY, entry.reference] = -balance
            may = False

    # --- Holds

    @rule(target=works, least=AMOUNTS, more=st.sampled_from([0, 0, 500, 5_000]), by_key=st.booleans(), times=TIMES)
    def reserve(self, least: int, more: int, by_key: bool, times: int) -> str:
        reference = self.new("work")
        fields = {
            "at_least_micros": least,
            "at_most_micros": least + more,
            "reference": reference,
            "api_key": self.key if by_key else None,
        }
        refusal = self.money.refusal(least, self.month, by_key=by_key)
        amount = min(least + more, self.money.headroom(self.month, by_key=by_key))
        for _ in range(times):
            if refusal is None:
                assert ledger.reserve_up_to(self.organization, **fields).amount_micros == amount
            else:
                _is_refused(refusal, lambda: ledger.reserve_up_to(self.organization, **fields))
        if refusal is None:
            self.money.works[reference] = Work(amount=amount, month=self.month, by_key=by_key)
        return reference

    @rule(reference=works, amount=AMOUNTS)
    def reserve_again(self, reference: str, amount: int) -> None:
        work = self.money.works.get(reference)
        if work is None:
            return
        if work.state == HoldState.OPEN and amount <= work.amount:
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)
            return
        with pytest.raises((ledger.ReferenceReused, ledger.HoldSettled, ledger.HoldReleased)):
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)

    @rule(reference=works, amount=AMOUNTS, times=TIMES)
    def extend(self, reference: str, amount: int, times: int) -> None:
        work = self.money.works.get(reference)
        if work is None:
            return
        hold = Hold.objects.get(reference=reference)
        for _ in range(times):
            refusal = self.money.refusal(amount - work.amount, work.month, by_key=work.by_key)
            if work.state != HoldState.OPEN:
                with pytest.raises(_closed(work.state)):
                    ledger.extend(hold, to_micros=amount)
            elif amount <= work.amount or refusal is None:
                work.amount = max(amount, work.amount)
                assert ledger.extend(hold, to_micros=amount).amount_micros == work.amount
            else:
                _is_refused(refusal, lambda: ledger.extend(hold, to_micros=amount))

    @rule(reference=works, amount=AMOUNTS)
    def extend_as_far_as_possible(self, reference: str, amount: int) -> None:
        work = self.money.works.get(reference)
        if work is None or work.state != HoldState.OPEN:
            return
        more = min(amount - work.amount, self.money.headroom(work.month, by_key=work.by_key))
        work.amount += max(0, more)
        hold = Hold.objects.get(reference=reference)
        assert ledger.extend_as_far_as_possible(hold, to_micros=amount).amount_micros == work.amount

    @rule(reference=works, amount=AMOUNTS, times=TIMES)
    def settle(self, reference: str, amount: int, times: int) -> None:
        work = self.money.works.get(reference)
        if work is None:
            return
        hold = Hold.objects.get(reference=reference)
        price = min(amount, work.amount)
        for _ in range(times):
            if work.state == HoldState.OPEN:
                entry = ledger.settle(hold, actual_micros=amount)
                assert (-entry.amount_micros if entry else 0) == price
                work.state, work.charged = HoldState.SETTLED, price
                if price:
                    self.money.entries[EntryKind.USAGE, reference] = -price
            elif work.state == HoldState.SETTLED and work.charged == price:
                assert ledger.settle(hold, actual_micros=amount) is None
            else:
                with pytest.raises(_closed(work.state)):
                    ledger.settle(hold, actual_micros=amount)

    @rule(reference=works, times=TIMES)
    def release(self, reference: str, times: int) -> None:
        work = self.money.works.get(reference)
        if work is None:
            return
        hold = Hold.objects.get(reference=reference)
        for _ in range(times):
            if work.state == HoldState.SETTLED:
                with pytest.raises(ledger.HoldSettled):
                    ledger.release(hold)
                return
            assert ledger.release(hold) is (work.state == HoldState.OPEN)
            work.state = HoldState.RELEASED

    # --- Batches

    @rule(
        target=works,
        asked=st.lists(st.tuples(AMOUNTS, st.sampled_from([0, 0, 500, 5_000])), min_size=1, max_size=4),
        by_key=st.booleans(),
        is_doubled=st.booleans(),
    )
    def reserve_each(self, asked: list[tuple[int, int]], by_key: bool, is_doubled: bool) -> Any:
        wanted = [ledger.HoldRequest(least, least + more, self.new("work")) for least, more in asked]
        if is_doubled:
            wanted.append(wanted[0])
        key = self.key if by_key else None
        room = self.money.headroom(self.month, by_key=by_key)
        results = ledger.reserve_each(self.organization, wanted, api_key=key)
        assert len(results) == len(wanted)
        if is_doubled and isinstance(results[0], Hold):
            assert results[-1] == results[0]
        for each, result in zip(wanted, results, strict=True):
            if each.reference in self.money.works:
                assert isinstance(result, Hold)
                continue
            refusal = self.money.refusal(each.at_least_micros, self.month, by_key=by_key)
            if refusal is None:
                amount = min(each.at_most_micros, self.money.headroom(self.month, by_key=by_key))
                assert isinstance(result, Hold)
                assert result.amount_micros == amount
                self.money.works[each.reference] = Work(amount=amount, month=self.month, by_key=by_key)
            else:
                assert isinstance(result, PaymentRequired)
                assert {"type": result.type, **{name: result.data[name] for name in refusal if name != "type"}} == (
                    refusal
                )
        held = sum(self.money.works[each.reference].amount for each in {*wanted} if each.reference in self.money.works)
        assert held <= room
        return multiple(*(each.reference for each in wanted))

    @rule(charged=st.lists(st.tuples(works, AMOUNTS), min_size=1, max_size=4), times=TIMES)
    def settle_each(self, charged: list[tuple[str, int]], times: int) -> None:
        charged = [(reference, amount) for reference, amount in charged if reference in self.money.works]
        for _ in range(times):
            charges = [ledger.Charge(Hold.objects.get(reference=reference), amount) for reference, amount in charged]
            results = ledger.settle_each(charges)
            assert len(results) == len(charged)
            for (reference, amount), result in zip(charged, results, strict=True):
                work = self.money.works[reference]
                if work.state != HoldState.OPEN:
                    assert isinstance(result, _closed(work.state))
                    continue
                room = self.money.headroom(work.month, by_key=work.by_key)
                work.amount = max(work.amount, min(amount, work.amount + room))
                price = min(amount, work.amount)
                work.state = HoldState.SETTLED if price else HoldState.RELEASED
                if price:
                    assert isinstance(result, Entry)
                    assert result.amount_micros == -price
                    work.charged = price
                    self.money.entries[EntryKind.USAGE, reference] = -price
                    assert result.balance_after_micros == self.money.balance
                else:
                    assert result is None

    # --- After every step

    @invariant()
    def the_ledger_is_as_the_model(self) -> None:
        # So that no two steps have the same time.
        self.clock.shift(timedelta(seconds=1))
        wallet, money = Wallet.objects.get(pk=self.wallet.pk), self.money
        assert (wallet.balance_micros, wallet.held_micros) == (money.balance, money.held)
        assert wallet.is_frozen is money.is_frozen
        assert (wallet.low_since is not None) is (money.threshold is not None and money.available < money.threshold)
        assert wallet.is_frozen or wallet.held_micros <= wallet.balance_micros
        for spend in MonthlySpend.objects.filter(wallet=wallet):
            assert spend.spent_micros == money.spent(spend.month, by_key=spend.api_key_id is not None)
        newest = Entry.objects.of(self.organization).newest_first().first()
        assert (newest.balance_after_micros if newest else 0) == money.balance
        # The ledger's own checks are slow: they run after every tenth step and at the end.
        self.steps += 1
        if self.steps % 10 == 0:
            assert ledger.verify(wallet) == []


def _is_refused(refusal: dict[str, Any], deed: Any) -> None:
    with pytest.raises(PaymentRequired) as caught:
        deed()
    assert {"type": caught.value.type, **{name: caught.value.data[name] for name in refusal if name != "type"}} == (
        refusal
    )


def _closed(state: HoldState) -> type[Exception]:
    return ledger.HoldSettled if state == HoldState.SETTLED else ledger.HoldReleased


@pytest.mark.long
@pytest.mark.timeout(180 + 3 * RUNS)
@pytest.mark.django_db
def test_ledger_agrees_with_the_model_in_any_order_of_verbs(settings: Any) -> None:
    # The machine's clock differs from today's, so its holds look old.
    settings.MAX_HOLD_DAYS = 100_000
    run_state_machine_as_test(
        LedgerMachine,
        settings=hypothesis_settings(
            max_examples=RUNS,
            stateful_step_count=30,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
    assert list(ledger.faults()) == []
