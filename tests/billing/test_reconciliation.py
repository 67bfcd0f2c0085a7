"""Each fault is made by writing past the ledger, and is reported."""

from typing import Any

import pytest
from django.db import connection

from accounts.models import Organization
from billing import ledger, reconciliation, stripe_mapping, topups
from billing.models import EntryKind
from billing.models.payments import TopUp, TopUpState
from billing.models.reversals import Dispute, Refund, RefundState
from tests.billing.stripe_objects import dispute_of, make_paid_topup, make_topup, refund_of, session_of, tell


@pytest.fixture
def paid(acme: Organization) -> TopUp:
    """$200, which brought $10."""
    topup = make_paid_topup(acme)
    make_topup(acme)
    tell("refund.created", refund_of(topup, 5_000))
    tell("charge.dispute.funds_withdrawn", dispute_of(topup, 5_000))
    tell("refund.created", refund_of(topup, 2_000, stripe_id="re_2"))
    tell("refund.failed", refund_of(topup, 2_000, stripe_id="re_2", status="failed"))
    assert list(reconciliation.faults()) == []
    return topup


def faults() -> str:
    """Return the report of the nightly check of the whole ledger."""
    return " ".join(ledger.faults())


@pytest.mark.long
def test_paid_topup_that_is_not_posted(paid: TopUp, acme: Organization) -> None:
    make_topup(acme, state=TopUpState.PAID, paid_at=paid.paid_at)
    assert "is paid: its payment should be" in faults()


@pytest.mark.long
def test_posted_topup_that_is_not_paid(paid: TopUp) -> None:
    TopUp.objects.filter(pk=paid.pk).update(state=TopUpState.PENDING, paid_at=None)
    assert "is pending: its payment should be None" in faults()
    assert "which is no paid top-up" in faults()


@pytest.mark.long
def test_topup_with_another_bonus(paid: TopUp) -> None:
    TopUp.objects.filter(pk=paid.pk).update(bonus_cents=999)
    assert "its bonus should be" in faults()


@pytest.mark.long
def test_topup_of_another_organization(paid: TopUp, rival: Organization) -> None:
    TopUp.objects.filter(pk=paid.pk).update(organization=rival)
    assert "its payment should be" in faults()


@pytest.mark.long
def test_payment_without_a_topup(paid: TopUp, acme: Organization) -> None:
    for reference in ("topup:9f4c2f54-6a1e-4a8e-9f7e-0d4f5b1c7a11", "topup:1", f"topup:{'x' * 36}"):
        ledger.credit(acme, amount_micros=5, kind=EntryKind.PAYMENT, reference=reference)
        assert f"a payment for {reference}, which is no paid top-up" in faults()


@pytest.mark.long
def test_refund_that_the_ledger_does_not_have(paid: TopUp) -> None:
    Refund.objects.create(
        topup=paid, stripe_id="re_3", reference="refund:re_3", amount_cents=100, state=RefundState.PENDING
    )
    assert f"Of top-up {paid.pk} the ledger should take back" in faults()


@pytest.mark.long
def test_failed_refund_that_still_has_the_money(paid: TopUp) -> None:
    Refund.objects.filter(stripe_id="re_1").update(state=RefundState.FAILED)
    assert "took 0; the ledger has 52500000 for it" in faults()


@pytest.mark.long
def test_dispute_that_says_another_amount(paid: TopUp) -> None:
    Dispute.objects.update(clawed_micros=1)
    assert "took 1; the ledger has 52500000 for it" in faults()


def test_payment_that_comes_while_the_ledger_is_read_is_no_fault(acme: Organization) -> None:
    topup = make_topup(acme)
    is_paid = []

    def pay_before_the_book_is_read(execute: Any, sql: str, *args: Any) -> Any:
        if not is_paid and 'FROM "billing_entry"' in sql:
            is_paid.append(True)
            topups.fulfil(stripe_mapping.payment_of_checkout(session_of(topup)))
        return execute(sql, *args)

    with connection.execute_wrapper(pay_before_the_book_is_read):
        assert list(reconciliation.faults()) == []
    assert is_paid


@pytest.mark.long
def test_refund_that_comes_between_two_questions_is_no_fault(paid: TopUp) -> None:
    is_refunded = []

    def refund_between(execute: Any, sql: str, *args: Any) -> Any:
        if not is_refunded and 'FROM "billing_dispute"' in sql:
            is_refunded.append(True)
            tell("refund.created", refund_of(paid, 1_000, stripe_id="re_3"))
        return execute(sql, *args)

    with connection.execute_wrapper(refund_between):
        assert list(reconciliation.faults()) == []
    assert is_refunded
