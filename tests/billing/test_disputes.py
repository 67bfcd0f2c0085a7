import pytest

from accounts.errors import PaymentRequired
from accounts.models import Organization
from billing import ledger, stripe_mapping, topups
from billing.models import Entry, EntryKind
from billing.models.payments import TopUp, UnmatchedEvent
from billing.models.reversals import Dispute
from tests.billing.conftest import balance_of, fund, spend
from tests.billing.stripe_objects import (
    REINSTATED,
    WITHDRAWN,
    deliver,
    dispute_of,
    event_of,
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


def test_dispute_moves_nothing_until_the_money_is_withdrawn(paid: TopUp, acme: Organization) -> None:
    assert tell("charge.dispute.created", dispute_of(paid, 20_000)) == 200
    assert balance_of(acme) == (210_000_000, False)
    assert Dispute.objects.get().reason == "fraudulent"


def test_withdrawal_takes_all_and_freezes(paid: TopUp, acme: Organization) -> None:
    fund(acme, 5_000_000)
    assert tell(WITHDRAWN, dispute_of(paid, 20_000)) == 200
    assert balance_of(acme) == (5_000_000, True)
    with pytest.raises(PaymentRequired):
        ledger.reserve(acme, amount_micros=1, reference="job:2")


def test_withdrawal_of_spent_money_leaves_a_debt(paid: TopUp, acme: Organization) -> None:
    spend(acme, 150_000_000)
    assert tell(WITHDRAWN, dispute_of(paid, 20_000)) == 200
    assert balance_of(acme) == (-150_000_000, True)


def test_late_share_of_a_closed_dispute_freezes_nothing(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 2_000))
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    dispute = Dispute.objects.get()
    # It is lost, and an operator lets the customer go on.
    assert ledger.thaw(acme, reason=dispute.reference)
    assert balance_of(acme) == (0, False)
    tell("refund.failed", refund_of(paid, 2_000, status="failed"))
    dispute.refresh_from_db()
    assert dispute.takes_count == 2
    assert balance_of(acme) == (0, False)


def test_late_share_of_an_open_dispute_stays_frozen_with_it(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 2_000))
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    tell("refund.failed", refund_of(paid, 2_000, status="failed"))
    assert balance_of(acme) == (0, True)
    tell(REINSTATED, dispute_of(paid, 20_000))
    assert balance_of(acme) == (210_000_000, False)


def test_reinstatement_restores_exactly_that(paid: TopUp, acme: Organization) -> None:
    spend(acme, 150_000_000)
    for kind in (WITHDRAWN, WITHDRAWN, REINSTATED, REINSTATED, WITHDRAWN):
        assert tell(kind, dispute_of(paid, 12_345)) == 200
    assert balance_of(acme) == (60_000_000, False)
    assert Entry.objects.filter(kind=EntryKind.DISPUTE).count() == 1
    assert Entry.objects.filter(kind=EntryKind.DISPUTE_REVERSAL).count() == 1


def test_reinstatement_before_the_withdrawal_is_sent_again(paid: TopUp, acme: Organization) -> None:
    event = event_of(REINSTATED, dispute_of(paid, 20_000))
    assert deliver(event) == 500
    assert tell(WITHDRAWN, dispute_of(paid, 20_000)) == 200
    assert deliver(event) == 200
    assert balance_of(acme) == (210_000_000, False)


@pytest.mark.parametrize("kind", [WITHDRAWN, REINSTATED, "charge.dispute.created"])
def test_dispute_before_its_topup_is_sent_again(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    assert tell(kind, dispute_of(topup, 20_000)) == 500
    assert not Dispute.objects.exists()


def test_lost_dispute_stays(paid: TopUp, acme: Organization) -> None:
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    assert tell("charge.dispute.closed", dispute_of(paid, 20_000, status="lost")) == 200
    # The first event arrives again, late.
    assert tell("charge.dispute.created", dispute_of(paid, 20_000)) == 200
    assert balance_of(acme) == (0, True)
    assert Dispute.objects.get().status == "lost"


def test_two_disputes_freeze_until_both_are_reinstated(paid: TopUp, acme: Organization) -> None:
    other = topups.fulfil(stripe_mapping.payment_of_checkout(session_of(make_topup(acme, 1_000))))
    assert other is not None
    tell(WITHDRAWN, dispute_of(paid, 20_000))
    tell(WITHDRAWN, dispute_of(other, 1_000, stripe_id="dp_2"))
    tell(REINSTATED, dispute_of(paid, 20_000))
    assert balance_of(acme) == (210_000_000, True)
    tell(REINSTATED, dispute_of(other, 1_000, stripe_id="dp_2"))
    assert balance_of(acme) == (220_000_000, False)


def test_dispute_in_another_currency_is_kept_for_an_operator(paid: TopUp, acme: Organization) -> None:
    assert tell(WITHDRAWN, dispute_of(paid, 20_000, currency="eur")) == 200
    assert UnmatchedEvent.objects.get().reason == "wrong_currency"
    assert balance_of(acme) == (210_000_000, False)


@pytest.mark.parametrize("kind", ["created", "funds_withdrawn", "funds_reinstated", "closed"])
def test_dispute_of_an_unmatched_payment_is_taken_note_of(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, amount_total=1)) == 200
    assert tell(f"charge.dispute.{kind}", dispute_of(topup, 1)) == 200
    assert UnmatchedEvent.objects.filter(subject="dispute", reason="of_parked_payment").count() == 1
    assert not Entry.objects.exists()
