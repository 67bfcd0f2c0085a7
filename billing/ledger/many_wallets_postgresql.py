"""The statements of `many_wallets`: the rule of `fast_path_sql` for several wallets at once.

They are correct for the reasons that `fast_path_postgresql` gives. In addition:

* A wallet that another transaction has locked is skipped, not waited for (`SKIP LOCKED`). So no organization waits for
  another's lock, and two such statements cannot deadlock, whatever order they lock in.
* Each wallet is in a statement at most once: an UPDATE changes a row once, however many rows it is joined with.
* The ids of the wallets and holds are named beside the joins, so that the planner goes by the indexes also while the
  tables are young. It keeps the plan of a prepared statement.
* The row of a month is found by a subquery for each wallet, so that the planner uses the index. A join could read the
  rows of all wallets while the server has no statistics of a new month.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from django.db import connection
from psycopg.types.numeric import Int8

from accounts.models import ApiKey
from billing.ledger import fast_path_sql as sql
from billing.ledger.fast_path_postgresql import (
    ADMITTED,
    ONE_REQUEST,
    REQUESTS,
    execute,
    mark_saved,
    requests_json,
    to_json,
)
from billing.models import Hold

# The planner takes a set of JSON for 100 rows; with the limit it expects as many as a batch has at most, and goes by
# the indexes.
MAX_ROWS = 64

MONTH_OF_ORGANIZATION = """billing_monthlyspend.id = (SELECT spend.id FROM billing_monthlyspend AS spend
        WHERE spend.wallet_id = {rows}.of_wallet AND spend.month = {month} AND spend.api_key_id IS NULL)"""
MONTH_OF_KEY = """billing_monthlyspend.id = (SELECT spend.id FROM billing_monthlyspend AS spend
        WHERE spend.wallet_id = {rows}.of_wallet AND spend.month = {month} AND spend.api_key_id = {rows}.of_key)"""

# The key is looked at again: the caller may have read it up to a second ago. The setting lasts until the commit of this
# statement, which then does not wait for the disk. Who loses a hold by a crash of the server meets HoldLost at its end.
# Inside a transaction of the caller it is left alone: what else is in there may have to wait.
RESERVE = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(groups)s::jsonb) AS wanted (
        of_organization uuid, of_key uuid, sha256 text, scopes text, total bigint)
    LIMIT {max_rows}
), request AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(requests)s::jsonb) AS request (
        of_organization uuid, reference text, amount_micros bigint)
    LIMIT {max_rows}
), locked AS MATERIALIZED (
    SELECT wallet.id AS of_wallet, wanted.of_organization, wanted.of_key, wanted.total,
        {limit_of_key} AS key_limit
    FROM wanted JOIN billing_wallet AS wallet ON wallet.organization_id = wanted.of_organization
    JOIN accounts_apikey AS api_key ON api_key.id = wanted.of_key
        AND api_key.organization_id = wanted.of_organization
        AND api_key.sha256 = wanted.sha256 AND api_key.scopes = wanted.scopes
        AND api_key.revoked_at IS NULL AND (api_key.expires_at IS NULL OR api_key.expires_at > %(now)s)
    WHERE wallet.organization_id = ANY(%(organizations)s::uuid[])
    FOR NO KEY UPDATE OF wallet SKIP LOCKED
), admitted AS ({reserve_from_wallets}
    RETURNING of_wallet, of_organization, of_key, total, key_limit, {limit_of_wallet} AS wallet_limit
), organization AS ({add_to_months_of_organizations}
    RETURNING of_wallet
), key AS ({add_to_months_of_keys}
    RETURNING of_wallet
), done AS (
    INSERT INTO billing_hold (wallet_id, reference, amount_micros, state, api_key_id, month, created_at)
    SELECT CASE WHEN admitted.of_wallet IN (SELECT of_wallet FROM organization)
            AND admitted.of_wallet IN (SELECT of_wallet FROM key) THEN admitted.of_wallet END,
        request.reference, request.amount_micros, 'open', admitted.of_key, %(month)s, %(now)s
    FROM admitted JOIN request ON request.of_organization = admitted.of_organization
    RETURNING id AS hold_id, wallet_id, reference
), companion AS ({companion}
)
SELECT hold_id, wallet_id, reference,
    CASE WHEN %(is_alone)s::boolean THEN set_config('synchronous_commit', 'off', true) END
FROM done"""

