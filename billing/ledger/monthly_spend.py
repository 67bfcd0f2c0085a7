"""What a month's holds come to, per organization and per key: limits are asked of these rows and never of the book.

A hold counts for the month in which it was made, its extensions and its charge too, whenever they come: so a count is
the sum over the month's holds, at every moment, and `audit` can recompute it. What is released stops counting. A refund
changes no hold and so gives no limit back. See docs/decisions/0012.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

from django.db.models import F, Q

from accounts.models import ApiKey
from billing.models import MonthlySpend, Wallet


@dataclass(frozen=True, slots=True)
class LimitHeadroom:
    """What one limit still allows."""

    # "organization" or "key".
    limit: str
    limit_micros: int
    left_micros: int


def limit_headrooms(wallet: Wallet, *, api_key_id: uuid.UUID | None, month: date) -> Iterator[LimitHeadroom]:
    """Yield what each limit that is set allows, the organization's first. Makes the month's rows. Wallet locked."""
    spend, _ = MonthlySpend.objects.get_or_create(wallet=wallet, api_key=None, month=month)
    if wallet.monthly_limit_micros is not None:
        yield _headroom("organization", limit_micros=wallet.monthly_limit_micros, spend=spend)
    if api_key_id is not None:
        spend, _ = MonthlySpend.objects.get_or_create(wallet=wallet, api_key_id=api_key_id, month=month)
        limit_micros = ApiKey.objects.values_list("monthly_limit_micros", flat=True).get(pk=api_key_id)
        if limit_micros is not None:
            yield _headroom("key", limit_micros=limit_micros, spend=spend)


def adjust(wallet: Wallet, *, api_key_id: uuid.UUID | None, month: date, by_micros: int) -> None:
    """Count more or less, whatever the limits. Wallet locked; the rows are there because the hold was counted."""
    if by_micros:
        whose = Q(api_key=None) if api_key_id is None else Q(api_key=None) | Q(api_key=api_key_id)
        MonthlySpend.objects.filter(whose, wallet=wallet, month=month).update(
            spent_micros=F("spent_micros") + by_micros
        )


def _headroom(limit: str, *, limit_micros: int, spend: MonthlySpend) -> LimitHeadroom:
    return LimitHeadroom(limit=limit, limit_micros=limit_micros, left_micros=max(0, limit_micros - spend.spent_micros))
