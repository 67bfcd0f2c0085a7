"""Refunds as Stripe reports them. test_refund_requests has those that are requested here."""

import pytest

from accounts.models import Organization
from billing.models import Entry
from billing.models.payments import TopUp, UnmatchedEvent
from billing.models.reversals import Refund, RefundState
from tests.billing.conftest import money_of
from tests.billing.stripe_objects import deliver, event_of, make_paid_topup, make_topup, refund_of, session_of, tell


@pytest.fixture
def paid(acme: Organization) -> TopUp:
    """$200, which brought $10."""
    return make_paid_topup(acme)


def test_refund_is_recorded_once_whatever_reports_it(paid: TopUp, acme: Organization) -> None:
    for kind in ("refund.created", "refund.updated", "charge.refund.updated", "refund.updated"):
        assert tell(kind, refund_of(paid, 5_000)) == 200
    assert money_of(acme) == (157_500_000, 0)
    assert Refund.objects.get().state == RefundState.SUCCEEDED


def test_refund_before_its_topup_is_sent_again(acme: Organization) -> None:
    topup = make_topup(acme)
    event = event_of("refund.created", refund_of(topup, 5_000))
    assert deliver(event) == 500
    assert not Refund.objects.exists()
    assert tell("checkout.session.completed", session_of(topup)) == 200
    assert deliver(event) == 200
    assert money_of(acme) == (157_500_000, 0)


def test_refund_that_succeeded_may_still_fail(paid: TopUp, acme: Organization) -> None:
    tell("refund.created", refund_of(paid, 5_000))
    assert tell("refund.failed", refund_of(paid, 5_000, status="failed")) == 200
    assert money_of(acme) == (210_000_000, 0)


@pytest.mark.parametrize("earlier", ["pending", "succeeded"])
def test_failure_is_final_also_when_it_comes_first(paid: TopUp, acme: Organization, earlier: str) -> None:
    assert tell("refund.failed", refund_of(paid, 5_000, status="failed")) == 200
    assert tell("refund.updated", refund_of(paid, 5_000, status=earlier)) == 200
    assert money_of(acme) == (210_000_000, 0)
    assert Refund.objects.get().state == RefundState.FAILED


def test_pending_after_success_is_old_news(paid: TopUp) -> None:
    tell("refund.updated", refund_of(paid, 5_000))
    assert tell("refund.created", refund_of(paid, 5_000, status="pending")) == 200
    assert Refund.objects.get().state == RefundState.SUCCEEDED


@pytest.mark.parametrize(
    ("changes", "reason"), [({"currency": "eur"}, "wrong_currency"), ({"amount": 5_001}, "wrong_amount")]
)
def test_refund_that_does_not_fit_is_kept_for_an_operator(
    paid: TopUp, acme: Organization, changes: dict[str, object], reason: str
) -> None:
    tell("refund.created", refund_of(paid, 5_000))
    assert tell("refund.updated", refund_of(paid, 5_000, **changes)) == 200
    assert UnmatchedEvent.objects.get().reason == reason
    assert money_of(acme) == (157_500_000, 0)


@pytest.mark.parametrize("kind", ["refund.created", "refund.updated", "refund.failed"])
def test_refund_of_an_unmatched_payment_is_taken_note_of(acme: Organization, kind: str) -> None:
    topup = make_topup(acme)
    assert tell("checkout.session.completed", session_of(topup, amount_total=1)) == 200
    # An operator gives the money back in Stripe's dashboard. Sent again for three days, it would come no righter.
    for _ in range(2):
        assert tell(kind, refund_of(topup, 1, status="failed" if kind == "refund.failed" else "succeeded")) == 200
    assert set(UnmatchedEvent.objects.values_list("subject", "reason")) == {
        ("checkout", "wrong_amount"),
        ("refund", "of_parked_payment"),
    }
    assert not Refund.objects.exists()
    assert not Entry.objects.exists()
