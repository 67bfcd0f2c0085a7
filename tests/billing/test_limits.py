"""What pages show of a monthly limit agrees with what the ledger enforces."""

from datetime import UTC, datetime

import pytest
import time_machine

from accounts import api_keys
from accounts.models import Organization
from billing import ledger, limits
from tests.billing.conftest import fund

NOVEMBER = datetime(2026, 11, 20, 12, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def frozen() -> object:
    with time_machine.travel(NOVEMBER, tick=False):
        yield


def figures(organization: Organization) -> tuple[int | None, int, int | None]:
    standing = limits.organization_standing(organization)
    return standing.limit_micros, standing.spent_micros, standing.left_micros


def test_organization_without_a_wallet_has_spent_nothing(acme: Organization) -> None:
    assert figures(acme) == (None, 0, None)


def test_what_is_left_can_be_reserved_and_not_a_micro_more(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.set_monthly_limit(acme, limit_micros=100)
    ledger.settle(ledger.reserve(acme, amount_micros=50, reference="job:1"), actual_micros=30)
    ledger.reserve(acme, amount_micros=20, reference="job:2")
    assert figures(acme) == (100, 50, 50)
    with pytest.raises(ledger.SpendLimitReached):
        ledger.reserve(acme, amount_micros=51, reference="job:3")
    ledger.reserve(acme, amount_micros=50, reference="job:3")
    assert figures(acme) == (100, 100, 0)


def test_released_work_does_not_count(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.set_monthly_limit(acme, limit_micros=100)
    ledger.release(ledger.reserve(acme, amount_micros=100, reference="job:1"))
    assert figures(acme) == (100, 0, 100)


def test_limit_below_what_was_spent_leaves_nothing_and_no_debt(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.reserve(acme, amount_micros=70, reference="job:1")
    ledger.set_monthly_limit(acme, limit_micros=50)
    assert figures(acme) == (50, 70, 0)


def test_limit_of_nothing_is_a_limit(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.set_monthly_limit(acme, limit_micros=0)
    assert figures(acme) == (0, 0, 0)


def test_spending_of_keys_counts_once_and_their_limits_are_their_own(acme: Organization) -> None:
    fund(acme, 1_000)
    key, _ = api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=40)
    ledger.reserve(acme, amount_micros=30, reference="job:1", api_key=key)
    ledger.reserve(acme, amount_micros=20, reference="job:2")
    assert figures(acme) == (None, 50, None)


def test_another_organization_is_not_counted(acme: Organization, rival: Organization) -> None:
    for organization in (acme, rival):
        fund(organization, 1_000)
    ledger.set_monthly_limit(rival, limit_micros=100)
    ledger.reserve(rival, amount_micros=60, reference="job:1")
    assert figures(acme) == (None, 0, None)


def test_month_of_the_order_counts_even_if_the_work_ends_in_the_next(acme: Organization) -> None:
    fund(acme, 1_000)
    ledger.set_monthly_limit(acme, limit_micros=100)
    hold = ledger.reserve(acme, amount_micros=60, reference="job:1")
    with time_machine.travel(datetime(2026, 12, 1, tzinfo=UTC), tick=False):
        assert figures(acme) == (100, 0, 100)
        ledger.settle(hold, actual_micros=60)
        assert figures(acme) == (100, 0, 100)
    assert figures(acme) == (100, 60, 40)


@pytest.mark.parametrize(
    ("now", "resets_at"),
    [
        (datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC), JANUARY),
        (JANUARY, datetime(2027, 2, 1, tzinfo=UTC)),
    ],
)
def test_limit_resets_at_midnight_utc_of_the_next_month(acme: Organization, now: datetime, resets_at: datetime) -> None:
    with time_machine.travel(now, tick=False):
        assert limits.organization_standing(acme).resets_at == resets_at
