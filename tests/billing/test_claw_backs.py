"""What the ledger takes back for refunds and disputes of one payment together, and what it restores."""

import pytest

from accounts.models import Organization
from billing import ledger, stripe_mapping, topups
from billing.models import Entry, EntryKind, Wallet
from billing.models.payments import TopUp, UnmatchedEvent
from billing.models.reversals import Refund, RefundState
from tests.billing.conftest import balance_of, money_of, spend
from tests.billing.stripe_objects import (
    REINSTATED,
    WITHDRAWN,
    dispute_of,
    make_paid_topup,
    make_topup,
    refund_of,
    session_of,
    tell,
)


@pytest.fixture
def paid(acme: Organization) -> TopUp:
    """$200, which brought $10."""
    return make_paid_topup(acme)


def test_refund_takes_the_bonus_with_it(paid: TopUp, acme: Organization) -> None:
    assert tell("refund.created", refund_of(paid, 5_000)) == 200
    assert money_of(acme) == (157_500_000, 0)
    entry = Entry.objects.get(kind=EntryKind.REFUND)
    assert (entry.amount_micros, entry.reference) == (-52_500_000, "refund:re_1")


def test_small_refunds_take_together_what_one_large_does(acme: Organization) -> None:
    topup = make_topup(acme, 20_001)
    topups.fulfil(stripe_mapping.payment_of_checkout(session_of(topup)))
    for number in range(3):
        assert tell("refund.created", refund_of(topup, 6_667, stripe_id=f"re_{number}")) == 200
    assert money_of(acme) == (0, 0)
    assert list(ledger.verify(Wallet.objects.get())) == []


def test_failed_refund_gives_exactly_back(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 5_000, status="pending"))
    assert tell("refund.failed", refund_of(paid, 5_000, status="failed", failure_reason="lost_or_stolen_card")) == 200
    assert tell("refund.failed", refund_of(paid, 5_000, status="failed")) == 200
    assert money_of(acme) == (210_000_000, 0)
    assert Refund.objects.get().state == RefundState.FAILED


def test_refund_of_spent_money_leaves_a_debt_that_the_next_payment_pays(paid: TopUp, acme: Organization) -> None:
    spend(acme, 200_000_000)
    assert tell("refund.created", refund_of(paid, 20_000)) == 200
    wallet = Wallet.objects.get()
    assert (wallet.balance_micros, wallet.is_frozen) == (-200_000_000, True)
    topups.fulfil(stripe_mapping.payment_of_checkout(session_of(make_topup(acme, 50_000))))
    wallet.refresh_from_db()
    assert (wallet.balance_micros, wallet.is_frozen) == (350_000_000, False)


def test_money_that_expired_is_given_back_for_a_refund_and_not_owed(paid: TopUp, acme: Organization) -> None:
    spend(acme, 10_000_000)
    wallet = Wallet.objects.get()
    assert ledger.expire(acme, inactive_since=wallet.last_activity_at)
    assert money_of(acme) == (0, 0)
    # $200 expired. The first half of the refund uses $105 of them, the second half the remaining $95.
    assert tell("refund.created", refund_of(paid, 10_000)) == 200
    assert money_of(acme) == (0, 0)
    assert tell("refund.created", refund_of(paid, 10_000, stripe_id="re_2")) == 200
    wallet.refresh_from_db()
    assert (wallet.balance_micros, wallet.is_frozen) == (-10_000_000, True)


def test_more_refunded_than_paid_takes_no_more_than_was_given(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 20_000))
    assert tell("refund.created", refund_of(paid, 5_000, stripe_id="re_2")) == 200
    assert money_of(acme) == (0, 0)
    assert UnmatchedEvent.objects.get().reason == "returned_more_than_paid"
    # The first refund fails. The second now takes what it did not take before.
    assert tell("refund.failed", refund_of(paid, 20_000, status="failed")) == 200
    assert money_of(acme) == (157_500_000, 0)
    assert tell("refund.failed", refund_of(paid, 5_000, stripe_id="re_2", status="failed")) == 200
    assert money_of(acme) == (210_000_000, 0)


def test_dispute_after_a_full_refund_takes_nothing_but_freezes(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 20_000))
    assert tell(WITHDRAWN, dispute_of(paid, 20_000)) == 200
    assert balance_of(acme) == (0, True)
    assert UnmatchedEvent.objects.get().reason == "returned_more_than_paid"
    # The refund fails. Now the dispute takes the money.
    tell("refund.failed", refund_of(paid, 20_000, status="failed"))
    assert balance_of(acme) == (0, True)
    tell(REINSTATED, dispute_of(paid, 20_000))
    assert balance_of(acme) == (210_000_000, False)


def test_dispute_of_the_rest_after_a_partial_refund(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 5_000))
    tell(WITHDRAWN, dispute_of(paid, 15_000))
    assert balance_of(acme) == (0, True)
    tell(REINSTATED, dispute_of(paid, 15_000))
    assert money_of(acme) == (157_500_000, 0)


def test_refund_during_a_dispute_takes_its_part_when_the_dispute_is_reinstated(paid: TopUp, acme: Organization) -> None:
    """The example in the docstring of `claw_backs`."""
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    assert balance_of(acme) == (0, True)
    tell("refund.created", refund_of(paid, 2_000))
    assert balance_of(acme) == (0, True)
    tell(REINSTATED, dispute_of(paid, 20_000))
    assert balance_of(acme) == (189_000_000, False)
