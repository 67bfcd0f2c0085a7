"""An organization's balance, open holds and spending. Reads only; creates no wallet for an organization without one.

`ledger_reader` lists the entries, `usage` sums the charges.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.db.models import Sum
from django.utils import timezone

from accounts.models import ApiKey, Organization
from billing import claw_backs, ledger, money, months, refund_math
from billing.models import Entry, EntryKind, EntryQuerySet, Hold, Wallet
from billing.usage import entries_of

RECENT_TOPUPS_COUNT = 10


@dataclass(frozen=True, slots=True)
class RecentTopUp:
    """A payment and its bonus, without what was refunded or is disputed."""

    amount_cents: int
    bonus_cents: int
    created_at: datetime


@dataclass(frozen=True)
class Balance:
    """An organization's money at one moment."""

    # None for an organization without one.
    wallet_id: int | None
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

    @property
    def available_percent(self) -> int:
        """The available share of the balance in percent: 0 to 100, and 0 for an empty balance."""
        if self.balance_micros <= 0:
            return 0
        return max(0, self.available_micros * 100 // self.balance_micros)

    @cached_property
    def recent_topups(self) -> tuple[RecentTopUp, ...]:
        """The last payments with their bonuses, newest first. A payment that was returned whole is not among them.

        Asked for when it is read: every page shows a balance.
        """
        return () if self.wallet_id is None else tuple(_recent_topups(self.wallet_id))


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC) so far."""

    # Charges only, without open holds.
    spent_micros: int
    # Bounds charges and open holds together. None: no limit.
    limit_micros: int | None


def balance(organization: Organization) -> Balance:
    """Return the organization's balance; all zero if it has no wallet."""
    return balance_of(Wallet.objects.of(organization).first())


def balance_of(wallet: Wallet | None) -> Balance:
    """Return the balance in a wallet that was read; all zero without one."""
    wallet = wallet or Wallet()
    spendable_cents = money.cents_down(wallet.available_micros)
    return Balance(
        wallet_id=wallet.pk,
        balance_cents=spendable_cents,
        balance_dollars=money.dollars_text(spendable_cents * money.MICROS_PER_CENT),
        balance_micros=wallet.balance_micros,
        held_micros=wallet.held_micros,
        available_micros=wallet.available_micros,
        held_cents=money.cents_up(wallet.held_micros),
        is_expired=wallet.expired_at is not None,
        expires_at=wallet.expires_at,
    )


def available_micros(organization: Organization, *, api_key: ApiKey | None = None) -> int:
    """Return what the organization can spend now: its balance less the held money.

    api_key: who is told. A token is told what is left of its own limit, and nothing of the organization.
    """
    if api_key is not None and api_key.is_token:
        return ledger.token_headroom(api_key.pk).left_micros
    return (Wallet.objects.of(organization).first() or Wallet()).available_micros


def open_holds(organization: Organization, *, limit: int | None = None) -> list[Hold]:
    """Return the open holds, oldest first."""
    return list(Hold.objects.of(organization).open().order_by("created_at", "id")[:limit])


def month(organization: Organization) -> Month:
    """Return this month's spending and its limit."""
    return month_of(Wallet.objects.of(organization).first())


def month_of(wallet: Wallet | None) -> Month:
    """Return the same of a wallet that was read."""
    now = timezone.now()
    return Month(
        spent_micros=_spent(Entry.objects.filter(wallet=wallet), since=months.start_of_month(now)) if wallet else 0,
        limit_micros=wallet.limit_at(now) if wallet else None,
    )


def spent_since(organization: Organization, moment: datetime) -> int:
    """Return the charges since a moment, in micro-dollars, as a positive number."""
    return _spent(entries_of(organization), since=moment)


def _spent(entries: EntryQuerySet, *, since: datetime) -> int:
    charges = entries.filter(kind=EntryKind.USAGE, created_at__gte=since)
    return -(charges.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def _recent_topups(wallet_id: int) -> Iterator[RecentTopUp]:
    entries = Entry.objects.filter(wallet_id=wallet_id)
    returned = claw_backs.returned_topups(wallet_id)
    gone = [topup.reference for topup, cents in returned.items() if cents >= topup.amount_cents]
    left = entries.filter(kind=EntryKind.PAYMENT).exclude(reference__in=gone)
    payments = list(left.order_by("-created_at", "-id")[:RECENT_TOPUPS_COUNT])
    if not payments:
        return
    partly = {topup.reference: (topup, cents) for topup, cents in returned.items()}
    # A bonus carries the reference of its payment.
    references = [payment.reference for payment in payments]
    bonuses = dict(
        entries.filter(kind=EntryKind.BONUS, reference__in=references).values_list("reference", "amount_micros")
    )
    for payment in payments:
        amount_micros, bonus_micros = payment.amount_micros, bonuses.get(payment.reference, 0)
        if payment.reference in partly:
            topup, cents = partly[payment.reference]
            taken_micros = refund_math.clawed_micros(
                paid_cents=topup.amount_cents, bonus_cents=topup.bonus_cents, returned_cents=cents
            )
            amount_micros -= cents * money.MICROS_PER_CENT
            bonus_micros -= taken_micros - cents * money.MICROS_PER_CENT
        yield RecentTopUp(
            amount_cents=money.cents_down(amount_micros),
            bonus_cents=money.cents_down(bonus_micros),
            created_at=payment.created_at,
        )
