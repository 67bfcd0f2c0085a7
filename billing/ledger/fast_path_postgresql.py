"""The fast path of reserve and settle on PostgreSQL: one statement each, for any number of holds of one wallet.

A statement is one round trip instead of seven, and outside a transaction it needs no BEGIN and COMMIT. Round trips, and
the client's work for each, were most of what a reservation cost (docs/decisions/0020).

Why it is correct (PostgreSQL 15 documentation, 13.2.1 "Read Committed" and 7.8.4 "Data-Modifying Statements in WITH",
read 2026-11-20):

* All parts of a statement see the same snapshot. Each part takes its rows from the part before it (`FROM admitted`),
  which fixes the order: the wallet is locked first, as by all verbs.
* A row that another transaction has changed since the snapshot is waited for, and its conditions are then checked
  again. So the conditions and sums never use an old row of a wallet, a hold or a month.
* A row that is only read may be old. A key's limit that was lowered while this statement waited for the wallet applies
  from the next reservation on.
* A part that finds no row cannot stop the others. The last part then writes NULL where a constraint forbids it: the
  whole statement fails as an IntegrityError, and nothing has happened.
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

from billing.ledger import fast_path_sql as sql
from billing.models import Entry, Hold

# Making an encoder takes as long as using it.
to_json = DjangoJSONEncoder().encode

# The wallet is a value here and not a table to join, so that the planner looks its month up by the index. While the
# server had no statistics of a new month, a join read that month's rows of all wallets for each reservation.
ADMITTED, CHARGED = "(SELECT id FROM admitted)", "(SELECT id FROM charged)"

# A single hold or charge, which is nearly every one, comes as plain values: the planner then needs no join and no sort.
# Several travel as one JSON value, which costs client and server less than an array for each column.
ONE_REQUEST = "SELECT %(reference)s::text AS reference, %(total)s::bigint AS amount_micros"
REQUESTS = "SELECT * FROM jsonb_to_recordset(%(requests)s::jsonb) AS request (reference text, amount_micros bigint)"
ONE_CHARGE = """
    SELECT 0 AS position, %(hold)s::bigint AS hold_id, %(held)s::bigint AS amount_micros,
        %(total)s::bigint AS charged_micros, 0::bigint AS later_micros, %(reference)s::text AS reference,
        %(description)s::text AS description, %(details)s::jsonb AS details"""
CHARGES = """
    SELECT * FROM jsonb_to_recordset(%(charges)s::jsonb) AS charge (
        position integer, hold_id bigint, amount_micros bigint, charged_micros bigint, later_micros bigint,
        reference text, description text, details jsonb)"""

RESERVE = """
WITH admitted AS ({reserve_from_wallet}
    RETURNING id, {limit_now} AS limit_micros
), request AS NOT MATERIALIZED ({requests}
), organization AS ({add_to_month_of_organization}
    RETURNING 1
){add_to_month_of_key}
INSERT INTO billing_hold (wallet_id, reference, amount_micros, state, api_key_id, month, created_at)
SELECT CASE WHEN EXISTS (SELECT FROM organization){and_key} THEN admitted.id END,
    request.reference, request.amount_micros, 'open', %(key)s::uuid, %(month)s, %(now)s
FROM admitted, request
RETURNING id, wallet_id, reference"""
# A constraint says that a hold is open exactly when it has no closing time. A condition on its state could make the
# planner use the index of open holds, which is full of closed ones until the server has cleared them away.
SETTLE = """
WITH charge AS NOT MATERIALIZED ({charges}
), charged AS ({charge_wallet}
    RETURNING id, balance_micros
), closed AS (
    UPDATE billing_hold AS hold SET state = 'settled', charged_micros = charge.charged_micros, closed_at = %(now)s
    FROM charge
    WHERE hold.id = charge.hold_id AND hold.wallet_id = (SELECT id FROM charged) AND hold.closed_at IS NULL
        AND hold.reference = charge.reference AND hold.amount_micros = charge.amount_micros{among}
    RETURNING 1
){take_from_months}
INSERT INTO billing_entry
    (wallet_id, kind, reference, amount_micros, balance_after_micros, description, details, created_at)
SELECT CASE WHEN (SELECT count(*) FROM closed) = %(count)s THEN charged.id END, 'usage', charge.reference,
    -charge.charged_micros, charged.balance_micros + charge.later_micros, charge.description,
    charge.details, %(now)s
