"""The statements for several wallets: which rows they read, and which ones the server keeps prepared."""

from contextlib import ExitStack
from typing import Any

import pytest
from django.db import connection, transaction

from accounts.models import Organization
from billing import ledger
from billing.ledger import many_wallets_postgresql
from tests.billing.conftest import fund, money_of
from tests.billing.ledger.test_fast_path_postgresql import prepared, rows_read
from tests.billing.ledger.test_many_wallets import key_of, reserve, settle, wanted

pytestmark = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL only")
# Not the wallets: of a few dozen the planner reads all, which is one page.
TABLES = ("billing_monthlyspend", "billing_hold")


def read() -> dict[str, int]:
    return {table: rows_read(table) for table in TABLES}


def test_no_rows_of_other_wallets_are_read(acme: Organization, rival: Organization) -> None:
    """Even while the server has no statistics of the month, as in the first minute of each month."""
    for number in range(60):
        other = Organization.objects.create(name=f"Other {number}")
        fund(other, 1_000)
        ledger.reserve(other, amount_micros=1, reference=f"other:{number}")
    fund(acme, 1_000)
    fund(rival, 1_000)
    keys = [key_of(acme), key_of(rival)]
    before = read()
    holds = [each[0] for each in reserve(*(wanted(key, 100) for key in keys)) if each is not None]
    assert settle(*(ledger.Charge(hold, actual_micros=40, description="chat") for hold in holds)) == [True, True]
    after = read()
    # Two wallets with a hold, a month of their organization and one of their key, each looked at a few times.
    assert all(after[table] - before[table] <= 24 for table in TABLES), (before, after)
    assert money_of(acme) == money_of(rival) == (960, 0)
    before = read()
    assert reserve(wanted(keys[0], 100, name="alone")) != [None]
    after = read()
    # One hold, and its month of the organization and of the key.
    assert all(after[table] - before[table] <= 6 for table in TABLES), (before, after)


def test_statements_stay_prepared_whatever_the_number_of_wallets(acme: Organization, rival: Organization) -> None:
    fund(acme, 1_000)
    fund(rival, 1_000)
    keys = [key_of(acme), key_of(rival)]
    before = prepared()
    for number, of_turn in enumerate((keys, keys[:1], keys[1:], keys)):
        made = reserve(*(wanted(key, 10, name=f"{number}:{key.pk}") for key in of_turn))
        charges = [ledger.Charge(each[0], actual_micros=10, description="chat") for each in made if each is not None]
        assert all(settle(*charges))
    # Of one wallet and of several, and of all charges.
    assert prepared() - before == 3


@pytest.mark.django_db(transaction=True)
def test_refused_statements_leave_nothing_prepared(acme: Organization) -> None:
    """Otherwise a customer who goes on asking beyond a limit would fill the server's memory."""
    fund(acme, 1_000)
    key = key_of(acme, monthly_limit_micros=1)
    connection.close()
    for number in range(5):
        assert reserve(wanted(key, 2, name=f"{number}")) == [None]
    assert prepared() == 0


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("is_alone", [True, False])
def test_only_a_statement_that_is_alone_does_not_wait_for_the_disk(acme: Organization, is_alone: bool) -> None:
    """What else is in a transaction of the caller may have to."""
    fund(acme, 1_000)
    key = key_of(acme)
    told = []
    execute = many_wallets_postgresql.execute

    def tell(statement: str, values: dict[str, Any]) -> list[Any]:
        rows = execute(statement, values)
        told.extend(row[3] for row in rows)
        return rows

    with pytest.MonkeyPatch.context() as patch, ExitStack() as opened:
        patch.setattr(many_wallets_postgresql, "execute", tell)
        if not is_alone:
            opened.enter_context(transaction.atomic())
        assert reserve(wanted(key, 10)) != [None]
        with connection.cursor() as cursor:
            cursor.execute("SHOW synchronous_commit")
            assert cursor.fetchone() == ("on",)
    assert told == (["off"] if is_alone else [None])
