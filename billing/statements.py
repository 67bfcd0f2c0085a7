"""What the money looks like: balance, book, holds, spending. Reads only, and makes no wallet for who has none."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Sum

from accounts.models import Organization
from billing import money
from billing.models import Entry, EntryKind, Hold, Wallet

RECENT_TOPUPS_COUNT = 10
CSV_COLUMNS = ("time_utc", "kind", "description", "reference", "amount_usd", "balance_after_usd")
CSV_BATCH_COUNT = 1000


@dataclass(frozen=True, slots=True)
class TopUp:
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
    recent_topups: tuple[TopUp, ...]


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
        is_expired=False,
        expires_at=None,
        recent_topups=tuple(_recent_topups(organization)),
    )


def entries(organization: Organization, *, limit: int, before: int | None = None) -> list[Entry]:
    """Return a page of the book, newest first; each entry carries the balance after it.

    before: the id of the last entry of the page before.
    """
    page = Entry.objects.of(organization).newest_first()
    if before is not None:
        page = page.filter(id__lt=before)
    return list(page[:limit])


def open_holds(organization: Organization) -> list[Hold]:
    """Return what is set aside now, oldest first."""
    return list(Hold.objects.of(organization).open().order_by("created_at", "id"))


def spent_since(organization: Organization, moment: datetime) -> int:
    """Return how much was used since the moment, in micro-dollars, as a positive number."""
    used = Entry.objects.of(organization).filter(kind=EntryKind.USAGE, created_at__gte=moment)
    return -(used.aggregate(sum=Sum("amount_micros"))["sum"] or 0)


def csv_lines(organization: Organization) -> Iterator[str]:
    """Yield the book as CSV, oldest first, the heading before it: one text for each batch of lines.

    Reads in batches by id, so that no cursor and no connection is needed between them.
    """
    yield _csv_text([CSV_COLUMNS])
    last_id = 0
    while batch := list(Entry.objects.of(organization).filter(id__gt=last_id).order_by("id")[:CSV_BATCH_COUNT]):
        yield _csv_text([_csv_row(entry) for entry in batch])
        last_id = batch[-1].pk


def _recent_topups(organization: Organization) -> Iterator[TopUp]:
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
        yield TopUp(
            amount_cents=money.cents_down(payment.amount_micros),
            bonus_cents=money.cents_down(bonuses.get(payment.reference, 0)),
            created_at=payment.created_at,
        )


def _csv_row(entry: Entry) -> tuple[str, ...]:
    return (
        f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
        entry.kind,
        _harmless(entry.description),
        _harmless(entry.reference),
        money.dollars_text(entry.amount_micros, places=6),
        money.dollars_text(entry.balance_after_micros, places=6),
    )


def _harmless(text: str) -> str:
    """Keep a spreadsheet from running a description, which may hold a customer's file name, as a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv_text(rows: list[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
