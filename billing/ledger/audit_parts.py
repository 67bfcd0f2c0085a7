"""Checks of a part of the ledger, found by ids: what is new, and bit by bit all that is old. Reads only.

`audit` compares all at once. At a million jobs that takes half a minute, so the clock asks here.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import chain
from typing import TypeVar

from django.db.models import BigIntegerField, F, OuterRef, QuerySet, Subquery, Value, Window
from django.db.models.functions import Coalesce, Lag

from billing import months
from billing.ledger import audit
from billing.models import Entry, Hold, Wallet

# What is checked as new every night. An entry that was written late is seen by the next night at least.
NEW_FOR = timedelta(days=2)
# A hold may be settled for so long in a month after its own, and the sum of its own month then changes.
OLDEST_HOLD = timedelta(days=10)
# The ids of rows follow the clocks of the hosts that write them, within this time.
ID_SKEW = timedelta(hours=1)
# Rows of one statement.
ROWS_OF_STEP = 5_000

# Faults of one kind that are named in a step. More of them have one cause. A step has four kinds.
MAX_FAULTS = 20

Row = TypeVar("Row", Entry, Hold)


@dataclass(frozen=True, slots=True)
class Place:
    """How far old entries and holds have been read again, by their ids. The default is the beginning."""

    entry_id: int = 0
    hold_id: int = 0


def recent_faults(*, now: datetime) -> Iterator[str]:
    """Yield one sentence for each fault of all wallets, of the newest entries and holds, and of this month's sums."""
    wallets = Wallet.objects.all()
    yield from _wrong_balances(wallets)
    yield from audit.wrong_held_sums(wallets)
    yield from audit.wrong_freezes(wallets)
    yield from audit.stale_holds()
    since = now - NEW_FOR
    yield from entry_faults(after=_last_id_before(Entry.objects.all(), since - ID_SKEW))
    yield from hold_faults(after=_last_id_before(Hold.objects.all(), since - ID_SKEW))
    month = months.start_of_month(now - OLDEST_HOLD)
    first_hold = _last_id_before(Hold.objects.all(), month - ID_SKEW) + 1
    yield from audit.wrong_counts(wallets, since=audit.CountsSince(month=month.date(), first_hold_id=first_hold))
    yield from audit.registered_faults()


def reread(
    place: Place,
    *,
    seconds: float,
    untold: Callable[[Sequence[str]], Sequence[str]] = list,
    rows_of_step: int = ROWS_OF_STEP,
) -> tuple[list[str], Place]:
    """Check the entries and holds that follow a place, for some time, and at least a step of each.

    untold: returns those of some faults that nobody was told of yet. With MAX_FAULTS of them the call ends early, so
    that one report can name them all.
    Returns a sentence for each fault, and the place where the next call goes on: after the end, at the beginning.
    Sums of past months are not compared; nothing depends on them any more.
    """
    found: list[str] = []
    ends_at = time.monotonic() + seconds
    entry_id: int | None = place.entry_id
    hold_id: int | None = place.hold_id
    while True:
        checks: list[Iterator[str]] = []
        if entry_id is not None:
            after, entry_id = entry_id, _end_of_step(Entry.objects.all(), after=entry_id, rows_of_step=rows_of_step)
            checks += _entry_checks(after=after, until=entry_id)
        if hold_id is not None:
            after, hold_id = hold_id, _end_of_step(Hold.objects.all(), after=hold_id, rows_of_step=rows_of_step)
            checks.append(hold_faults(after=after, until=hold_id))
        for faults in checks:
            found += untold(list(faults))[:MAX_FAULTS]
        if time.monotonic() >= ends_at or entry_id is hold_id is None or len(found) >= MAX_FAULTS:
            return found, Place(entry_id=entry_id or 0, hold_id=hold_id or 0)


def entry_faults(*, after: int, until: int | None = None) -> Iterator[str]:
    """Yield one sentence for each entry of a range of ids that does not follow the entry before it, or its hold.

    after, until: the range begins behind the first, and has the last in it.
    """
    return chain.from_iterable(_entry_checks(after=after, until=until))


def hold_faults(*, after: int, until: int | None = None) -> Iterator[str]:
    """Yield one sentence for each settled hold of a range of ids whose charge is not in the ledger."""
    yield from audit.holds_without_charge(_in_range(Hold.objects.all(), after=after, until=until))


def _entry_checks(*, after: int, until: int | None) -> list[Iterator[str]]:
    """Return the faults of entries by kind."""
    entries = _in_range(Entry.objects.all(), after=after, until=until)
    chains = _broken_chains(entries, after=after)
    return [chains, audit.charges_without_hold(entries), audit.wrong_reversals(entries)]


def _broken_chains(entries: QuerySet[Entry], *, after: int) -> Iterator[str]:
    before = Entry.objects.filter(wallet=OuterRef("wallet"), id__lte=after).order_by("-id")
    # The database looks for the last entry before the range for the first one of each wallet only.
    previous = Coalesce(
        Window(Lag("balance_after_micros"), partition_by="wallet_id", order_by="id"),
        Subquery(before.values("balance_after_micros")[:1]),
        Value(0),
        output_field=BigIntegerField(),
    )
    broken = entries.annotate(booked=previous + F("amount_micros")).exclude(balance_after_micros=F("booked"))
    for pk, after_micros, booked in (
        broken.order_by("id").values_list("pk", "balance_after_micros", "booked").iterator()
    ):
        yield f"Entry {pk} says {after_micros} after it; with the entry before it, it is {booked}."


def _wrong_balances(wallets: QuerySet[Wallet]) -> Iterator[str]:
    newest = Entry.objects.filter(wallet=OuterRef("pk")).order_by("-id").values("balance_after_micros")[:1]
    compared = wallets.annotate(booked=Coalesce(Subquery(newest), 0, output_field=BigIntegerField()))
    for wallet in compared.exclude(balance_micros=F("booked")).order_by("pk").iterator():
        yield f"The balance is {wallet.balance_micros}; the last entry says {wallet.booked}. Wallet {wallet.pk}."


def _last_id_before(rows: QuerySet[Row], moment: datetime) -> int:
    """Return an id before those of all rows from a moment on, found by halving: no index by time is needed.

    The rows are in the order of time but for ID_SKEW.
    """
    newest = rows.order_by("-id").values_list("id", flat=True).first()
    low, high = 0, newest or 0
    # Rows up to `low` are older; those behind `high` are not.
    while low < high:
        middle = (low + high + 1) // 2
        found = rows.filter(id__lte=middle).order_by("-id").values_list("id", "created_at").first()
        if found is None or found[1] < moment:
            low = middle
        else:
            high = found[0] - 1
    return low


def _end_of_step(rows: QuerySet[Row], *, after: int, rows_of_step: int) -> int | None:
    """Return the id with which a step of so many rows ends that begins behind an id. None: fewer are left."""
    ids = rows.filter(id__gt=after).order_by("id").values_list("id", flat=True)
    return ids[rows_of_step - 1 : rows_of_step].first()


def _in_range(rows: QuerySet[Row], *, after: int, until: int | None) -> QuerySet[Row]:
    found = rows.filter(id__gt=after)
    return found if until is None else found.filter(id__lte=until)