# The same for one wallet, which is every batch of a site with one busy customer: by values instead of joins, as in
# `fast_path_postgresql`. The server needs half the time.
RESERVE_FROM_ONE = """
WITH locked AS MATERIALIZED (
    SELECT wallet.id, {limit_of_key} AS key_limit
    FROM billing_wallet AS wallet, accounts_apikey AS api_key
    WHERE wallet.organization_id = %(organization)s AND api_key.id = %(key)s
        AND api_key.organization_id = %(organization)s
        AND api_key.sha256 = %(sha256)s::text AND api_key.scopes = %(scopes)s::text
        AND api_key.revoked_at IS NULL AND (api_key.expires_at IS NULL OR api_key.expires_at > %(now)s)
    FOR NO KEY UPDATE OF wallet SKIP LOCKED
), admitted AS ({reserve_from_wallet}
    RETURNING id, {limit_of_wallet} AS limit_micros
), request AS NOT MATERIALIZED ({requests}
), organization AS ({add_to_month_of_organization}
    RETURNING 1
), key AS ({add_to_month_of_key}
    RETURNING 1
), done AS (
    INSERT INTO billing_hold (wallet_id, reference, amount_micros, state, api_key_id, month, created_at)
    SELECT CASE WHEN EXISTS (SELECT FROM organization) AND EXISTS (SELECT FROM key) THEN admitted.id END,
        request.reference, request.amount_micros, 'open', %(key)s, %(month)s, %(now)s
    FROM admitted, request
    RETURNING id AS hold_id, wallet_id, reference
), companion AS ({companion}
)
SELECT hold_id, wallet_id, reference,
    CASE WHEN %(is_alone)s::boolean THEN set_config('synchronous_commit', 'off', true) END
FROM done"""

SETTLE = """
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(groups)s::jsonb) AS wanted (
        of_wallet bigint, of_key uuid, of_month date, held bigint, total bigint, charge_count bigint)
    LIMIT {max_rows}
), charge AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(charges)s::jsonb) AS charge (
        of_wallet bigint, position integer, hold_id bigint, amount_micros bigint, charged_micros bigint,
        later_micros bigint, reference text, description text, details jsonb)
    LIMIT {max_rows}
), locked AS MATERIALIZED (
    SELECT wanted.* FROM wanted JOIN billing_wallet AS wallet ON wallet.id = wanted.of_wallet
    FOR NO KEY UPDATE OF wallet SKIP LOCKED
), charged AS ({charge_wallets}
    RETURNING of_wallet, of_key, of_month, held - total AS unspent, charge_count, balance_micros
), closed AS (
    UPDATE billing_hold AS hold SET state = 'settled', charged_micros = charge.charged_micros, closed_at = %(now)s
    FROM charge JOIN charged ON charged.of_wallet = charge.of_wallet
    WHERE hold.id = charge.hold_id AND hold.id = ANY(%(holds)s::bigint[]) AND hold.wallet_id = charge.of_wallet
        AND hold.closed_at IS NULL AND hold.reference = charge.reference AND hold.amount_micros = charge.amount_micros
    RETURNING hold.wallet_id
), organization AS ({take_from_months_of_organizations}
), key AS ({take_from_months_of_keys}
), entry AS (
    INSERT INTO billing_entry
        (wallet_id, kind, reference, amount_micros, balance_after_micros, description, details, created_at)
    SELECT CASE WHEN (SELECT count(*) FROM closed WHERE closed.wallet_id = charged.of_wallet) = charged.charge_count
            THEN charged.of_wallet END,
        'usage', charge.reference, -charge.charged_micros, charged.balance_micros + charge.later_micros,
        charge.description, charge.details, %(now)s
    FROM charge JOIN charged ON charged.of_wallet = charge.of_wallet
    ORDER BY charge.position
    RETURNING reference
), done AS MATERIALIZED (
    SELECT entry.reference, charge.hold_id FROM entry JOIN charge ON charge.reference = entry.reference
), companion AS ({companion}
)
SELECT reference FROM done"""


