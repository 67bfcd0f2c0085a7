"""How far a month's spending has come against its limits, to be shown. The limits are enforced by the ledger.

"Spent" is charges and open holds of the work that was ordered this month (docs/decisions/0012).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time

from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import months
from billing.models import MonthlySpend, Wallet


@dataclass(frozen=True, slots=True)
class Standing:
    """This month of an organization or of a key."""

    limit_micros: int | None
    spent_micros: int
    # None without a limit; never below zero, also where the limit was set below what was spent.
    left_micros: int | None
    resets_at: datetime


def organization_standing(organization: Organization, *, now: datetime | None = None) -> Standing:
    """Return the month of the whole organization, keys and people together."""
    wallet = Wallet.objects.of(organization).first()
    return _standing(organization, key=None, limit_micros=wallet.monthly_limit_micros if wallet else None, now=now)


def key_standing(api_key: ApiKey, *, now: datetime | None = None) -> Standing:
    """Return the month of one key."""
    return _standing(api_key.organization, key=api_key, limit_micros=api_key.monthly_limit_micros, now=now)


def _standing(
    organization: Organization, *, key: ApiKey | None, limit_micros: int | None, now: datetime | None
) -> Standing:
    month = months.month_of(now or timezone.now())
    spend = MonthlySpend.objects.filter(wallet__organization=organization, api_key=key, month=month).first()
    spent_micros = spend.spent_micros if spend else 0
    return Standing(
        limit_micros=limit_micros,
        spent_micros=spent_micros,
        left_micros=None if limit_micros is None else max(0, limit_micros - spent_micros),
        resets_at=datetime.combine(months.next_month(month), time(), UTC),
    )
