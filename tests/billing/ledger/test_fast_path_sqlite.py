"""The fast path on SQLite: a handful of plain statements, however many holds a batch has beside their rows."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Organization
from billing import ledger
from billing.ledger import fast_path_sql, fast_path_sqlite, holds
from billing.models import Entry, Hold
from tests.billing.conftest import fund, money_of

pytestmark = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite only")


@pytest.fixture
def funded(acme: Organization) -> Organization:
    fund(acme, 100)
    ledger.release(ledger.reserve(acme, amount_micros=0, reference="the month's row"))
    return acme


def unwritten(count: int, *, amount_micros: int = 1) -> list[Hold]:
    now = timezone.now()
    return [
        holds.build_hold(f"job:{number}", amount_micros=amount_micros, api_key=None, now=now) for number in range(count)
    ]


def charged(made: list[Hold]) -> list[tuple[Hold, Entry]]:
    now = timezone.now()
    return [
        (hold, holds.build_usage_entry(hold, actual_micros=1, description="", details=None, now=now)) for hold in made
    ]


def statements(queries: CaptureQueriesContext, *, table: str) -> int:
    return len([query for query in queries if table in query["sql"]])


@pytest.mark.parametrize("count", [1, 10])
def test_wallet_and_month_are_written_once_for_a_batch(funded: Organization, count: int) -> None:
    made = unwritten(count, amount_micros=2)
    with CaptureQueriesContext(connection) as queries:
        fast_path_sqlite.reserve(made, organization_id=funded.pk)
    assert [statements(queries, table=f"UPDATE {table}") for table in ("billing_wallet", "billing_monthlyspend")] == [
        1,
        1,
    ]
    pairs = charged(made)
    with CaptureQueriesContext(connection) as queries:
        fast_path_sqlite.settle(pairs, now=timezone.now())
    assert [statements(queries, table=f"UPDATE {table}") for table in ("billing_wallet", "billing_monthlyspend")] == [
        1,
        1,
    ]
    assert money_of(funded) == (100 - count, 0)


def test_money_that_is_missing_is_noticed_before_a_hold_is_written(funded: Organization) -> None:
    with CaptureQueriesContext(connection) as queries, pytest.raises(fast_path_sql.FastPathUnavailable):
        fast_path_sqlite.reserve(unwritten(2, amount_micros=51), organization_id=funded.pk)
    assert len(queries) == 1
    assert money_of(funded) == (100, 0)


def test_month_is_left_alone_if_nothing_of_a_hold_is_left(funded: Organization) -> None:
    made = unwritten(3)
    fast_path_sqlite.reserve(made, organization_id=funded.pk)
    with CaptureQueriesContext(connection) as queries:
        fast_path_sqlite.settle(charged(made), now=timezone.now())
    assert statements(queries, table="billing_monthlyspend") == 0
