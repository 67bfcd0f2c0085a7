"""The only writer of wallets, entries, holds, freezes and monthly spends.

Every verb is atomic, may be called inside a wider transaction, and has an idempotency key: the `reference` of the
business fact ("topup:<id>", "job:<id>"). Each verb changes one wallet, and locks it before anything that belongs to it.
So two verbs on one organization cannot deadlock. A transaction that changes the wallets of two organizations must take
them in the order of their ids.

The lock is PostgreSQL's `FOR NO KEY UPDATE`. A plain `FOR UPDATE` also waits for a transaction that only inserts a row
with a foreign key to the wallet, and two transactions that both did so first would deadlock. SQLite has no row locks:
the settings begin every transaction as IMMEDIATE, which lets one writer in at a time.

entries        money comes and goes apart from usage: credit, claw_back, restore, expire
holds          money is reserved for work: require, reservable, reserve, reserve_up_to, extend, settle, release
batch          many holds of one wallet in one call: reserve_each, settle_each
fast_path      reserve and settle in the usual case, in SQL: fast_path_postgresql, fast_path_sqlite, fast_path_sql
key_limits     what one key gives another of its monthly limit
many_wallets   holds and charges of several wallets in one statement: reserve_for_each, settle_for_each
wallets        the one row of each organization: freeze, thaw, its limit and its threshold
token_spend    the sum of a token's holds, and what is left of its limit: token_headroom
monthly_spend  the sum of a month's holds, which limits are checked against
errors         refusals
audit          checks of all of it: verify, faults
audit_parts    checks of what is new, and of old rows bit by bit: recent_faults, reread
"""

from billing.ledger.audit import also_check, faults, verify
from billing.ledger.audit_parts import Place, recent_faults, reread
from billing.ledger.batch import REFUSALS, Charge, HoldRequest, Refusal, reserve_each, settle_each
from billing.ledger.entries import NothingToRestore, claw_back, credit, expire, restore
from billing.ledger.errors import HoldLost, HoldReleased, HoldSettled, ReferenceReused, SpendLimitReached, WalletFrozen
from billing.ledger.holds import (
    extend,
    extend_as_far_as_possible,
    release,
    require,
    reservable,
    reserve,
    reserve_up_to,
    settle,
)
from billing.ledger.key_limits import give_limit
from billing.ledger.many_wallets import Companion, HoldGroup, reserve_for_each, settle_for_each
from billing.ledger.many_wallets import is_available as can_take_many_wallets
from billing.ledger.token_spend import headroom as token_headroom
from billing.ledger.wallets import (
    DEBT,
    freeze,
    has_freeze_beside_debt,
    raise_monthly_limit,
    set_low_balance,
    set_monthly_limit,
    thaw,
    wallet_of,
)

__all__ = [
    "DEBT",
    "REFUSALS",
    "Charge",
    "Companion",
    "HoldGroup",
    "HoldLost",
    "HoldReleased",
    "HoldRequest",
    "HoldSettled",
    "NothingToRestore",
    "Place",
    "ReferenceReused",
    "Refusal",
    "SpendLimitReached",
    "WalletFrozen",
    "also_check",
    "can_take_many_wallets",
    "claw_back",
    "credit",
    "expire",
    "extend",
    "extend_as_far_as_possible",
    "faults",
    "freeze",
    "give_limit",
    "has_freeze_beside_debt",
    "raise_monthly_limit",
    "recent_faults",
    "release",
    "require",
    "reread",
    "reservable",
    "reserve",
    "reserve_each",
    "reserve_for_each",
    "reserve_up_to",
    "restore",
    "set_low_balance",
    "set_monthly_limit",
    "settle",
    "settle_each",
    "settle_for_each",
    "thaw",
    "token_headroom",
    "verify",
    "wallet_of",
]
