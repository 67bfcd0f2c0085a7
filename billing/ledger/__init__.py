"""The only writer of wallets, entries, holds, freezes and monthly counts.

Every verb is atomic, may be called inside a wider transaction, and has an idempotency key: the `reference` of the
business fact ("topup:<id>", "job:<id>"). Each changes one wallet and takes its locks in one order, wallet before what
belongs to it, so verbs on one organization cannot block each other for good; a transaction that changes two
organizations' wallets must itself take them in the order of their ids.

The lock is PostgreSQL's `FOR NO KEY UPDATE`: a plain `FOR UPDATE` also waits for those who merely insert a row that
points to the wallet, and two transactions that both did so before would wait for each other. SQLite has no row locks:
`transaction_mode` IMMEDIATE (settings) lets one writer in at a time, which serves as well.

entries     money comes and goes: credit, claw_back, restore, expire
holds       money is promised: require, reserve, reserve_up_to, extend, settle, release
wallets     the one row of each organization: freeze, thaw, its limit and its threshold
batch       many promises of one wallet at once: reserve_each, settle_each
fast_path   the usual case of reserving and settling, at once: `fast_path_postgresql`, `fast_path_sqlite`
monthly_spend  what a month's holds come to, for the limits
audit       verify: compares all of it with the book
"""

from billing.ledger.audit import also_check, faults, verify
from billing.ledger.batch import Charge, HoldRequest, Refusal, reserve_each, settle_each
from billing.ledger.entries import NothingToRestore, claw_back, credit, expire, restore
from billing.ledger.errors import HoldReleased, HoldSettled, ReferenceReused, SpendLimitReached, WalletFrozen
from billing.ledger.holds import extend, extend_as_far_as_possible, release, require, reserve, reserve_up_to, settle
from billing.ledger.wallets import (
    DEBT,
    freeze,
    has_freeze_beside_debt,
    set_low_balance,
    set_monthly_limit,
    thaw,
    wallet_of,
)

__all__ = [
    "DEBT",
    "Charge",
    "HoldReleased",
    "HoldRequest",
    "HoldSettled",
    "NothingToRestore",
    "ReferenceReused",
    "Refusal",
    "SpendLimitReached",
    "WalletFrozen",
    "also_check",
    "claw_back",
    "credit",
    "expire",
    "extend",
    "extend_as_far_as_possible",
    "faults",
    "freeze",
    "has_freeze_beside_debt",
    "release",
    "require",
    "reserve",
    "reserve_each",
    "reserve_up_to",
    "restore",
    "set_low_balance",
    "set_monthly_limit",
    "settle",
    "settle_each",
    "thaw",
    "verify",
    "wallet_of",
]
