"""An organization's balance, open holds and spending. Reads only; creates no wallet for an organization without one.

`ledger_reader` lists the entries, `usage` sums the charges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum
from django.utils import timezone

from accounts.models import Organization
from billing import money, months
from billing.models import Entry, EntryKind, Hold, Wallet
from billing.usage import entries_of

RECENT_TOPUPS_COUNT = 10


@dataclass(frozen=True, slots=True)
class RecentTopUp:
    """A payment and its bonus."""

    amount_cents: int
    bonus_cents: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """An organization's money at one moment."""

    # What can be spent now: the balance less the held money, rounded down.
    balance_cents: int
    # The same as text, "99.98".
    balance_dollars: str
    # Exact. balance_micros includes held money; available_micros is the difference.
    balance_micros: int
    held_micros: int
    available_micros: int
    # Rounded up, so that balance_cents and held_cents add up to the whole balance.
    held_cents: int
    is_expired: bool
    expires_at: datetime | None
    # Newest first.
    recent_topups: tuple[RecentTopUp, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) so far."""

    # Charges only, without open holds.
    spent_micros: int
    # Bounds charges and open holds together. None: no limit.
    limit_micros: int | None


def balance(organization: Organization) -> Balance:
    """Return the organization's balance; all zero if it has no wallet."""
    wallet = Wallet.objects.of(organization).first() or Wallet()
    spendable_cents = money.cents_down(wallet.available_micros)
    return Balance(
        balance_cents=spendable_cents,
        balance_dollars=money.dollars_text(spendable_cents * money.MICROS_PER_CENT),
        balance_micros=wallet.balance_micros,
        held_micros=wallet.held_micros,
        available_micros=wallet.available_micros,
        held_cents=money.cents_up(wallet.held_micros),
        is_expired=wallet.expired_at is not None,
        expires_at=wallet.expires_at,
        recent_topups=tuple(_recent_topups(organization)),
    )


def open_holds(organization: Organization, *, limit: int | None = None) -> list[Hold]:
    """Return the open holds, oldest first."""
    return list(Hold.objects.of(organization).open().order_by("created_at", "id")[:limit])


def month(organization: Organization) -> Month:
    """Return this month's spending and its limit."""
    return Month(
        spent_micros=spent_since(organization, months.start_of_month(timezone.now())),
        limit_micros=Wallet.objects.of(organization).values_list("monthly_limit_micros", flat=True).first(),
    )


def spent_since(organization: Organization, moment: datetime) -> int:
    """Return the charges since a moment, in micro-dollars, as a positive number."""
    charges = entries_of(organization).filter(kind=EntryKind.USAGE, created_at__gte=moment)
    return -(charges.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def _recent_topups(organization: Organization) -> Iterator[RecentTopUp]:
    entries = Entry.objects.of(organization)
    payments = list(entries.filter(kind=EntryKind.PAYMENT).order_by("-created_at", "-id")[:RECENT_TOPUPS_COUNT])
    if not payments:
        return
    # A bonus carries the reference of its payment.
    references = [payment.reference for payment in payments]
    bonuses = dict(
        entries.filter(kind=EntryKind.BONUS, reference__in=references).values_list("reference", "amount_micros")
    )
    for payment in payments:
        yield RecentTopUp(
            amount_cents=money.cents_down(payment.amount_micros),
            bonus_cents=money.cents_down(bonuses.get(payment.reference, 0)),
            created_at=payment.created_at,
        )
