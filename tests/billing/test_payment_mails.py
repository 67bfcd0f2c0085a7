"""Mails about payments and refunds: each owner who wants them gets one for each, and nobody a second one."""

from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from accounts.models import Organization, Role, User
from billing import payment_mails, periodic, refunds, stripe_mapping
from billing.models.payments import TopUp
from billing.models.reversals import Refund, RefundState
from tests.billing.stripe_objects import REINSTATED, WITHDRAWN, dispute_of, make_paid_topup, refund_of, tell


@pytest.fixture
def owner(acme: Organization) -> User:
    owner = User.objects.create_user("owner@example.com")
    acme.memberships.create(user=owner, role=Role.OWNER)
    return owner


@pytest.fixture
def second(acme: Organization, owner: User) -> User:
    second = User.objects.create_user("second@example.com")
    acme.memberships.create(user=second, role=Role.OWNER)
    return second


@pytest.fixture
def paid(acme: Organization, owner: User) -> TopUp:
    """$200, which brought $10."""
    return make_paid_topup(acme)


def refund(topup: TopUp, *, cents: int, state: RefundState = RefundState.SUCCEEDED, **fields: Any) -> Refund:
    values = {"ended_at": timezone.now(), "reference": f"refund:{cents}", **fields}
    return Refund.objects.create(topup=topup, amount_cents=cents, state=state, **values)


def test_owners_hear_once_of_a_payment_with_its_bonus(paid: TopUp, acme: Organization) -> None:
    for _ in range(2):
        periodic.tell_of_payments()
    (sent,) = mail.outbox
    assert sent.subject == f"$200.00 paid for {acme.name}"
    assert sent.to == ["owner@example.com"]
    assert f"{acme.name} paid $200.00 by a top-up on" in sent.body
    assert "with a bonus of $10.00" in sent.body
    assert f"Open the billing page:\nhttp://localhost:8000/o/{acme.pk}/billing/" in sent.body


def test_owners_hear_once_of_each_refund(paid: TopUp, acme: Organization) -> None:
    periodic.tell_of_payments()
    mail.outbox.clear()
    refund(paid, cents=5_000)
    refund(paid, cents=2_000)
    for state in (RefundState.REQUESTED, RefundState.PENDING, RefundState.FAILED):
        refund(paid, cents=len(state), state=state)
    for _ in range(2):
        periodic.tell_of_payments()
    assert [one.subject for one in mail.outbox] == [f"{sum_} refunded to {acme.name}" for sum_ in ("$50.00", "$20.00")]
    assert "$50.00 of the payment of $200.00 on" in mail.outbox[0].body


def test_refund_that_stripe_reports_again_and_again_is_one_mail(paid: TopUp, acme: Organization) -> None:
    periodic.tell_of_payments()
    mail.outbox.clear()
    refund(paid, cents=5_000, state=RefundState.PENDING, stripe_id="re_1", ended_at=None)
    for status in ("pending", "succeeded", "succeeded", "succeeded", "pending"):
        refunds.record(stripe_mapping.refund(refund_of(paid, 5_000, status=status)))
        periodic.tell_of_payments()
    assert [one.subject for one in mail.outbox] == [f"$50.00 refunded to {acme.name}"]


def test_refund_of_the_dashboard_that_arrives_as_done_is_told(paid: TopUp, acme: Organization) -> None:
    periodic.tell_of_payments()
    mail.outbox.clear()
    for _ in range(4):
        refunds.record(stripe_mapping.refund(refund_of(paid, 5_000)))
        periodic.tell_of_payments()
    assert [one.subject for one in mail.outbox] == [f"$50.00 refunded to {acme.name}"]


@pytest.mark.parametrize(("field", "count"), [("has_paid_mail", 0), ("has_refunded_mail", 1), ("has_disputed_mail", 2)])
def test_owner_who_wants_no_such_mail_gets_none_and_others_do(
    paid: TopUp, owner: User, second: User, field: str, count: int
) -> None:
    setattr(owner, field, False)
    owner.save()
    periodic.tell_of_payments()
    refund(paid, cents=5_000)
    periodic.tell_of_payments()
    tell(WITHDRAWN, dispute_of(paid, 10_000))
    periodic.tell_of_disputes()
    both, one = ["owner@example.com", "second@example.com"], ["second@example.com"]
    assert [sent.to for sent in mail.outbox] == [one if at == count else both for at in range(3)]


def test_mail_that_no_owner_wants_is_never_sent_later(paid: TopUp, owner: User) -> None:
    User.objects.update(has_paid_mail=False, has_disputed_mail=False)
    for kind in (WITHDRAWN, REINSTATED):
        tell(kind, dispute_of(paid, 10_000))
    periodic.tell_of_payments()
    periodic.tell_of_disputes()
    User.objects.update(has_paid_mail=True, has_disputed_mail=True)
    periodic.tell_of_payments()
    periodic.tell_of_disputes()
    # A mail to nobody is one that no transport sends.
    assert [sent.to for sent in mail.outbox if sent.to] == []


def test_old_payments_are_not_dug_up(paid: TopUp) -> None:
    """When this duty comes to a site for the first time, its payments are known."""
    old = timezone.now() - payment_mails.NOTIFY_WITHIN - timedelta(minutes=1)
    TopUp.objects.update(paid_at=old)
    Refund.objects.filter(pk=refund(paid, cents=5_000).pk).update(ended_at=old)
    periodic.tell_of_payments()
    assert mail.outbox == []
