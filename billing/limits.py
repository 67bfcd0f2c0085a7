"""How much of its monthly limit an organization has spent, for pages. The ledger enforces the limits.

"Spent" is the charges and open holds of work that was ordered this month (docs/decisions/0012).
"""

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, time

from django.utils import timezone

from accounts.models import Organization
from billing import months
from billing.models import MonthlySpend, Wallet


@dataclass(frozen=True, slots=True)
class Standing:
    """This month of an organization."""

    limit_micros: int | None
    spent_micros: int
    # None without a limit. Never negative, even if the limit was set below what was spent.
    left_micros: int | None
    resets_at: datetime


def organization_standing(organization: Organization) -> Standing:
    """Return this month of the whole organization, keys and people together."""
    return wallet_standing(Wallet.objects.of(organization).first())


def wallet_standing(wallet: Wallet | None) -> Standing:
    """Return this month of the organization with the wallet; None if it has none yet."""
    now = timezone.now()
    limit_micros = wallet.limit_at(now) if wallet else None
    month = months.month_of(now)
    spend = MonthlySpend.objects.filter(wallet=wallet, api_key=None, month=month).first() if wallet else None
    spent_micros = spend.spent_micros if spend else 0
    return Standing(
        limit_micros=limit_micros,
        spent_micros=spent_micros,
        left_micros=None if limit_micros is None else max(0, limit_micros - spent_micros),
        resets_at=resets_at(now),
    )


def resets_at(now: datetime) -> datetime:
    """Return when the limits of this month count no more: the first moment of the next one, in UTC."""
    return datetime.combine(months.next_month(months.month_of(now)), time(), UTC)


def spent_by_keys(organization: Organization) -> dict[uuid.UUID, int]:
    """Return what each key has spent this month, in micro-dollars, by its id. A key that spent nothing is left out."""
    month = months.month_of(timezone.now())
    spends = MonthlySpend.objects.filter(wallet__organization=organization, api_key__isnull=False, month=month)
    return dict(spends.values_list("api_key_id", "spent_micros"))
