"""Refunds and disputes: constraints, and when their money has left the balance."""

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from accounts.models import Organization
from billing.models.reversals import Dispute, Refund, RefundState
from tests.billing.stripe_objects import make_topup

NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture
def refund(acme: Organization) -> Refund:
    return Refund.objects.create(topup=make_topup(acme), reference="refund:1", amount_cents=500)


@pytest.fixture
def dispute(acme: Organization) -> Dispute:
    return Dispute.objects.create(stripe_id="dp_1", topup=make_topup(acme), amount_cents=500)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"amount_cents": 0}, "refund_amount_is_positive"),
        ({"clawed_micros": -1}, "refund_claw_back_is_not_negative"),
        ({"state": "lost"}, "refund_state_is_known"),
    ],
)
def test_impossible_refund_is_refused(refund: Refund, changes: dict[str, Any], constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Refund.objects.filter(pk=refund.pk).update(**changes)


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ({"amount_cents": 0}, "dispute_amount_is_positive"),
        ({"clawed_micros": -1}, "dispute_claw_back_is_not_negative"),
        ({"reinstated_at": NOW}, "dispute_is_reinstated_only_after_withdrawal"),
    ],
)
def test_impossible_dispute_is_refused(dispute: Dispute, changes: dict[str, Any], constraint: str) -> None:
    with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
        Dispute.objects.filter(pk=dispute.pk).update(**changes)


@pytest.mark.parametrize("state", RefundState)
def test_money_of_every_refund_but_a_failed_one_has_left(state: RefundState) -> None:
    assert Refund(state=state).is_live is (state != "failed")


def test_money_of_a_dispute_has_left_between_withdrawal_and_reinstatement() -> None:
    assert not Dispute(stripe_id="dp_1").is_live
    assert Dispute(stripe_id="dp_1", withdrawn_at=NOW).is_live
    assert not Dispute(stripe_id="dp_1", withdrawn_at=NOW, reinstated_at=NOW).is_live


def test_dispute_and_its_freeze_have_one_reference() -> None:
    assert Dispute(stripe_id="dp_1").reference == "dispute:dp_1"
