"""What the SQL of the fast path says of limits is what the models say. The rest runs in test_fast_path."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from accounts import api_keys
from accounts.models import ApiKey
from billing import ledger
from billing.ledger import fast_path_sql
from billing.models import Wallet

NOW = datetime(2026, 4, 19, 18, tzinfo=UTC)


def limit_in_sql(statement, row, *, now):
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {statement}",
            {
                "now": connection.ops.adapt_datetimefield_value(now),
                "key": row._meta.pk.get_db_prep_value(row.pk, connection),
                "wallet": row.pk,
            },
        )
        return cursor.fetchone()[0]


@pytest.mark.parametrize("limit", [None, 0, 10])
@pytest.mark.parametrize("until", [None, -timedelta(microseconds=1), timedelta(0), timedelta(microseconds=1)])
def test_limit_that_counts_now_is_the_models(organization, limit, until):
    key, _ = api_keys.issue(organization, name="server", by=None)
    wallet = ledger.wallet_of(organization)
    for model, row, statement in (
        (ApiKey, key, fast_path_sql.LIMIT_OF_KEY),
        (Wallet, wallet, fast_path_sql.LIMIT_OF_WALLET),
    ):
        is_raised = limit is not None and until is not None
        model.objects.filter(pk=row.pk).update(
            monthly_limit_micros=limit,
            raised_limit_micros=15 if is_raised else None,
            raised_until=NOW + until if is_raised else None,
        )
        row.refresh_from_db()
        assert limit_in_sql(statement, row, now=NOW) == row.limit_at(NOW)
