"""The two statements on PostgreSQL: which ones the server keeps prepared, and which rows they read."""

import pytest
from django.db import connection

from accounts import api_keys
from accounts.models import Organization
from billing import ledger
from tests.billing.conftest import fund, money_of

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL only")


def prepared() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_prepared_statements")
        return int(cursor.fetchone()[0])


def refuse(organization: Organization) -> None:
    key = api_keys.issue(organization, name="capped", by=None, monthly_limit_micros=1)[0]
    for number in range(5):
        with pytest.raises(ledger.SpendLimitReached):
            ledger.reserve(organization, amount_micros=2, reference=f"job:{number}", api_key=key)


def test_refusals_leave_nothing_prepared_at_the_server(acme: Organization) -> None:
    """Otherwise a customer who goes on asking beyond a limit would fill the server's memory."""
    fund(acme, 1_000)
    refuse(acme)
    assert prepared() == 0


@pytest.mark.django_db(transaction=True)
def test_refusals_outside_a_transaction_leave_nothing_prepared_either(acme: Organization) -> None:
    fund(acme, 1_000)
    refuse(acme)
    assert prepared() == 0


@pytest.mark.django_db(transaction=True)
def test_first_holds_of_a_month_let_the_connection_work_on(acme: Organization, rival: Organization) -> None:
    """The fast path fails for each first hold, and outside a transaction nothing but its statement is rolled back.

    A client that still used the name of a statement that the server has dropped would fail for every later hold.
    """
    other = Organization.objects.create(name="Other")
    for organization in (acme, rival, other):
        fund(organization, 1_000)
        for number in range(2):
            hold = ledger.reserve(organization, amount_micros=2, reference=f"job:{organization.pk}:{number}")
            ledger.settle(hold, actual_micros=1)
        assert money_of(organization) == (998, 0)


def test_what_is_admitted_stays_prepared(acme: Organization) -> None:
    """Otherwise each reservation would be planned again, which takes longer than its work."""
    fund(acme, 1_000)
    ledger.release(ledger.reserve(acme, amount_micros=0, reference="the month's row"))
    for number in range(3):
        ledger.settle(ledger.reserve(acme, amount_micros=2, reference=f"job:{number}"), actual_micros=2)
    assert prepared() == 2


def rows_read(table: str) -> int:
    """Return how many rows of a table this transaction has read so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = %s", [table])
        return int(cursor.fetchone()[0])


@pytest.mark.parametrize("actual_micros", [10, 4], ids=["whole", "part"])
def test_a_charge_reads_no_rows_of_other_wallets(acme: Organization, actual_micros: int) -> None:
    """Even while the server has no statistics of the month, as in the first minute of each month."""
    for number in range(30):
        other = Organization.objects.create(name=f"Other {number}")
        fund(other, 1_000)
        ledger.reserve(other, amount_micros=1, reference=f"other:{number}")
    fund(acme, 1_000)
    key = api_keys.issue(acme, name="capped", by=None, monthly_limit_micros=1_000)[0]
    ledger.release(ledger.reserve(acme, amount_micros=0, reference="the month's rows", api_key=key))
    before = rows_read("billing_monthlyspend")
    hold = ledger.reserve(acme, amount_micros=10, reference="job:1", api_key=key)
    ledger.settle(hold, actual_micros=actual_micros)
    # Each verb reads the month of the organization and that of the key.
    assert rows_read("billing_monthlyspend") - before <= 4
