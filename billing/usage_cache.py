"""Sums of past months of a busy organization, kept in the cache: an entry can never be changed, so they stay right.

Not a second truth beside the ledger: what the cache forgets is added up again. Days that a customer chooses never make
a key: a month is kept whole, or up to its last closed day.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

from django.core.cache import cache

from billing import months

# Of the rows. Raise it when they have other columns or another meaning: the cache outlives the code.
VERSION = 1
# A charge that is being written belongs to today, or yesterday if the hosts' clocks disagree.
OPEN_DAYS = 2
KEPT_SECONDS = 7 * 24 * 3600

Row = dict[str, Any]
# First and last day, both included, of one calendar month or a part of it.
Stretch = tuple[date, date]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Which sums are worth keeping.

    min_charges: fewer are added up faster than they are looked up. max_bytes: of one month, since the cache is shared
    by all customers.
    """

    min_charges: int = 2_000
    max_bytes: int = 100_000


BOUNDS = Bounds()


def rows(
    since: date,
    until: date,
    *,
    today: date,
    name: str,
    compute: Callable[[date, date], Sequence[Row]],
    newest: Callable[[Sequence[Stretch]], Sequence[datetime | None]],
    bounds: Bounds = BOUNDS,
    version: int = VERSION,
) -> list[Row]:
    """Return the rows of a period: for past months as they were computed before, if there were many charges.

    name: whose rows, and how they are grouped and filtered. compute: returns those of a period; each has its "month",
    the first day of it, and its "count" of charges. No row is of two months. newest: returns the time of the newest
    entry of each stretch. A database that was restored has another one, and its sums are computed again.
    version: that of the rows.
    """
    closed_day = today - timedelta(days=OPEN_DAYS)
    closed_until = min(until, closed_day)
    past = _stretches(since, closed_until)
    keys = _keys(
        [stretch for stretch in past if _may_be_kept(stretch, closed_day=closed_day)],
        name=name,
        newest=newest,
        version=version,
    )
    known = cache.get_many(keys.values()) if keys else {}
    found = [row for key in keys.values() for row in known.get(key, ())]
    for is_known, run in groupby(past, key=lambda stretch: keys.get(stretch) in known):
        if not is_known:
            found += _computed(list(run), keys=keys, compute=compute, bounds=bounds)
    if closed_until < until:
        found += compute(max(since, closed_until + timedelta(days=1)), until)
    return found


def _computed(
    run: Sequence[Stretch],
    *,
    keys: dict[Stretch, str],
    compute: Callable[[date, date], Sequence[Row]],
    bounds: Bounds,
) -> Sequence[Row]:
    """Return the rows of stretches that follow each other, and keep those of months if they are of many charges."""
    computed = compute(run[0][0], run[-1][1])
    if sum(row["count"] for row in computed) >= bounds.min_charges:
        of_month = {
            keys[stretch]: [row for row in computed if row["month"] == stretch[0]] for stretch in run if stretch in keys
        }
        small = {key: kept for key, kept in of_month.items() if len(pickle.dumps(kept)) <= bounds.max_bytes}
        if small:
            cache.set_many(small, timeout=KEPT_SECONDS)
    return computed


def _keys(
    kept: Sequence[Stretch],
    *,
    name: str,
    newest: Callable[[Sequence[Stretch]], Sequence[datetime | None]],
    version: int,
) -> dict[Stretch, str]:
    """Return the cache's keys of stretches that may be kept."""
    times = newest(kept) if kept else ()
    return {
        (first, last): f"billing:usage:{version}:{name}:{first}:{last}:{at.isoformat() if at else ''}"
        for (first, last), at in zip(kept, times, strict=True)
    }


def _may_be_kept(stretch: Stretch, *, closed_day: date) -> bool:
    """Tell whether a stretch is a whole month, or all of one that is closed by now."""
    first, last = stretch
    return first.day == 1 and (last == closed_day or (last + timedelta(days=1)).day == 1)


def _stretches(since: date, until: date) -> list[Stretch]:
    found = []
    while since <= until:
        following = months.next_month(since)
        found.append((since, min(until, following - timedelta(days=1))))
        since = following
    return found
