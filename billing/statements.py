"""What the money looks like now: balance, holds, spending. Reads only, and makes no wallet for who has none.

`book` reads the entries, `usage` sums the charges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum
from django.utils import timezone

from accounts.models import Organization
from billing import money
from billing.models import Entry, EntryKind, Hold, Wallet
from billing.usage import entries_of

RECENT_TOPUPS_COUNT = 10


@dataclass(frozen=True, slots=True)
class RecentTopUp:
    """A payment, with what was given on top of it."""

    amount_cents: int
    bonus_cents: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Balance:
    """An organization's money at one moment."""

    # What can be spent now: the balance without what is held, rounded down.
    balance_cents: int
    # The same as text, "99.98".
    balance_dollars: str
    # Exact: all money, held money included; the held part; the rest.
    balance_micros: int
    held_micros: int
    available_micros: int
    # Rounded up: with balance_cents it makes the whole.
    held_cents: int
    is_expired: bool
    expires_at: datetime | None
    # Newest first.
    recent_topups: tuple[RecentTopUp, ...]


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) so far."""

    # Charged; what is only held is not in it.
    spent_micros: int
    # The most that may be spent and held in it; None: no limit.
    limit_micros: int | None


def balance(organization: Organization) -> Balance:
    """Return what the organization has, zeros if it never had any."""
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
    """Return what is set aside now, oldest first."""
    return list(Hold.objects.of(organization).open().order_by("created_at", "id")[:limit])


def month(organization: Organization) -> Month:
    """Return how this month stands."""
    return Month(
        spent_micros=spent_since(organization, start_of_month()),
        limit_micros=Wallet.objects.of(organization).values_list("monthly_limit_micros", flat=True).first(),
    )


def start_of_month() -> datetime:
    """Return the first moment of this month in UTC."""
    return timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def spent_since(organization: Organization, moment: datetime) -> int:
    """Return how much was used since the moment, in micro-dollars, as a positive number."""
    used = entries_of(organization).filter(kind=EntryKind.USAGE, created_at__gte=moment)
    return -(used.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def _recent_topups(organization: Organization) -> Iterator[RecentTopUp]:
    book = Entry.objects.of(organization)
    payments = list(book.filter(kind=EntryKind.PAYMENT).order_by("-created_at", "-id")[:RECENT_TOPUPS_COUNT])
    if not payments:
        return
    # A bonus carries the reference of its payment.
    references = [payment.reference for payment in payments]
    bonuses = dict(
        book.filter(kind=EntryKind.BONUS, reference__in=references).values_list("reference", "amount_micros")
    )
    for payment in payments:
        yield RecentTopUp(
            amount_cents=money.cents_down(payment.amount_micros),
            bonus_cents=money.cents_down(bonuses.get(payment.reference, 0)),
            created_at=payment.created_at,
        )