@dataclass(frozen=True, slots=True)
class UsualCharge:
    """A charge of more than zero and at most its hold. Making a row of the ORM would take longer than sending it."""

    hold: Hold
    charged_micros: int
    description: str
    details: Mapping[str, object]


@cache
def _reserve_statement(companion_sql: str) -> str:
    return RESERVE.format(
        max_rows=MAX_ROWS,
        limit_of_key=sql.LIMIT_NOW.format(row="api_key"),
        limit_of_wallet=sql.LIMIT_NOW.format(row="billing_wallet"),
        reserve_from_wallets=sql.RESERVE_FROM_WALLET.format(
            rows="FROM locked WHERE id = locked.of_wallet AND organization_id = ANY(%(organizations)s::uuid[])",
            total="locked.total",
        ),
        add_to_months_of_organizations=sql.ADD_TO_MONTH.format(
            rows=f"FROM admitted WHERE {MONTH_OF_ORGANIZATION.format(rows='admitted', month='%(month)s')}",
            total="admitted.total",
            limit="admitted.wallet_limit",
        ),
        add_to_months_of_keys=sql.ADD_TO_MONTH.format(
            rows=f"FROM admitted WHERE {MONTH_OF_KEY.format(rows='admitted', month='%(month)s')}",
            total="admitted.total",
            limit="admitted.key_limit",
        ),
        companion=companion_sql,
    )


@cache
def _reserve_from_one_statement(companion_sql: str, *, is_one: bool) -> str:
    def add(whose: str, *, limit: str) -> str:
        return sql.ADD_TO_MONTH.format(rows=sql.OF_MONTH.format(wallet=ADMITTED, whose=whose), limit=limit, **sql.ONE)

    return RESERVE_FROM_ONE.format(
        limit_of_key=sql.LIMIT_NOW.format(row="api_key"),
        limit_of_wallet=sql.LIMIT_NOW.format(row="billing_wallet"),
        reserve_from_wallet=sql.RESERVE_FROM_WALLET.format(rows="WHERE id = (SELECT id FROM locked)", **sql.ONE),
        requests=ONE_REQUEST if is_one else REQUESTS,
        add_to_month_of_organization=add(sql.OF_ORGANIZATION, limit="(SELECT limit_micros FROM admitted)"),
        add_to_month_of_key=add(sql.OF_KEY, limit="(SELECT key_limit FROM locked)"),
        companion=companion_sql,
    )


@cache
def _settle_statement(companion_sql: str) -> str:
    def take(whose: str) -> str:
        rows = f"FROM charged WHERE charged.unspent > 0 AND {whose.format(rows='charged', month='charged.of_month')}"
        return sql.TAKE_FROM_MONTH.format(rows=rows, unspent="charged.unspent")

    return SETTLE.format(
        max_rows=MAX_ROWS,
        charge_wallets=sql.CHARGE_WALLET.format(
            rows="FROM locked WHERE id = locked.of_wallet AND id = ANY(%(wallets)s::bigint[])",
            held="locked.held",
            total="locked.total",
            unspent="(locked.held - locked.total)",
        ),
        take_from_months_of_organizations=take(MONTH_OF_ORGANIZATION),
        take_from_months_of_keys=take(MONTH_OF_KEY),
        companion=companion_sql,
    )


def reserve(
    groups: Sequence[tuple[ApiKey, Sequence[Hold]]],
    *,
    now: datetime,
    companion_sql: str,
    companion_values: Mapping[str, Any],
) -> set[uuid.UUID]:
    """Reserve money and write holds. Gives each written hold its wallet and its id.

    groups: (key, its holds of this month), each of another organization.
    Returns the ids of the organizations whose holds were written. Raises IntegrityError.
    """
    assert sum(len(holds) for _, holds in groups) <= MAX_ROWS, "the statement reads no more rows"
    first = groups[0][1][0]
    common = {
        "month": first.month,
        "now": now,
        "no_limit": Int8(sql.NO_LIMIT_MICROS),
        "is_alone": not connection.in_atomic_block,
        **companion_values,
    }
    if len(groups) == 1:
        rows = _reserve_from_one(*groups[0], companion_sql=companion_sql, common=common)
    else:
        rows = _reserve_from_many(groups, companion_sql=companion_sql, common=common)
    written = {reference: (hold_id, wallet_id) for hold_id, wallet_id, reference, _ in rows}
    organization_ids = set()
    for api_key, holds in groups:
        if holds[0].reference in written:
            organization_ids.add(api_key.organization_id)
            for hold in holds:
                hold.pk, hold.wallet_id = written[hold.reference]
                mark_saved(hold)
    return organization_ids


