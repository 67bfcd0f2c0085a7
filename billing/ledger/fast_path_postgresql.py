"""The two verbs of every job and completion on PostgreSQL, one statement each: for the usual case only.

One trip instead of seven, and outside a transaction no BEGIN and COMMIT either: trips, and the client's work for each,
were what a reservation cost (docs/benchmarks, "ledger"). Either statement takes any number of holds of one wallet.

Why it is right (PostgreSQL 15 documentation, 13.2.1 "Read Committed" and 7.8.4 "Data-Modifying Statements in WITH",
read 2026-11-20): the parts of one statement see the same snapshot, so each part takes its rows from the one before it
(`FROM admitted`), which fixes the order: the wallet is locked first, as everywhere. A row that another transaction has
changed since the snapshot is waited for and asked again as it is then: the conditions and sums below are never those of
an old row. Only a row that is merely read may be old: the limit of a key that was lowered while this waited counts from
the next reservation on.

A part that found nothing cannot stop the others. So the last one then writes a null where none may be: all of it fails
as an IntegrityError, and nothing has happened.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

import psycopg
from django.core.serializers.json import DjangoJSONEncoder
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.types.numeric import Int8

from billing.ledger.fast_path_sqlite import NO_LIMIT, FastPathUnavailable
from billing.models import Entry, Hold

# Making an encoder takes as long as using it.
_json = DjangoJSONEncoder().encode


# The wallet comes as a value, not as a table to join: the planner then looks its month up, whatever it knows of the
# table. As a join, and before the statistics were made, it read that month of all wallets for each reservation.
COUNT_KEY = """, key AS (
    UPDATE billing_monthlyspend SET spent_micros = spent_micros + %(total)s
    WHERE wallet_id = (SELECT id FROM admitted) AND month = %(month)s AND api_key_id = %(key)s
        AND spent_micros + %(total)s <= COALESCE(
            (SELECT monthly_limit_micros FROM accounts_apikey WHERE id = %(key)s), %(no_limit)s)
    RETURNING 1
)"""
# Where the rows come from. One alone, nearly all of them, is no table for the planner but values that it puts in place:
# no join, no sort.
ONE_WANTED = "SELECT %(reference)s::text AS reference, %(total)s::bigint AS amount_micros"
WANTED = "SELECT * FROM jsonb_to_recordset(%(wanted)s::jsonb) AS wanted (reference text, amount_micros bigint)"
ONE_CHARGE = """
    SELECT 0 AS position, %(hold)s::bigint AS hold_id, %(held)s::bigint AS amount_micros,
        %(total)s::bigint AS charged_micros, 0::bigint AS later_micros, %(reference)s::text AS reference,
        %(description)s::text AS description, %(details)s::jsonb AS details"""
CHARGES = """
    SELECT * FROM jsonb_to_recordset(%(charges)s::jsonb) AS charge (
        position integer, hold_id bigint, amount_micros bigint, charged_micros bigint, later_micros bigint,
        reference text, description text, details jsonb)"""
RESERVE = """
WITH admitted AS (
    UPDATE billing_wallet SET held_micros = held_micros + %(total)s, last_activity_at = %(now)s,
        low_since = CASE WHEN low_balance_micros > balance_micros - held_micros - %(total)s
            THEN COALESCE(low_since, %(now)s) END
    WHERE organization_id = %(organization)s AND frozen_at IS NULL AND balance_micros - held_micros >= %(total)s
    RETURNING id, monthly_limit_micros
), wanted AS NOT MATERIALIZED ({wanted}), organization AS (
    UPDATE billing_monthlyspend SET spent_micros = spent_micros + %(total)s
    WHERE wallet_id = (SELECT id FROM admitted) AND month = %(month)s AND api_key_id IS NULL
        AND spent_micros + %(total)s <= COALESCE((SELECT monthly_limit_micros FROM admitted), %(no_limit)s)
    RETURNING 1
){count_key}
INSERT INTO billing_hold (wallet_id, reference, amount_micros, state, api_key_id, month, created_at)
SELECT CASE WHEN EXISTS (SELECT FROM organization){and_key} THEN admitted.id END,
    wanted.reference, wanted.amount_micros, 'open', %(key)s::uuid, %(month)s, %(now)s
FROM admitted, wanted
RETURNING id, wallet_id, reference"""
# A hold is open when it has no time of closing, a constraint says so. Asked by its state it might be looked for in the
# index of open holds, among those that the server has not cleared away yet.
SETTLE = """
WITH charge AS NOT MATERIALIZED ({charges}
), charged AS (
    UPDATE billing_wallet SET held_micros = held_micros - %(held)s, balance_micros = balance_micros - %(total)s,
        last_activity_at = %(now)s,
        low_since = CASE WHEN low_balance_micros > balance_micros - held_micros + %(unspent)s
            THEN COALESCE(low_since, %(now)s) END
    WHERE id = %(wallet)s AND frozen_at IS NULL
    RETURNING id, balance_micros
), closed AS (
    UPDATE billing_hold AS hold SET state = 'settled', charged_micros = charge.charged_micros, closed_at = %(now)s
    FROM charge
    WHERE hold.id = charge.hold_id AND hold.wallet_id = (SELECT id FROM charged) AND hold.closed_at IS NULL
        AND hold.amount_micros = charge.amount_micros{among}
    RETURNING 1
){uncount}
INSERT INTO billing_entry
    (wallet_id, kind, reference, amount_micros, balance_after_micros, description, details, created_at)
SELECT CASE WHEN (SELECT count(*) FROM closed) = %(count)s THEN charged.id END, 'usage', charge.reference,
    -charge.charged_micros, charged.balance_micros + charge.later_micros, charge.description,
    charge.details, %(now)s
