"""Checks of the ledger: each stored sum is compared with the rows that it sums up. Reads only; repairs nothing.

Each comparison is one statement, so both of its sides are of one moment and it takes no lock. Only faults are read into
memory.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, Window
from django.db.models.functions import Coalesce
from django.utils import timezone

from billing.ledger.entries import ROUNDING_MICROS
from billing.ledger.wallets import DEBT
from billing.models import REVERSALS, Entry, EntryKind, Freeze, Hold, HoldState, MonthlySpend, Wallet

# One pass over the holds. They have no index by wallet, because every settlement would have to write to it too.
WRONG_COUNTS = """
SELECT spend.*, COALESCE(held.total, 0) AS held
FROM billing_monthlyspend AS spend LEFT JOIN (
    SELECT wallet_id, month{key}, SUM(COALESCE(charged_micros, amount_micros)) AS total
    FROM billing_hold WHERE state <> 'released' AND wallet_id IN ({wallets})
    GROUP BY wallet_id, month{key}
) AS held ON spend.wallet_id = held.wallet_id AND spend.month = held.month{match}
WHERE spend.wallet_id IN ({wallets}) AND spend.api_key_id {condition}
    AND spend.spent_micros <> COALESCE(held.total, 0)"""
# Checks of modules above the ledger: that a hold's job has ended, that a paid top-up was posted. They register
# themselves, because the ledger does not import jobs or payments.
_registered_checks: list[Callable[[], Iterable[str]]] = []


def also_check(check: Callable[[], Iterable[str]]) -> None:
    """Add a check to those of `faults`. check: returns one sentence for each fault. Call it when apps start."""
    if check not in _registered_checks:
        _registered_checks.append(check)


def faults() -> Iterator[str]:
    """Yield one sentence for each fault in the money of any organization; none if all is well."""
    yield from _faults(Wallet.objects.all())
    yield from _stale_holds()
    for check in _registered_checks:
        yield from check()


def verify(wallet: Wallet) -> list[str]:
    """Return one sentence for each fault of one wallet; none if all is well."""
    return list(_faults(Wallet.objects.filter(pk=wallet.pk)))


def _faults(wallets: QuerySet[Wallet]) -> Iterator[str]:
    yield from _broken_chains(wallets)
    yield from _wrong_wallets(wallets)
    yield from _wrong_freezes(wallets)
    yield from _wrong_counts(wallets)
    yield from _wrong_charges(wallets)
    yield from _wrong_reversals(wallets)


def _broken_chains(wallets: QuerySet[Wallet]) -> Iterator[str]:
    sums = Window(Sum("amount_micros"), partition_by="wallet_id", order_by="id")
    chain = Entry.objects.filter(wallet__in=wallets).annotate(booked=sums).exclude(balance_after_micros=F("booked"))
    wrong = chain.order_by("id").values_list("pk", "balance_after_micros", "booked")
    for pk, after_micros, booked in wrong.iterator():
        yield f"Entry {pk} says {after_micros} after it; the sum is {booked}."


def _wrong_wallets(wallets: QuerySet[Wallet]) -> Iterator[str]:
    compared = wallets.annotate(
        booked=_sum(Entry.objects.filter(wallet=OuterRef("pk"))),
        promised=_sum(Hold.objects.open().filter(wallet=OuterRef("pk"))),
    )
    wrong = compared.exclude(balance_micros=F("booked"), held_micros=F("promised"))
    for wallet in wrong.order_by("pk").iterator():
        if wallet.balance_micros != wallet.booked:
            yield f"The balance is {wallet.balance_micros}; the entries sum to {wallet.booked}. Wallet {wallet.pk}."
        if wallet.held_micros != wallet.promised:
            yield f"Held is {wallet.held_micros}; the open holds sum to {wallet.promised}. Wallet {wallet.pk}."


def _wrong_freezes(wallets: QuerySet[Wallet]) -> Iterator[str]:
    standing = Freeze.objects.filter(wallet=OuterRef("pk"), lifted_at=None)
    compared = wallets.annotate(stands=Exists(standing), owes=Exists(standing.filter(reason=DEBT)))
    overdrawn = Q(held_micros__gt=F("balance_micros"))
    for wallet in compared.filter(Q(frozen_at=None, stands=True) | Q(frozen_at__isnull=False, stands=False)).iterator():
        yield f"Frozen since {wallet.frozen_at}, but a reason for it stands: {wallet.stands}. Wallet {wallet.pk}."
    for wallet in compared.filter((overdrawn & Q(owes=False)) | (~overdrawn & Q(owes=True))).iterator():
        yield f"Available is {wallet.available_micros}; frozen for a debt: {wallet.owes}. Wallet {wallet.pk}."


def _wrong_counts(wallets: QuerySet[Wallet]) -> Iterator[str]:
    of_wallets, numbers = wallets.order_by().values("pk").query.sql_with_params()
    for condition, key in (("IS NULL", ""), ("IS NOT NULL", ", api_key_id")):
        match = " AND spend.api_key_id = held.api_key_id" if key else ""
        statement = WRONG_COUNTS.format(wallets=of_wallets, condition=condition, key=key, match=match)
        for spend in MonthlySpend.objects.raw(statement, numbers * 2):
            held = spend.held  # type: ignore[attr-defined]  # a column of the statement
            yield f"Count {spend.pk} of {spend.month:%Y-%m} is {spend.spent_micros}; its holds sum to {held}."
    row = MonthlySpend.objects.filter(wallet=OuterRef("wallet"), month=OuterRef("month"))
    holds = Hold.objects.filter(wallet__in=wallets).exclude(state=HoldState.RELEASED)
    uncounted = holds.filter(
        ~Exists(row.filter(api_key=None)) | Q(api_key__isnull=False) & ~Exists(row.filter(api_key=OuterRef("api_key")))
    )
    for hold in uncounted.iterator():
        yield f"Hold {hold.pk} is counted for no limit of {hold.month:%Y-%m}."


def _wrong_charges(wallets: QuerySet[Wallet]) -> Iterator[str]:
    usage = Entry.objects.filter(wallet=OuterRef("wallet"), kind=EntryKind.USAGE, reference=OuterRef("reference"))
    settled = Hold.objects.filter(wallet__in=wallets, state=HoldState.SETTLED)
    wrong = settled.annotate(booked=_sum(usage)).exclude(booked=-F("charged_micros"))
    for pk, charged_micros, booked in wrong.values_list("pk", "charged_micros", "booked").iterator():
        yield f"Hold {pk} was charged {charged_micros}; the book has {-booked} for it."
    hold = Hold.objects.filter(wallet=OuterRef("wallet"), reference=OuterRef("reference"), state=HoldState.SETTLED)
    charges = Entry.objects.filter(wallet__in=wallets, kind=EntryKind.USAGE)
    for entry in charges.exclude(Exists(hold)).iterator():
        yield f"Entry {entry.pk} charges {-entry.amount_micros} for {entry.reference}, which no hold was settled for."


def _wrong_reversals(wallets: QuerySet[Wallet]) -> Iterator[str]:
    for kind, reversal in REVERSALS.items():
        taken = Entry.objects.filter(wallet=OuterRef("wallet"), kind=kind, reference=OuterRef("reference"))
        given = Entry.objects.filter(wallet__in=wallets, kind=reversal).annotate(taken=-_sum(taken))
        rounded = given.annotate(over=F("amount_micros") - F("taken"))
        wrong = rounded.exclude(taken__gt=0, over__range=(-ROUNDING_MICROS, ROUNDING_MICROS))
        for pk, amount_micros, taken_micros, reference in wrong.values_list(
            "pk", "amount_micros", "taken", "reference"
        ).iterator():
            yield f"Entry {pk} restores {amount_micros}; {taken_micros} was taken for {reference}."


def _stale_holds() -> Iterator[str]:
    before = timezone.now() - timedelta(days=settings.MAX_HOLD_DAYS)
    for hold in Hold.objects.open().filter(created_at__lt=before).order_by("pk").iterator():
        yield f"Hold {hold.pk} for {hold.reference} is open since {hold.created_at:%Y-%m-%d}: {hold.amount_micros}."


def _sum(rows: QuerySet[Any], amount: Any = "amount_micros") -> Coalesce:
    """Return the sum over rows as a subquery, zero for none."""
    # Grouped by a constant, because Django has no other way to sum over all rows of a subquery.
    total = rows.order_by().annotate(_all=Value(1)).values("_all").annotate(_total=Sum(amount)).values("_total")
    return Coalesce(Subquery(total), 0, output_field=BigIntegerField())
