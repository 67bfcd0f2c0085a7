"""The two verbs of every job and completion on SQLite, in as few statements as they need: for the usual case only.

Written as SQL because the ORM's building of these UPDATEs cost more than the database's work on them (docs/benchmarks,
"ledger"). Each function does all of its deed or raises FastPathUnavailable: the caller then undoes what was begun
and takes the way under the lock, which knows every case and says why. On PostgreSQL each is one statement
(`fast_path_postgresql`).

What the statements mean is said in `wallets.save`, `monthly_spend` and `holds`.
"""

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from django.db import connection

from billing.models import Entry, Hold

# Above every amount, and far enough below the end of 64 bits to add to.
NO_LIMIT = 2**62
WALLET = "SELECT id FROM billing_wallet WHERE organization_id = %s"
ADMIT = """
UPDATE billing_wallet SET held_micros = held_micros + %s, last_activity_at = %s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros - %s THEN COALESCE(low_since, %s) END
WHERE id = %s AND frozen_at IS NULL AND balance_micros - held_micros >= %s"""
COUNT_ORGANIZATION = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros + %s
WHERE wallet_id = %s AND month = %s AND api_key_id IS NULL
    AND spent_micros + %s <= COALESCE((SELECT monthly_limit_micros FROM billing_wallet WHERE id = %s), %s)"""
COUNT_KEY = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros + %s
WHERE wallet_id = %s AND month = %s AND api_key_id = %s
    AND spent_micros + %s <= COALESCE((SELECT monthly_limit_micros FROM accounts_apikey WHERE id = %s), %s)"""
CHARGE = """
UPDATE billing_wallet SET held_micros = held_micros - %s, balance_micros = balance_micros - %s, last_activity_at = %s,
    low_since = CASE WHEN low_balance_micros > balance_micros - held_micros + %s THEN COALESCE(low_since, %s) END
WHERE id = %s AND frozen_at IS NULL"""
CLOSE = """
UPDATE billing_hold SET state = 'settled', charged_micros = %s, closed_at = %s
WHERE id = %s AND state = 'open' AND amount_micros = %s AND wallet_id = %s"""
UNCOUNT = """
UPDATE billing_monthlyspend SET spent_micros = spent_micros - %s
WHERE wallet_id = %s AND month = %s AND (api_key_id IS NULL OR api_key_id = %s)"""
BALANCE = "SELECT balance_micros FROM billing_wallet WHERE id = %s"


class FastPathUnavailable(Exception):
    """It is not the usual case: too little money, a limit, a frozen wallet, a first time, a hold that has changed."""


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID) -> None:
    """Set money aside for holds of one organization, key and month, count and write them, by conditional UPDATEs.

    There is no moment between the question and the deed. Gives each hold its wallet and its id.
    """
    first = holds[0]
    amount_micros = sum(hold.amount_micros for hold in holds)
    moment, month = _time(first.created_at), _date(first.month)
    wallet_id = _number(WALLET, _uuid(organization_id))
    if wallet_id is None:
        raise FastPathUnavailable
    _change_one(ADMIT, amount_micros, moment, amount_micros, moment, wallet_id, amount_micros)
    # From here on the wallet's row is ours, and with it the counts.
    _change_one(COUNT_ORGANIZATION, amount_micros, wallet_id, month, amount_micros, wallet_id, NO_LIMIT)
    if first.api_key_id is not None:
        key = _uuid(first.api_key_id)
        _change_one(COUNT_KEY, amount_micros, wallet_id, month, key, amount_micros, key, NO_LIMIT)
    for hold in holds:
        hold.wallet_id = wallet_id
        hold.save(force_insert=True)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, in this order.

    Gives each entry the balance after it. For a hold that is not open any more, a constraint of the wallet may speak
    first, as an IntegrityError.
    """
    first = pairs[0][0]
    held_micros = sum(hold.amount_micros for hold, _ in pairs)
    charged_micros = -sum(entry.amount_micros for _, entry in pairs)
    moment, unspent_micros = _time(now), held_micros - charged_micros
    # The wallet first, as everywhere: so it is locked before the holds.
    _change_one(CHARGE, held_micros, charged_micros, moment, unspent_micros, moment, first.wallet_id)
    for hold, entry in pairs:
        _change_one(CLOSE, -entry.amount_micros, moment, hold.pk, hold.amount_micros, first.wallet_id)
    if unspent_micros:
        key = None if first.api_key_id is None else _uuid(first.api_key_id)
        _change(UNCOUNT, unspent_micros, first.wallet_id, _date(first.month), key)
    # RETURNING would save this one, but the SQLite of some systems is too old for it.
    balance_micros = _number(BALANCE, first.wallet_id)
    assert balance_micros is not None, "its row was just changed"
    # The wallet's balance is that after all of them; the book has each one's.
    balance_micros += charged_micros
    for _, entry in pairs:
        balance_micros += entry.amount_micros
        entry.balance_after_micros = balance_micros
        entry.save(force_insert=True)


def _change(statement: str, *values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)


def _change_one(statement: str, *values: Any) -> None:
    if _change(statement, *values) != 1:
        raise FastPathUnavailable


def _number(statement: str, *values: Any) -> int | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        row = cursor.fetchone()
        return None if row is None else int(row[0])


def _time(moment: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(moment)


def _date(day: date) -> Any:
    return connection.ops.adapt_datefield_value(day)


def _uuid(key: uuid.UUID) -> Any:
    return key if connection.features.has_native_uuid_field else key.hex