FROM charged, charge
ORDER BY charge.position
RETURNING id, reference, balance_after_micros"""
UNCOUNT = """, organization AS (
    UPDATE billing_monthlyspend SET spent_micros = spent_micros - %(unspent)s
    WHERE wallet_id = (SELECT id FROM charged) AND month = %(month)s AND api_key_id IS NULL
)"""
UNCOUNT_KEY = """, key AS (
    UPDATE billing_monthlyspend SET spent_micros = spent_micros - %(unspent)s
    WHERE wallet_id = (SELECT id FROM charged) AND month = %(month)s AND api_key_id = %(key)s
)"""


@cache
def _reserve_statement(*, is_one: bool, has_key: bool) -> str:
    return RESERVE.format(
        wanted=ONE_WANTED if is_one else WANTED,
        count_key=COUNT_KEY if has_key else "",
        and_key=" AND EXISTS (SELECT FROM key)" if has_key else "",
    )


@cache
def _settle_statement(*, is_one: bool, is_all: bool, has_key: bool) -> str:
    return SETTLE.format(
        charges=ONE_CHARGE if is_one else CHARGES,
        among="" if is_one else " AND hold.id = ANY(%(holds)s::bigint[])",
        uncount="" if is_all else UNCOUNT + (UNCOUNT_KEY if has_key else ""),
    )


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID) -> None:
    """Set money aside for holds of one organization, key and month, count and write them: all or none.

    Gives each its wallet and its id. Raises FastPathUnavailable, or IntegrityError.
    """
    first = holds[0]
    is_one = len(holds) == 1
    rows = _rows(
        _reserve_statement(is_one=is_one, has_key=first.api_key_id is not None),
        {
            "organization": organization_id,
            "total": Int8(sum(hold.amount_micros for hold in holds)),
            "key": first.api_key_id,
            "month": first.month,
            "now": first.created_at,
            "no_limit": Int8(NO_LIMIT),
            **({"reference": first.reference} if is_one else {"wanted": _shown_holds(holds)}),
        },
    )
    if not rows:
        raise FastPathUnavailable
    written = {reference: (hold_id, wallet_id) for hold_id, wallet_id, reference in rows}
    for hold in holds:
        hold.pk, hold.wallet_id = written[hold.reference]
        _is_written(hold)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, in this order: all or none.

    Gives each entry its id and the balance after it. Raises FastPathUnavailable, or IntegrityError.
    """
    first, entry = pairs[0]
    is_one = len(pairs) == 1
    held_micros = sum(hold.amount_micros for hold, _ in pairs)
    total_micros = -sum(entry.amount_micros for _, entry in pairs)
    if is_one:
        charges = {
            "hold": Int8(first.pk),
            "reference": entry.reference,
            "description": entry.description,
            "details": _json(entry.details),
        }
    else:
        charges = {
            "holds": [Int8(hold.pk) for hold, _ in pairs],
            "charges": _shown_charges(pairs, total_micros=total_micros),
        }
    rows = _rows(
        _settle_statement(is_one=is_one, is_all=held_micros == total_micros, has_key=first.api_key_id is not None),
        {
            "wallet": Int8(first.wallet_id),
            "held": Int8(held_micros),
            "total": Int8(total_micros),
            "unspent": Int8(held_micros - total_micros),
            "count": Int8(len(pairs)),
            "month": first.month,
            "key": first.api_key_id,
            "now": now,
            **charges,
        },
    )
    if not rows:
        raise FastPathUnavailable
    written = {reference: (entry_id, balance_micros) for entry_id, reference, balance_micros in rows}
    for _, entry in pairs:
        entry.pk, entry.balance_after_micros = written[entry.reference]
        _is_written(entry)


def _shown_holds(holds: Sequence[Hold]) -> str:
    """Return holds as JSON: one value costs the client and the server less than an array for each column."""
    return _json([{"reference": hold.reference, "amount_micros": hold.amount_micros} for hold in holds])


def _shown_charges(pairs: Sequence[tuple[Hold, Entry]], *, total_micros: int) -> str:
    """Return charges as JSON, likewise."""
    rows, later_micros = [], total_micros
    for position, (hold, entry) in enumerate(pairs):
        # The wallet's balance is that after all of them; the book has each one's.
        later_micros += entry.amount_micros
        rows.append(
            {
                "position": position,
                "hold_id": hold.pk,
                "amount_micros": hold.amount_micros,
                "charged_micros": -entry.amount_micros,
                "later_micros": later_micros,
                "reference": entry.reference,
                "description": entry.description,
                "details": entry.details,
            }
        )
    return _json(rows)


def forget_plans() -> None:
    """Let the server forget what it has prepared for this connection: after an IntegrityError, when that is undone.

    psycopg forgets the name of a statement that fails when it is first run, but the server keeps it, 65 KB each: a
    customer who asks on beyond a limit would fill the server's memory.

    Prepared itself: psycopg then always sees what it does, and forgets all names too. Of a command that it only counts
    it looks at the first run alone (`PrepareManager.maybe_add_to_cache`, psycopg 3.3), and would go on naming what the
    server does not know any more: each hold of that connection would fail.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is not None and database.connection.prepare_threshold is not None:
        with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
            cursor.execute("DEALLOCATE ALL", prepare=True)


def _is_written(row: Hold | Entry) -> None:
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def _rows(statement: str, values: dict[str, Any]) -> list[Any]:
    """Run a statement and return its rows.

    Past Django's cursor, which puts the values into the text: the server would parse and plan it each time, which takes
    longer than the work. So it is planned once for each connection, unless the settings forbid it.
    """
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    database.validate_no_broken_transaction()
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        return cursor.execute(statement, values, prepare=True).fetchall()