FROM charged, charge
ORDER BY charge.position
RETURNING id, reference, balance_after_micros"""


@cache
def _reserve_statement(*, is_one: bool, has_key: bool) -> str:
    of_organization = sql.ADD_TO_MONTH.format(
        rows=sql.OF_MONTH.format(wallet=ADMITTED, whose=sql.OF_ORGANIZATION),
        limit="(SELECT limit_micros FROM admitted)",
        **sql.ONE,
    )
    of_key = sql.ADD_TO_MONTH.format(
        rows=sql.OF_MONTH.format(wallet=ADMITTED, whose=sql.OF_KEY), limit=sql.LIMIT_OF_KEY, **sql.ONE
    )
    return RESERVE.format(
        reserve_from_wallet=sql.RESERVE_FROM_WALLET.format(rows=sql.OF_WALLET_OF_ORGANIZATION, **sql.ONE),
        limit_now=sql.LIMIT_NOW.format(row="billing_wallet"),
        requests=ONE_REQUEST if is_one else REQUESTS,
        add_to_month_of_organization=of_organization,
        add_to_month_of_key=f", key AS ({of_key}\n    RETURNING 1\n)" if has_key else "",
        and_key=" AND EXISTS (SELECT FROM key)" if has_key else "",
    )


@cache
def _settle_statement(*, is_one: bool, has_unspent: bool, has_key: bool) -> str:
    takes = []
    if has_unspent:
        takes.append(("organization", sql.OF_ORGANIZATION))
        if has_key:
            takes.append(("key", sql.OF_KEY))
    return SETTLE.format(
        charges=ONE_CHARGE if is_one else CHARGES,
        charge_wallet=sql.CHARGE_WALLET.format(rows=sql.OF_WALLET, **sql.ONE),
        among="" if is_one else " AND hold.id = ANY(%(holds)s::bigint[])",
        take_from_months="".join(f", {name} AS ({_take_from_month(whose)}\n)" for name, whose in takes),
    )


def _take_from_month(whose: str) -> str:
    return sql.TAKE_FROM_MONTH.format(rows=sql.OF_MONTH.format(wallet=CHARGED, whose=whose), **sql.ONE)


def reserve(holds: Sequence[Hold], *, organization_id: uuid.UUID) -> None:
    """Reserve money for holds of one organization, key and month, and write them. Gives each its wallet and its id.

    Raises FastPathUnavailable, or IntegrityError.
    """
    first = holds[0]
    is_one = len(holds) == 1
    rows = execute(
        _reserve_statement(is_one=is_one, has_key=first.api_key_id is not None),
        {
            "organization": organization_id,
            "total": Int8(sum(hold.amount_micros for hold in holds)),
            "key": first.api_key_id,
            "month": first.month,
            "now": first.created_at,
            "no_limit": Int8(sql.NO_LIMIT_MICROS),
            **({"reference": first.reference} if is_one else {"requests": requests_json(holds)}),
        },
    )
    if not rows:
        raise sql.FastPathUnavailable
    written = {reference: (hold_id, wallet_id) for hold_id, wallet_id, reference in rows}
    for hold in holds:
        hold.pk, hold.wallet_id = written[hold.reference]
        mark_saved(hold)


def settle(pairs: Sequence[tuple[Hold, Entry]], *, now: datetime) -> None:
    """Close open holds of one wallet, key and month, and write the entry of each, in this order.

    pairs: (hold, its usage entry). Gives each entry its id and the balance after it.
    Raises FastPathUnavailable, or IntegrityError.
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
            "details": to_json(entry.details),
        }
    else:
        charges = {
            "holds": [Int8(hold.pk) for hold, _ in pairs],
            "charges": _charges_json(pairs, total_micros=total_micros),
        }
    rows = execute(
        _settle_statement(is_one=is_one, has_unspent=held_micros > total_micros, has_key=first.api_key_id is not None),
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
        raise sql.FastPathUnavailable
    written = {reference: (entry_id, balance_micros) for entry_id, reference, balance_micros in rows}
    for _, entry in pairs:
        entry.pk, entry.balance_after_micros = written[entry.reference]
        mark_saved(entry)


def forget_prepared_statements() -> None:
    """Drop all statements that the server has prepared for this connection.

    Call it after an IntegrityError, once that is rolled back. psycopg forgets the name of a statement that fails when
    it is first run, but the server keeps the statement, 65 KB each: a customer who goes on asking beyond a limit would
    fill the server's memory.

    The command is prepared itself, so that psycopg always sees what it does and forgets all names too. Of a command
    that psycopg only counts, it looks at the first run alone (`PrepareManager.maybe_add_to_cache`, psycopg 3.3). It
    would then use names that the server no longer knows, and every later hold of that connection would fail.
    """
    database = connections[DEFAULT_DB_ALIAS]
    if database.connection is not None and database.connection.prepare_threshold is not None:
        with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
            cursor.execute("DEALLOCATE ALL", prepare=True)


def requests_json(holds: Sequence[Hold]) -> str:
    return to_json([{"reference": hold.reference, "amount_micros": hold.amount_micros} for hold in holds])


def _charges_json(pairs: Sequence[tuple[Hold, Entry]], *, total_micros: int) -> str:
    rows, later_micros = [], total_micros
    for position, (hold, entry) in enumerate(pairs):
        # The statement knows the wallet's balance after all charges; each entry needs the one after its own.
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
    return to_json(rows)


def mark_saved(row: Hold | Entry) -> None:
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def execute(statement: str, values: dict[str, Any]) -> list[Any]:
    """Run a prepared statement and return its rows. For the ledger alone.

    This goes past Django's cursor, which puts the values into the text: the server would parse and plan it each time,
    which takes longer than the work. A prepared one is planned once for each connection, unless the settings forbid it.
    """
    database = connections[DEFAULT_DB_ALIAS]
    database.ensure_connection()
    database.validate_no_broken_transaction()
    with database.wrap_database_errors, psycopg.Cursor(database.connection) as cursor:
        return cursor.execute(statement, values, prepare=True).fetchall()
