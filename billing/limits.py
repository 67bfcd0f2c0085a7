"""How much of its monthly limit an organization has spent, for pages. The ledger enforces the limits.

"Spent" is the charges and open holds of work that was ordered this month (docs/decisions/0012).
"""

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
    wallet = Wallet.objects.of(organization).first()
    limit_micros = wallet.monthly_limit_micros if wallet else None
    month = months.month_of(timezone.now())
    spend = MonthlySpend.objects.filter(wallet__organization=organization, api_key=None, month=month).first()
    spent_micros = spend.spent_micros if spend else 0
    return Standing(
        limit_micros=limit_micros,
        spent_micros=spent_micros,
        left_micros=None if limit_micros is None else max(0, limit_micros - spent_micros),
        resets_at=datetime.combine(months.next_month(month), time(), UTC),
    )
