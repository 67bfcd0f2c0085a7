"""Checks of the ledger: each stored sum is compared with the rows that it sums up. Reads only; repairs nothing.

Each comparison is one statement, so both of its sides are of one moment and it takes no lock. Only faults are read into
memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import BigIntegerField, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum, Value, Window
from django.db.models.functions import Coalesce
from django.utils import timezone

from accounts.models import ApiKey
from billing.ledger.entries import ROUNDING_MICROS
from billing.ledger.wallets import DEBT
from billing.models import REVERSALS, Entry, EntryKind, Freeze, Hold, HoldState, MonthlySpend, Wallet

# One pass over the holds. They have no index by wallet, because every settlement would have to write to it too.
WRONG_COUNTS = """
SELECT spend.*, COALESCE(held.total, 0) AS held
FROM billing_monthlyspend AS spend LEFT JOIN (
    SELECT wallet_id, month{key}, SUM(COALESCE(charged_micros, amount_micros)) AS total
    FROM billing_hold WHERE state <> 'released' AND wallet_id IN ({wallets}) AND id >= %s AND month >= %s
    GROUP BY wallet_id, month{key}
) AS held ON spend.wallet_id = held.wallet_id AND spend.month = held.month{match}
WHERE spend.wallet_id IN ({wallets}) AND spend.api_key_id {condition} AND spend.month >= %s
    AND spend.spent_micros <> COALESCE(held.total, 0)"""
# Holds of a token are younger than the token. The counts of deleted tokens are gone with them.
WRONG_TOKENS = """
SELECT token.*, COALESCE(spend.spent_micros, 0) AS spent, COALESCE(held.total, 0) AS held
FROM accounts_apikey AS token JOIN billing_wallet AS wallet ON wallet.organization_id = token.organization_id
LEFT JOIN billing_tokenspend AS spend ON spend.token_id = token.id
LEFT JOIN (
    SELECT token_id, SUM(COALESCE(charged_micros, amount_micros)) AS total
    FROM billing_hold WHERE token_id IS NOT NULL AND state <> 'released' AND wallet_id IN ({wallets}) AND id >= %s
    GROUP BY token_id
) AS held ON held.token_id = token.id
WHERE token.parent_id IS NOT NULL AND wallet.id IN ({wallets}) AND token.created_at >= %s
    AND COALESCE(spend.spent_micros, 0) <> COALESCE(held.total, 0)"""
# Checks of modules above the ledger: that a hold's job has ended, that a paid top-up was posted. They register
# themselves, because the ledger does not import jobs or payments.
_registered_checks: list[Callable[[], Iterable[str]]] = []


@dataclass(frozen=True, slots=True)
class CountsSince:
    """Which sums of months are compared: from a month on, whose holds all have this id or a higher one."""

    month: date
    first_hold_id: int


ALL_MONTHS = CountsSince(month=date(1, 1, 1), first_hold_id=0)


def also_check(check: Callable[[], Iterable[str]]) -> None:
    """Add a check to those of `faults`. check: returns one sentence for each fault. Call it when apps start."""
    if check not in _registered_checks:
        _registered_checks.append(check)


def faults() -> Iterator[str]:
    """Yield one sentence for each fault in the money of any organization; none if all is well."""
    yield from _faults(Wallet.objects.all())
    yield from stale_holds()
    yield from registered_faults()


def registered_faults() -> Iterator[str]:
    """Yield what the checks of modules above the ledger find."""
    for check in _registered_checks:
        yield from check()


def verify(wallet: Wallet) -> list[str]:
    """Return one sentence for each fault of one wallet; none if all is well."""
    return list(_faults(Wallet.objects.filter(pk=wallet.pk)))


def _faults(wallets: QuerySet[Wallet]) -> Iterator[str]:
    yield from _broken_chains(wallets)
    yield from _wrong_balances(wallets)
    yield from wrong_held_sums(wallets)
    yield from wrong_freezes(wallets)
    yield from wrong_counts(wallets, since=ALL_MONTHS)
    yield from holds_without_charge(Hold.objects.filter(wallet__in=wallets))
    entries = Entry.objects.filter(wallet__in=wallets)
    yield from charges_without_hold(entries)
    yield from wrong_reversals(entries)


def _broken_chains(wallets: QuerySet[Wallet]) -> Iterator[str]:
    sums = Window(Sum("amount_micros"), partition_by="wallet_id", order_by="id")
    chain = Entry.objects.filter(wallet__in=wallets).annotate(booked=sums).exclude(balance_after_micros=F("booked"))
    wrong = chain.order_by("id").values_list("pk", "balance_after_micros", "booked")
    for pk, after_micros, booked in wrong.iterator():
        yield f"Entry {pk} says {after_micros} after it; the sum is {booked}."


def _wrong_balances(wallets: QuerySet[Wallet]) -> Iterator[str]:
    compared = wallets.annotate(booked=_sum(Entry.objects.filter(wallet=OuterRef("pk"))))
    for wallet in compared.exclude(balance_micros=F("booked")).order_by("pk").iterator():
        yield f"The balance is {wallet.balance_micros}; the entries sum to {wallet.booked}. Wallet {wallet.pk}."


def wrong_held_sums(wallets: QuerySet[Wallet]) -> Iterator[str]:
    """Yield a sentence for each wallet whose held money is not the sum of its open holds."""
    compared = wallets.annotate(promised=_sum(Hold.objects.open().filter(wallet=OuterRef("pk"))))
    for wallet in compared.exclude(held_micros=F("promised")).order_by("pk").iterator():
        yield f"Held is {wallet.held_micros}; the open holds sum to {wallet.promised}. Wallet {wallet.pk}."


def wrong_freezes(wallets: QuerySet[Wallet]) -> Iterator[str]:
    """Yield a sentence for each wallet that is frozen without a reason, or has one and is not."""
    standing = Freeze.objects.filter(wallet=OuterRef("pk"), lifted_at=None)
    compared = wallets.annotate(stands=Exists(standing), owes=Exists(standing.filter(reason=DEBT)))
    overdrawn = Q(held_micros__gt=F("balance_micros"))
    for wallet in compared.filter(Q(frozen_at=None, stands=True) | Q(frozen_at__isnull=False, stands=False)).iterator():
        yield f"Frozen since {wallet.frozen_at}, but a reason for it stands: {wallet.stands}. Wallet {wallet.pk}."
    for wallet in compared.filter((overdrawn & Q(owes=False)) | (~overdrawn & Q(owes=True))).iterator():
        yield f"Available is {wallet.available_micros}; frozen for a debt: {wallet.owes}. Wallet {wallet.pk}."


def wrong_counts(wallets: QuerySet[Wallet], *, since: CountsSince) -> Iterator[str]:
    """Yield a sentence for each sum of a month that is not that of its holds, and each hold that is in none."""
    of_wallets, numbers = wallets.order_by().values("pk").query.sql_with_params()
    for condition, key in (("IS NULL", ""), ("IS NOT NULL", ", api_key_id")):
        match = " AND spend.api_key_id = held.api_key_id" if key else ""
        statement = WRONG_COUNTS.format(wallets=of_wallets, condition=condition, key=key, match=match)
        month = connection.ops.adapt_datefield_value(since.month)
        of_holds, of_months = [*numbers, since.first_hold_id, month], [*numbers, month]
        for spend in MonthlySpend.objects.raw(statement, of_holds + of_months):
            held = spend.held  # type: ignore[attr-defined]  # a column of the statement
            yield f"Count {spend.pk} of {spend.month:%Y-%m} is {spend.spent_micros}; its holds sum to {held}."
    row = MonthlySpend.objects.filter(wallet=OuterRef("wallet"), month=OuterRef("month"))
    holds = Hold.objects.filter(wallet__in=wallets, id__gte=since.first_hold_id, month__gte=since.month)
    holds = holds.exclude(state=HoldState.RELEASED)
    uncounted = holds.filter(
        ~Exists(row.filter(api_key=None)) | Q(api_key__isnull=False) & ~Exists(row.filter(api_key=OuterRef("api_key")))
    )
    for hold in uncounted.iterator():
        yield f"Hold {hold.pk} is counted for no limit of {hold.month:%Y-%m}."
    yield from _wrong_tokens(wallets, since=since)


def _wrong_tokens(wallets: QuerySet[Wallet], *, since: CountsSince) -> Iterator[str]:
    of_wallets, numbers = wallets.order_by().values("pk").query.sql_with_params()
    created = connection.ops.adapt_datefield_value(since.month)
    values = [*numbers, since.first_hold_id, *numbers, created]
    for token in ApiKey.objects.raw(WRONG_TOKENS.format(wallets=of_wallets), values):
        spent, held = token.spent, token.held  # type: ignore[attr-defined]  # columns of the statement
        yield f"The token {token.pk} has spent {spent}; its holds sum to {held}."


def holds_without_charge(holds: QuerySet[Hold]) -> Iterator[str]:
    """Yield a sentence for each settled one of the holds that the entries do not charge its amount for."""
    usage = Entry.objects.filter(wallet=OuterRef("wallet"), kind=EntryKind.USAGE, reference=OuterRef("reference"))
    settled = holds.filter(state=HoldState.SETTLED)
    wrong = settled.annotate(booked=_sum(usage)).exclude(booked=-F("charged_micros"))
    for pk, charged_micros, booked in wrong.values_list("pk", "charged_micros", "booked").iterator():
        yield f"Hold {pk} was charged {charged_micros}; the book has {-booked} for it."


def charges_without_hold(entries: QuerySet[Entry]) -> Iterator[str]:
    """Yield a sentence for each charge among the entries that no hold was settled for."""
    hold = Hold.objects.filter(wallet=OuterRef("wallet"), reference=OuterRef("reference"), state=HoldState.SETTLED)
    for entry in entries.filter(kind=EntryKind.USAGE).exclude(Exists(hold)).iterator():
        yield f"Entry {entry.pk} charges {-entry.amount_micros} for {entry.reference}, which no hold was settled for."


def wrong_reversals(entries: QuerySet[Entry]) -> Iterator[str]:
    """Yield a sentence for each reversal among the entries that restores something else than was taken."""
    for kind, reversal in REVERSALS.items():
        taken = Entry.objects.filter(wallet=OuterRef("wallet"), kind=kind, reference=OuterRef("reference"))
        given = entries.filter(kind=reversal).annotate(taken=-_sum(taken))
        rounded = given.annotate(over=F("amount_micros") - F("taken"))
        wrong = rounded.exclude(taken__gt=0, over__range=(-ROUNDING_MICROS, ROUNDING_MICROS))
        for pk, amount_micros, taken_micros, reference in wrong.values_list(
            "pk", "amount_micros", "taken", "reference"
        ).iterator():
            yield f"Entry {pk} restores {amount_micros}; {taken_micros} was taken for {reference}."


def stale_holds() -> Iterator[str]:
    """Yield a sentence for each hold that is open for longer than any work takes."""
    before = timezone.now() - timedelta(days=settings.MAX_HOLD_DAYS)
    for hold in Hold.objects.open().filter(created_at__lt=before).order_by("pk").iterator():
        yield f"Hold {hold.pk} for {hold.reference} is open since {hold.created_at:%Y-%m-%d}: {hold.amount_micros}."


def _sum(rows: QuerySet[Any], amount: Any = "amount_micros") -> Coalesce:
    """Return the sum over rows as a subquery, zero for none."""
    # Grouped by a constant, because Django has no other way to sum over all rows of a subquery.
    total = rows.order_by().annotate(_all=Value(1)).values("_all").annotate(_total=Sum(amount)).values("_total")
    return Coalesce(Subquery(total), 0, output_field=BigIntegerField())
