"""Holds and charges of several wallets in one statement, for callers that batch the work of all organizations.

Only PostgreSQL can do it. What does not fit the usual case is left undone and said so; the caller then takes the verbs
of `batch`, wallet by wallet, which handle every case.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.db import IntegrityError, connection
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing.ledger import fast_path, holds, many_wallets_postgresql
from billing.ledger.batch import Charge, HoldRequest
from billing.ledger.many_wallets_postgresql import UsualCharge
from billing.models import Hold


@dataclass(frozen=True, slots=True)
class HoldGroup:
    """Holds that one API key asks for: each of them gets its at_most_micros, or none gets anything."""

    organization: Organization
    api_key: ApiKey
    requests: Sequence[HoldRequest]


@dataclass(frozen=True, slots=True)
class Companion:
    """A row that the caller writes for each hold or charge, in the same statement.

    sql: changes rows of the caller, and reads `done (reference, hold_id)`, one row for each hold or charge that was
        written. It must not read what this statement writes.
    values: its named values; their names must begin with `companion_`.
    """

    sql: str
    values: Mapping[str, Any]


@cache
def is_available() -> bool:
    """Tell whether this database can do it."""
    return bool(connection.vendor == "postgresql")


def reserve_for_each(groups: Sequence[HoldGroup], *, companion: Companion) -> list[list[Hold] | None]:
    """Reserve money for groups of holds, each group of another organization. Returns the holds of each group.

    They are seen by everybody at once, but may be gone after a crash of the database server in the next 0.6 s. Ending
    a hold that is gone raises HoldLost.

    None stands for a group that was left undone: too little money, a limit, a freeze, a wallet that another transaction
    has locked, or a key that was changed since the caller read it: revoked, expired, rotated or with other scopes. If a
    month's row is missing or a monthly limit would be passed, all are left undone.
    A token's holds count for one limit more: ask for them by `reserve_each`.
    """
    assert not any(group.api_key.is_token for group in groups), "the statement does not know the limits of tokens"
    assert len({group.organization.pk for group in groups}) == len(groups), "a wallet is updated once by a statement"
    now = timezone.now()
    for group in groups:
        for request in group.requests:
            holds.validate_request(
                group.organization,
                at_least_micros=request.at_least_micros,
                at_most_micros=request.at_most_micros,
                api_key=group.api_key,
            )
    made = [
        [
            holds.build_hold(request.reference, amount_micros=request.at_most_micros, api_key=group.api_key, now=now)
            for request in group.requests
        ]
        for group in groups
    ]
    try:
        with fast_path.all_or_nothing():
            admitted = many_wallets_postgresql.reserve(
                [(group.api_key, holds_of_group) for group, holds_of_group in zip(groups, made, strict=True)],
                now=now,
                companion_sql=companion.sql,
                companion_values=companion.values,
            )
    except IntegrityError:
        return [None] * len(groups)
    return [
        holds_of_group if group.organization.pk in admitted else None
        for group, holds_of_group in zip(groups, made, strict=True)
    ]


def settle_for_each(charges: Sequence[Charge], *, companion: Companion) -> list[bool]:
    """Close open holds for their prices. Returns for each whether it was charged.

    False stands for a charge that was left undone: its price is zero or above its hold, it is of a token, or another
    charge of its wallet is or has another key or month; the wallet is frozen or locked by another transaction. If a
    hold has ended or was changed, all are left undone.
    """
    now = timezone.now()
    by_wallet: dict[int, list[Charge]] = {}
    for charge in charges:
        by_wallet.setdefault(charge.hold.wallet_id, []).append(charge)
    usual = [group for group in by_wallet.values() if _is_usual(group)]
    if not usual:
        return [False] * len(charges)
    try:
        with fast_path.all_or_nothing():
            done = many_wallets_postgresql.settle(
                [
                    [
                        UsualCharge(
                            charge.hold,
                            charge.actual_micros,
                            charge.description[: holds.MAX_DESCRIPTION_LENGTH],
                            holds.usage_details(charge.hold, charge.details),
                        )
                        for charge in group
                    ]
                    for group in usual
                ],
                now=now,
                companion_sql=companion.sql,
                companion_values=companion.values,
            )
    except IntegrityError:
        return [False] * len(charges)
    return [charge.hold.reference in done for charge in charges]


def _is_usual(charges: Sequence[Charge]) -> bool:
    is_within_holds = all(0 < charge.actual_micros <= charge.hold.amount_micros for charge in charges)
    months: set[tuple[uuid.UUID | None, Any]] = {(charge.hold.api_key_id, charge.hold.month) for charge in charges}
    is_of_token = any(charge.hold.token_id is not None for charge in charges)
    return is_within_holds and len(months) == 1 and not is_of_token
