"""Fast path of reserve and settle: the usual case in SQL, or FastPathUnavailable and nothing done.

It exists for speed only (docs/decisions/0020). A caller for whom it is not available takes the path under the lock in
`holds`, which handles every case and gives the reason of a refusal.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from django.db import IntegrityError, connection, transaction

from billing.ledger import fast_path_postgresql, fast_path_sqlite
from billing.ledger.fast_path_sql import FastPathUnavailable
from billing.models import Entry, Hold, HoldState

__all__ = ["FastPathUnavailable", "all_or_nothing", "reserve", "settle"]


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID) -> None:
    """Admit and write holds of one organization, key and month, all or none. Gives each its wallet and its id.

    Raises FastPathUnavailable, also for holds of a token, which count for one limit more. Or raises IntegrityError: on
    PostgreSQL also for a limit or the first hold of a month, on both if a reference was used before.
    """
    _require_no_token(holds)
    with all_or_nothing():
        (fast_path_postgresql if _is_postgresql() else fast_path_sqlite).reserve(holds, organization_id=organization_id)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, all or none.

    pairs: (hold, its usage entry); each charge is more than zero and at most its hold.
    Raises FastPathUnavailable, or IntegrityError.
    """
    _require_no_token([hold for hold, _ in pairs])
    with all_or_nothing():
        (fast_path_postgresql if _is_postgresql() else fast_path_sqlite).settle(pairs, now=now)
    for hold, entry in pairs:
        hold.state, hold.charged_micros, hold.closed_at = HoldState.SETTLED, -entry.amount_micros, now


def _require_no_token(holds: Sequence[Hold]) -> None:
    if any(hold.token_id is not None for hold in holds):
        raise FastPathUnavailable


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


@contextmanager
def all_or_nothing() -> Iterator[None]:
    """Undo what was begun when the block fails. For the ledger alone.

    On PostgreSQL the block is one statement, which outside a transaction needs no BEGIN and COMMIT to be atomic.
    """
    if not _is_postgresql():
        with transaction.atomic():
            yield
        return
    try:
        if connection.in_atomic_block or not connection.get_autocommit():
            with transaction.atomic():
                yield
        else:
            yield
    except IntegrityError:
        fast_path_postgresql.forget_prepared_statements()
        raise
