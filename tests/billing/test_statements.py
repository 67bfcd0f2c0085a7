from datetime import UTC, datetime, timedelta

import time_machine
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from accounts.models import Organization
from billing import ledger, statements
from billing.models import EntryKind, Wallet
from tests.billing.conftest import fund
from tests.billing.stripe_objects import WITHDRAWN, dispute_of, make_paid_topup, refund_of, tell

NOON = datetime(2026, 4, 19, 12, 0, tzinfo=UTC)


def pay(organization: Organization, cents: int, *, number: int, bonus_cents: int = 0) -> None:
    reference = f"topup:{organization.pk}:{number}"
    ledger.credit(organization, amount_micros=cents * 10_000, kind=EntryKind.PAYMENT, reference=reference)
    if bonus_cents:
        ledger.credit(organization, amount_micros=bonus_cents * 10_000, kind=EntryKind.BONUS, reference=reference)


def use(organization: Organization, micros: int, *, number: int, description: str = "") -> None:
    hold = ledger.reserve(organization, amount_micros=micros, reference=f"job:{organization.pk}:{number}")
    ledger.settle(hold, actual_micros=micros, description=description)


def test_balance_of_who_never_had_any_is_zero_and_makes_no_wallet(acme: Organization) -> None:
    shown = statements.balance(acme)
    assert (shown.balance_cents, shown.balance_dollars, shown.recent_topups) == (0, "0.00", ())
    assert (shown.is_expired, shown.expires_at) == (False, None)
    assert not Wallet.objects.exists()


def test_balance_is_what_can_be_spent_rounded_down(acme: Organization) -> None:
    fund(acme, 100_000_000)
    ledger.reserve(acme, amount_micros=10_001, reference="job:1")
    shown = statements.balance(acme)
    assert (shown.balance_cents, shown.balance_dollars) == (9_998, "99.98")
    assert (shown.balance_micros, shown.held_micros, shown.available_micros) == (100_000_000, 10_001, 99_989_999)
    assert shown.held_cents == 2


def test_recent_topups_are_the_last_ten_payments_with_their_bonus(acme: Organization, rival: Organization) -> None:
    for number in range(11):
        with time_machine.travel(NOON + timedelta(hours=number), tick=False):
            pay(acme, 1_000 + number, number=number)
    with time_machine.travel(NOON + timedelta(days=1), tick=False):
        pay(acme, 20_000, number=99, bonus_cents=1_000)
        pay(rival, 5_000, number=99)
    fund(acme, 1)
    topups = statements.balance(acme).recent_topups
    assert len(topups) == 10
    assert topups[0] == statements.RecentTopUp(
        amount_cents=20_000, bonus_cents=1_000, created_at=NOON + timedelta(days=1)
    )
    assert [(topup.amount_cents, topup.bonus_cents) for topup in topups[1:]] == [
        (1_000 + number, 0) for number in range(10, 1, -1)
    ]


def test_recent_topups_are_without_what_was_returned(acme: Organization, rival: Organization) -> None:
    """Of three payments of $200 one was refunded by half, one is disputed, and the refund of one fails."""
    half, disputed, failed, other = (make_paid_topup(org) for org in (acme, acme, acme, rival))
    tell("refund.created", refund_of(half, 10_000))
    tell(WITHDRAWN, dispute_of(disputed, 20_000))
    tell("refund.created", refund_of(failed, 20_000, stripe_id="re_2", status="pending"))
    tell("refund.created", refund_of(other, 20_000, stripe_id="re_3"))
    assert [(topup.amount_cents, topup.bonus_cents) for topup in statements.balance(acme).recent_topups] == [
        (10_000, 500)
    ]
    tell("refund.failed", refund_of(failed, 20_000, stripe_id="re_2", status="failed"))
    assert [(topup.amount_cents, topup.bonus_cents) for topup in statements.balance(acme).recent_topups] == [
        (20_000, 1_000),
        (10_000, 500),
    ]
    assert statements.balance(rival).recent_topups == ()


def test_balance_takes_one_query_and_its_topups_four(
    acme: Organization, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    pay(acme, 20_000, number=1, bonus_cents=1_000)
    with django_assert_num_queries(1):
        shown = statements.balance(acme)
    with django_assert_num_queries(4):
        assert shown.recent_topups == shown.recent_topups != ()


def test_open_holds_are_those_of_work_under_way(acme: Organization, rival: Organization) -> None:
    fund(acme, 100)
    fund(rival, 100)
    open_hold = ledger.reserve(acme, amount_micros=1, reference="job:1")
    ledger.release(ledger.reserve(acme, amount_micros=1, reference="job:2"))
    ledger.reserve(rival, amount_micros=1, reference="job:3")
    assert statements.open_holds(acme) == [open_hold]


def test_spent_since_counts_usage_only(acme: Organization) -> None:
    fund(acme, 100)
    with time_machine.travel(NOON - timedelta(seconds=1), tick=False):
        use(acme, 7, number=1)
    with time_machine.travel(NOON, tick=False):
        use(acme, 5, number=2)
        use(acme, 3, number=3)
    assert statements.spent_since(acme, NOON) == 8
    assert statements.spent_since(acme, timezone.now() + timedelta(days=1)) == 0


def test_what_can_be_spent_is_without_the_held_money(acme: Organization) -> None:
    assert statements.available_micros(acme) == 0
    fund(acme, 100_000_000)
    ledger.reserve(acme, amount_micros=10_001, reference="job:1")
    assert statements.available_micros(acme) == 99_989_999