def _reserve_from_one(
    api_key: ApiKey, holds: Sequence[Hold], *, companion_sql: str, common: Mapping[str, Any]
) -> list[Any]:
    is_one = len(holds) == 1
    return execute(
        _reserve_from_one_statement(companion_sql, is_one=is_one),
        {
            "organization": api_key.organization_id,
            "key": api_key.pk,
            "sha256": api_key.sha256,
            "scopes": api_key.scopes,
            "total": Int8(sum(hold.amount_micros for hold in holds)),
            **({"reference": holds[0].reference} if is_one else {"requests": requests_json(holds)}),
            **common,
        },
    )


def _reserve_from_many(
    groups: Sequence[tuple[ApiKey, Sequence[Hold]]], *, companion_sql: str, common: Mapping[str, Any]
) -> list[Any]:
    wanted: list[dict[str, Any]] = []
    requests: list[dict[str, Any]] = []
    for api_key, holds in groups:
        organization_id = api_key.organization_id.hex
        total = sum(hold.amount_micros for hold in holds)
        wanted.append(
            {
                "of_organization": organization_id,
                "of_key": api_key.pk.hex,
                "sha256": api_key.sha256,
                "scopes": api_key.scopes,
                "total": total,
            }
        )
        requests += [
            {"of_organization": organization_id, "reference": hold.reference, "amount_micros": hold.amount_micros}
            for hold in holds
        ]
    return execute(
        _reserve_statement(companion_sql),
        {
            "groups": to_json(wanted),
            "requests": to_json(requests),
            "organizations": [api_key.organization_id for api_key, _ in groups],
            **common,
        },
    )


def settle(
    groups: Sequence[Sequence[UsualCharge]],
    *,
    now: datetime,
    companion_sql: str,
    companion_values: Mapping[str, Any],
) -> set[str]:
    """Close open holds and write the entry of each.

    groups: charges of one wallet, key and month; each group has a wallet of its own.
    Returns the references of the charges that were written. Raises IntegrityError.
    """
    assert sum(len(group) for group in groups) <= MAX_ROWS, "the statement reads no more rows"
    wanted: list[dict[str, Any]] = []
    charges: list[dict[str, Any]] = []
    for group in groups:
        first = group[0].hold
        total = sum(charge.charged_micros for charge in group)
        wanted.append(
            {
                "of_wallet": first.wallet_id,
                "of_key": first.api_key_id,
                "of_month": first.month,
                "held": sum(charge.hold.amount_micros for charge in group),
                "total": total,
                "charge_count": len(group),
            }
        )
        later_micros = total
        for charge in group:
            # The statement knows the wallet's balance after all charges; each entry needs the one after its own.
            later_micros -= charge.charged_micros
            charges.append(
                {
                    "of_wallet": first.wallet_id,
                    "position": len(charges),
                    "hold_id": charge.hold.pk,
                    "amount_micros": charge.hold.amount_micros,
                    "charged_micros": charge.charged_micros,
                    "later_micros": later_micros,
                    "reference": charge.hold.reference,
                    "description": charge.description,
                    "details": charge.details,
                }
            )
    rows = execute(
        _settle_statement(companion_sql),
        {
            "groups": to_json(wanted),
            "charges": to_json(charges),
            "wallets": [Int8(group[0].hold.wallet_id) for group in groups],
            "holds": [Int8(charge["hold_id"]) for charge in charges],
            "now": now,
            **companion_values,
        },
    )
    return {reference for (reference,) in rows}
