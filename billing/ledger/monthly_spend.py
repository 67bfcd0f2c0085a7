"""The sum of a month's holds, per organization and per key. Monthly limits are checked against these rows.

A hold counts for the month in which it was made: a calendar month in UTC, named by its first day
(`billing/months.py`). Its extensions and its charge count for that month too, whenever they
come. So the sum is that of the month's holds at every moment, and `audit` can recompute it. A released hold counts no
more. A refund changes no hold, so it gives no part of a limit back. See docs/decisions/0012.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from django.db.models import F, Q
from django.utils import timezone

from accounts.models import ApiKey
from billing.models import MonthlySpend, Wallet


@dataclass(frozen=True, slots=True)
class LimitHeadroom:
    """How much one monthly limit still allows."""

    # "organization" or "key".
    limit: str
    limit_micros: int
    left_micros: int


def limit_headrooms(wallet: Wallet, *, api_key_id: uuid.UUID | None, month: date) -> Iterator[LimitHeadroom]:
    """Yield the headroom of each limit that is set, the organization's first. Makes the month's rows.

    The caller holds the wallet's lock.
    """
    spend, _ = MonthlySpend.objects.get_or_create(wallet=wallet, api_key=None, month=month)
    now = timezone.now()
    limit_micros = wallet.limit_at(now)
    if limit_micros is not None:
        yield _headroom("organization", limit_micros=limit_micros, spend=spend)
    if api_key_id is not None:
        spend, _ = MonthlySpend.objects.get_or_create(wallet=wallet, api_key_id=api_key_id, month=month)
        limit_micros = ApiKey.objects.get(pk=api_key_id).limit_at(now)
        if limit_micros is not None:
            yield _headroom("key", limit_micros=limit_micros, spend=spend)


def adjust(wallet: Wallet, *, api_key_id: uuid.UUID | None, month: date, by_micros: int) -> None:
    """Add an amount, negative to subtract, to the month of the organization and of the key. Checks no limit.

    The caller holds the wallet's lock. The rows exist, because the hold was counted when it was made.
    """
    if by_micros:
        whose = Q(api_key=None) if api_key_id is None else Q(api_key=None) | Q(api_key=api_key_id)
        MonthlySpend.objects.filter(whose, wallet=wallet, month=month).update(
            spent_micros=F("spent_micros") + by_micros
        )


def _headroom(limit: str, *, limit_micros: int, spend: MonthlySpend) -> LimitHeadroom:
    return LimitHeadroom(limit=limit, limit_micros=limit_micros, left_micros=max(0, limit_micros - spend.spent_micros))
