"""The fast path of reserve and settle on SQLite: four or five plain statements each.

They are SQL because Django's ORM takes longer to build these UPDATEs than SQLite takes to run them
(docs/decisions/0020). Each function does everything or raises FastPathUnavailable; the caller's transaction then undoes
what was begun. Settings begin every transaction as IMMEDIATE, so no other process writes meanwhile.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from typing import Any

from django.db import connection

from billing.ledger import fast_path_sql as sql
from billing.models import Entry, Hold

WALLET = "SELECT id FROM billing_wallet WHERE organization_id = %(organization)s"
RESERVE_FROM_WALLET = sql.RESERVE_FROM_WALLET.format(rows=sql.OF_WALLET_OF_ORGANIZATION, **sql.ONE)
CHARGE_WALLET = sql.CHARGE_WALLET.format(rows=sql.OF_WALLET, **sql.ONE)
ADD_TO_MONTH_OF_ORGANIZATION = sql.ADD_TO_MONTH.format(
    rows=sql.OF_MONTH.format(wallet="%(wallet)s", whose=sql.OF_ORGANIZATION),
    limit=sql.LIMIT_OF_WALLET,
    **sql.ONE,
)
ADD_TO_MONTH_OF_KEY = sql.ADD_TO_MONTH.format(
    rows=sql.OF_MONTH.format(wallet="%(wallet)s", whose=sql.OF_KEY), limit=sql.LIMIT_OF_KEY, **sql.ONE
)
TAKE_FROM_MONTH = sql.TAKE_FROM_MONTH.format(
    rows=sql.OF_MONTH.format(wallet="%(wallet)s", whose=f"({sql.OF_ORGANIZATION} OR {sql.OF_KEY})"), **sql.ONE
)
CLOSE = """
UPDATE billing_hold SET state = 'settled', charged_micros = %(charged)s, closed_at = %(now)s
WHERE id = %(hold)s AND state = 'open' AND amount_micros = %(amount)s AND wallet_id = %(wallet)s"""
BALANCE = "SELECT balance_micros FROM billing_wallet WHERE id = %(wallet)s"


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID) -> None:
    """Reserve money for holds of one organization, key and month, and write them. Gives each its wallet and its id.

    Raises FastPathUnavailable, or IntegrityError.
    """
    first = holds[0]
    values: dict[str, Any] = {
        "organization": _uuid(organization_id),
        "key": _uuid(first.api_key_id),
        "month": _date(first.month),
        "now": _time(first.created_at),
        "total": sum(hold.amount_micros for hold in holds),
        "no_limit": sql.NO_LIMIT_MICROS,
    }
    _update_one(RESERVE_FROM_WALLET, values)
    values["wallet"] = wallet_id = _number(WALLET, values)
    _update_one(ADD_TO_MONTH_OF_ORGANIZATION, values)
    if first.api_key_id is not None:
        _update_one(ADD_TO_MONTH_OF_KEY, values)
    for hold in holds:
        hold.wallet_id = wallet_id
        hold.save(force_insert=True)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, in this order.

    pairs: (hold, its usage entry). Gives each entry the balance after it.
    Raises FastPathUnavailable, or IntegrityError: a constraint of the wallet may find a hold that was closed before.
    """
    first = pairs[0][0]
    held_micros = sum(hold.amount_micros for hold, _ in pairs)
    charged_micros = -sum(entry.amount_micros for _, entry in pairs)
    values: dict[str, Any] = {
        "wallet": first.wallet_id,
        "key": _uuid(first.api_key_id),
        "month": _date(first.month),
        "now": _time(now),
        "held": held_micros,
        "total": charged_micros,
        "unspent": held_micros - charged_micros,
    }
    _update_one(CHARGE_WALLET, values)
    for hold, entry in pairs:
        _update_one(CLOSE, {**values, "hold": hold.pk, "amount": hold.amount_micros, "charged": -entry.amount_micros})
    if held_micros > charged_micros:
        _update(TAKE_FROM_MONTH, values)
    # RETURNING would save this query, but it needs SQLite 3.35 and some systems have an older one.
    balance_micros = _number(BALANCE, values) + charged_micros
    for _, entry in pairs:
        balance_micros += entry.amount_micros
        entry.balance_after_micros = balance_micros
        entry.save(force_insert=True)


def _update(statement: str, values: Mapping[str, Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _update_one(statement: str, values: Mapping[str, Any]) -> None:
    if _update(statement, values) != 1:
        raise sql.FastPathUnavailable


def _number(statement: str, values: Mapping[str, Any]) -> int:
    """Return the only value of a row that must be there."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.fetchone()[0])


def _time(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def _date(day: date) -> Any:
    return connection.ops.adapt_datefield_value(day)


def _uuid(key: uuid.UUID | None) -> str | None:
    return None if key is None else key.hex
