"""The book as its owner reads it: in pages, filtered, as a file. Reads only; `ledger` writes.

A page of a book of a million entries costs as little as the first: pages go by id, a period is turned into a range of
ids first, and keys and models have indexes of their own.
"""

import csv
import io
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import Q

from accounts.models import Organization
from billing import money, usage
from billing.models import Entry, EntryKind, EntryQuerySet
from billing.usage import entries_of

CSV_COLUMNS = (
    "time_utc",
    "kind",
    "description",
    "reference",
    "key",
    "model",
    "amount_usd",
    "amount_micros",
    "balance_after_usd",
    "balance_after_micros",
)
CSV_BATCH_SIZE = 1000
# Ids of one wallet are in the order of the book, times only as far as the clocks of our hosts agree.
CLOCK_SKEW = timedelta(minutes=5)
MAX_MODELS = 100
# Where a spreadsheet begins a cell: at the start, and, where lists are separated by semicolons, after one in the middle
# of ours. The last four are the full-width forms, which some of them read as the plain ones.
FORMULA_START = re.compile(r"""((?:^|[;\t\r\n])["'\s]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])""")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries are wanted. Nothing set: all of them."""

    kind: EntryKind | None = None
    # First and last day, both included, in UTC.
    since: date | None = None
    until: date | None = None
    # Only charges that were caused with this key; or only those that were caused with none.
    api_key_id: uuid.UUID | None = None
    is_without_key: bool = False
    # Only charges for this model.
    model: str = ""

    @property
    def is_of_usage(self) -> bool:
        """Tell whether it asks for something that only charges have."""
        return bool(self.api_key_id or self.is_without_key or self.model)


ALL = Filter()


def entries(organization: Organization, *, limit: int, before: int | None = None, only: Filter = ALL) -> list[Entry]:
    """Return a page of the book, newest first; each entry carries the balance after it.

    before: the id of the last entry of the page before.
    """
    page = _filtered(organization, only=only).newest_first()
    if before is not None:
        page = page.filter(id__lt=before)
    return list(page[:limit])


def models(organization: Organization) -> list[str]:
    """Return the names of the models that the organization was ever charged for, sorted.

    Asks for the next name each time, which the index answers at once; DISTINCT would read every entry.
    """
    names: list[str] = []
    charges = entries_of(organization).filter(kind=EntryKind.USAGE)
    by_model = charges.annotate(model=usage.detail("model")).order_by("model")
    while len(names) < MAX_MODELS:
        later = by_model.filter(model__gt=names[-1] if names else "")
        name = later.values_list("model", flat=True).first()
        if name is None:
            break
        names.append(name)
    return [name for name in names if name != usage.JSON_NULL]


def csv_lines(organization: Organization, *, only: Filter = ALL) -> Iterator[str]:
    """Yield the book as CSV, oldest first, the heading before it: one text for each batch of lines.

    Reads in batches by id, so that no cursor and no connection is needed between them, and no more than one batch is
    in memory. Unfiltered, the amounts sum to the balance.
    """
    yield _csv_text([CSV_COLUMNS])
    labels = usage.key_labels(organization)
    last_id = 0
    while batch := list(_filtered(organization, only=only).filter(id__gt=last_id).order_by("id")[:CSV_BATCH_SIZE]):
        yield _csv_text([_csv_row(entry, labels=labels) for entry in batch])
        last_id = batch[-1].pk


def _filtered(organization: Organization, *, only: Filter) -> EntryQuerySet:
    book = entries_of(organization)
    found = book
    if only.kind is not None:
        found = found.filter(kind=only.kind)
    if only.is_of_usage:
        found = found.filter(kind=EntryKind.USAGE)
    if only.api_key_id is not None:
        found = found.annotate(key_id=usage.detail("api_key_id")).filter(key_id=str(only.api_key_id))
    if only.is_without_key:
        key_id_is_empty = Q(key_id__isnull=True) | Q(key_id=usage.JSON_NULL)
        found = found.annotate(key_id=usage.detail("api_key_id")).filter(key_id_is_empty)
    if only.model:
        found = found.annotate(model=usage.detail("model")).filter(model=only.model)
    if only.since is not None:
        start = usage.start_of_day(only.since)
        found = found.filter(created_at__gte=start, id__gt=_last_id_before(book, start - CLOCK_SKEW))
    if only.until is not None:
        end = usage.start_of_day(only.until + timedelta(days=1))
        found = found.filter(created_at__lt=end, id__lt=_first_id_after(book, end + CLOCK_SKEW))
    return found


def _last_id_before(book: EntryQuerySet, moment: datetime) -> int:
    """Return an id after which every entry lies that is younger than this by more than the clocks may differ."""
    earlier = book.filter(created_at__lt=moment).order_by("-created_at")
    last = earlier.values_list("id", flat=True).first()
    return 0 if last is None else last


def _first_id_after(book: EntryQuerySet, moment: datetime) -> int:
    """Return an id before which every entry lies that is older than this by more than the clocks may differ."""
    later = book.filter(created_at__gte=moment).order_by("created_at")
    first = later.values_list("id", flat=True).first()
    return 2**63 - 1 if first is None else first


def _csv_row(entry: Entry, *, labels: dict[str, usage.KeyLabel]) -> tuple[str, ...]:
    label = labels.get(str(entry.details.get("api_key_id") or ""))
    return (
        f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
        entry.kind,
        harmless(entry.description),
        harmless(entry.reference),
        harmless(label.name if label else ""),
        harmless(str(entry.details.get("model") or "")),
        money.dollars_text(entry.amount_micros, places=6),
        str(entry.amount_micros),
        money.dollars_text(entry.balance_after_micros, places=6),
        str(entry.balance_after_micros),
    )


def harmless(text: str) -> str:
    """Keep a spreadsheet from running a customer's file name or a key's name as a formula."""
    return FORMULA_START.sub(r"\1'", text)


def _csv_text(rows: list[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
