"""Any order of credit, reserve, extend, settle and release, told twice or with a stale hold, keeps the books right."""

import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from accounts.errors import PaymentRequired
from accounts.models import Organization
from billing import ledger
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet

AMOUNTS = st.integers(min_value=0, max_value=1_000)
numbers = itertools.count()


class LedgerMachine(RuleBasedStateMachine):
    """Compares the ledger with a model of it: a balance and a table of holds."""

    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.organization = Organization.objects.create(name="Machine")
        self.wallet = ledger.wallet_of(self.organization)
        self.balance = 0
        self.amounts: dict[str, int] = {}
        self.charged: dict[str, int] = {}
        self.states: dict[str, HoldState] = {}

    @property
    def held(self) -> int:
        return sum(self.amounts[name] for name, state in self.states.items() if state == HoldState.OPEN)

    @rule(amount=st.integers(min_value=1, max_value=2_000), is_told_twice=st.booleans())
    def credit(self, amount: int, is_told_twice: bool) -> None:
        reference = f"credit:{next(numbers)}"
        for _ in range(1 + is_told_twice):
            ledger.credit(self.organization, amount_micros=amount, kind=EntryKind.CREDIT, reference=reference)
        self.balance += amount

    @rule(target=holds, amount=AMOUNTS)
    def reserve(self, amount: int) -> str:
        reference = f"work:{next(numbers)}"
        if self.balance - self.held >= amount:
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)
            self.amounts[reference], self.states[reference] = amount, HoldState.OPEN
        else:
            with pytest.raises(PaymentRequired) as caught:
                ledger.reserve(self.organization, amount_micros=amount, reference=reference)
            assert caught.value.data["available_micros"] == self.balance - self.held
        return reference

    @rule(reference=holds, amount=AMOUNTS)
    def reserve_again(self, reference: str, amount: int) -> None:
        state = self.states.get(reference)
        if state is None:
            return
        if state == HoldState.OPEN and amount <= self.amounts[reference]:
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)
            return
        with pytest.raises((ledger.ReferenceReused, ledger.HoldSettled, ledger.HoldReleased)):
            ledger.reserve(self.organization, amount_micros=amount, reference=reference)

    @rule(reference=holds, amount=AMOUNTS)
    def extend(self, reference: str, amount: int) -> None:
        state = self.states.get(reference)
        if state is None:
            return
        hold = Hold.objects.get(reference=reference)
        if state != HoldState.OPEN:
            with pytest.raises(_closed(state)):
                ledger.extend(hold, to_micros=amount)
        elif amount - self.amounts[reference] <= self.balance - self.held:
            ledger.extend(hold, to_micros=amount)
            self.amounts[reference] = max(amount, self.amounts[reference])
        else:
            with pytest.raises(PaymentRequired):
                ledger.extend(hold, to_micros=amount)

    @rule(reference=holds, amount=AMOUNTS)
    def settle(self, reference: str, amount: int) -> None:
        state = self.states.get(reference)
        if state is None:
            return
        hold = Hold.objects.get(reference=reference)
        price = min(amount, self.amounts[reference])
        if state == HoldState.OPEN:
            entry = ledger.settle(hold, actual_micros=amount)
            assert (-entry.amount_micros if entry else 0) == price
            self.states[reference], self.charged[reference] = HoldState.SETTLED, price
            self.balance -= price
        elif state == HoldState.SETTLED and self.charged[reference] == price:
            assert ledger.settle(hold, actual_micros=amount) is None
        else:
            with pytest.raises(_closed(state)):
                ledger.settle(hold, actual_micros=amount)

    @rule(reference=holds)
    def release(self, reference: str) -> None:
        state = self.states.get(reference)
        if state is None:
            return
        hold = Hold.objects.get(reference=reference)
        if state == HoldState.SETTLED:
            with pytest.raises(ledger.HoldSettled):
                ledger.release(hold)
            return
        assert ledger.release(hold) is (state == HoldState.OPEN)
        self.states[reference] = HoldState.RELEASED

    @invariant()
    def the_books_agree(self) -> None:
        wallet = Wallet.objects.get(pk=self.wallet.pk)
        assert (wallet.balance_micros, wallet.held_micros) == (self.balance, self.held)
        assert 0 <= wallet.held_micros <= wallet.balance_micros
        assert ledger.verify(wallet) == []

    def teardown(self) -> None:
        usage = Entry.objects.of(self.organization).filter(kind=EntryKind.USAGE)
        charged = {reference: -price for reference, price in self.charged.items() if price}
        assert dict(usage.values_list("reference", "amount_micros")) == charged


def _closed(state: HoldState) -> type[Exception]:
    return ledger.HoldSettled if state == HoldState.SETTLED else ledger.HoldReleased


@pytest.mark.django_db
def test_any_interleaving_keeps_the_books_right() -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
