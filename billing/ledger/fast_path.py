"""The usual case of the two verbs of every job and completion: all of it at once, or nothing and FastPathUnavailable.

The caller of a verb that was not done takes the way under the lock, which knows every case and says why.
"""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime

from django.db import IntegrityError, connection, transaction

from billing.ledger import fast_path_postgresql, fast_path_sqlite
from billing.ledger.fast_path_sqlite import FastPathUnavailable
from billing.models import Entry, Hold, HoldState

__all__ = ["FastPathUnavailable", "reserve", "settle"]


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID, savepoint: bool = True) -> None:
    """Admit and write holds of one organization, key and month, all or none. Gives each its wallet and its id.

    savepoint: False for a caller in a transaction that it undoes when this fails, which saves two trips.
    Raises FastPathUnavailable; IntegrityError if a reference was used before, and perhaps instead of the former.
    """
    with _undone_together() if savepoint else nullcontext():
        (fast_path_postgresql if _is_postgresql() else fast_path_sqlite).reserve(holds, organization_id=organization_id)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, all or none. Not for charges of zero.

    Raises FastPathUnavailable, or IntegrityError.
    """
    with _undone_together():
        (fast_path_postgresql if _is_postgresql() else fast_path_sqlite).settle(pairs, now=now)
    for hold, entry in pairs:
        hold.state, hold.charged_micros, hold.closed_at = HoldState.SETTLED, -entry.amount_micros, now


def _is_postgresql() -> bool:
    return connection.vendor == "postgresql"


@contextmanager
def _undone_together() -> Iterator[None]:
    """Undo what was begun when it fails. One statement in no transaction is one already: without BEGIN and COMMIT."""
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
        fast_path_postgresql.forget_plans()
        raise
