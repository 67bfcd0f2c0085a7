"""Ledger entries for customers: in pages, filtered, as a CSV file. Reads only; `ledger` writes.

Any page costs as little as the first, also among a million entries: pages are selected by id, a period is converted to
a range of ids first, and keys and models have indexes.
"""

import csv
import io
import json
import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.db.models import OuterRef, Q, Subquery

from accounts.models import Organization
from billing import money, usage
from billing.models import ChargeTag, Entry, EntryKind, EntryQuerySet, Wallet
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
    "tags",
)
CSV_BATCH_SIZE = 1000
# Ids of one wallet are in the order of its entries. Times are only as ordered as the hosts' clocks agree.
CLOCK_SKEW = timedelta(minutes=5)
MAX_MODELS = 100
# Where a spreadsheet may begin a cell: at the start of the text and, in locales that separate columns by semicolons,
# after a semicolon inside it. The last four are the full-width forms, which some spreadsheets read as the plain ones.
FORMULA_START = re.compile(r"""((?:^|[;\t\r\n])["'\s]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])""")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which entries to return. The default selects all."""

    kind: EntryKind | None = None
    # First and last day, both included, in UTC.
    since: date | None = None
    until: date | None = None
    # Only charges of this API key; or only charges without a key.
    api_key_id: uuid.UUID | None = None
    is_without_key: bool = False
    # Only charges of this model.
    model: str = ""
    # Only charges with a tag of this name; with this value of it, unless that is None.
    tag: str = ""
    tag_value: str | None = None

    @property
    def is_of_usage(self) -> bool:
        """Whether it filters by a field that only charges have."""
        return bool(self.api_key_id or self.is_without_key or self.model or self.tag)


ALL = Filter()


# (references of entries) -> names of what they refer to, by reference.
NamesOfReferences = Callable[[Sequence[str]], Mapping[str, str]]
_names_of_references: list[NamesOfReferences] = []


def name_references(names_of: NamesOfReferences) -> None:
    """Add a source of names. Call it when apps start.

    An entry can never be changed, so it has no name that somebody may want deleted, such as that of a file. Who owns
    what the reference names knows the name for as long as it exists.
    """
    if names_of not in _names_of_references:
        _names_of_references.append(names_of)


def descriptions(rows: Sequence[Entry]) -> dict[int, str]:
    """Return what entries are about, by their ids: the description and, as long as it exists, the name."""
    references = [row.reference for row in rows if row.kind == EntryKind.USAGE]
    names = {reference: name for names_of in _names_of_references for reference, name in names_of(references).items()}
    shown = {}
    for row in rows:
        name = names.get(row.reference, "") if row.kind == EntryKind.USAGE else ""
        # An entry of before has the name in its description.
        has_name = not name or name in row.description
        shown[row.pk] = row.description if has_name else f"{row.description}: {name}"
    return shown


def entries(organization: Organization, *, limit: int, before: int | None = None, only: Filter = ALL) -> list[Entry]:
    """Return a page of entries, newest first.

    before: id of the last entry of the previous page; None for the first page.
    """
    page = _filtered(organization, only=only).newest_first()
    if before is not None:
        page = page.filter(id__lt=before)
    return list(page[:limit])


def latest(wallet: Wallet, *, limit: int) -> list[Entry]:
    """Return the newest entries of a wallet that was read."""
    return list(wallet.entries.order_by("-id")[:limit])


def models(organization: Organization) -> list[str]:
    """Return the names of up to MAX_MODELS models that the organization was charged for, sorted.

    One query for each name, which the index answers at once; DISTINCT would read every entry.
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


def csv_lines(organization: Organization, *, only: Filter = ALL, batch_size: int = CSV_BATCH_SIZE) -> Iterator[str]:
    """Yield the entries as CSV, a heading first, then oldest first: one text for each batch of lines.

    Reads in batches by id. Between batches it needs no cursor and no connection, and only one batch is in memory.
    Unfiltered, the amounts sum to the balance.
    """
    yield _csv_text([CSV_COLUMNS])
    labels = usage.key_labels(organization)
    last_id = 0
    selected = _filtered(organization, only=only).prefetch_related("tags").order_by("id")
    while batch := list(selected.filter(id__gt=last_id)[:batch_size]):
        shown = descriptions(batch)
        yield _csv_text([_csv_row(entry, labels=labels, description=shown[entry.pk]) for entry in batch])
        last_id = batch[-1].pk


def _filtered(organization: Organization, *, only: Filter) -> EntryQuerySet:
    entries = entries_of(organization)
    found = entries
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
    if only.tag:
        # A value and not EXISTS, which the planner may turn round: for a rare tag it would read those of all wallets.
        of_entry = ChargeTag.objects.filter(entry=OuterRef("pk"), name=only.tag)
        found = found.alias(of_tag=Subquery(of_entry.values("value")[:1]))
        has_tag = Q(of_tag__isnull=False) if only.tag_value is None else Q(of_tag=only.tag_value)
        found = found.filter(has_tag)
    if only.since is not None:
        start = usage.start_of_day(only.since)
        found = found.filter(created_at__gte=start, id__gt=_last_id_before(entries, start - CLOCK_SKEW))
    if only.until is not None:
        end = usage.start_of_day(only.until + timedelta(days=1))
        found = found.filter(created_at__lt=end, id__lt=_first_id_after(entries, end + CLOCK_SKEW))
    return found


def _last_id_before(entries: EntryQuerySet, moment: datetime) -> int:
    """Return the id of the last entry before the moment, or 0. Entries later by CLOCK_SKEW or more have higher ids."""
    earlier = entries.filter(created_at__lt=moment).order_by("-created_at")
    last = earlier.values_list("id", flat=True).first()
    return 0 if last is None else last


def _first_id_after(entries: EntryQuerySet, moment: datetime) -> int:
    """Return the id of the first entry from the moment on, else a maximum. Entries CLOCK_SKEW older have lower ids."""
    later = entries.filter(created_at__gte=moment).order_by("created_at")
    first = later.values_list("id", flat=True).first()
    return 2**63 - 1 if first is None else first


def _csv_row(entry: Entry, *, labels: dict[str, usage.KeyLabel], description: str) -> tuple[str, ...]:
    label = labels.get(str(entry.details.get("api_key_id") or ""))
    return (
        f"{entry.created_at:%Y-%m-%d %H:%M:%S}",
        entry.kind,
        harmless(description),
        harmless(entry.reference),
        harmless(label.name if label else ""),
        harmless(str(entry.details.get("model") or "")),
        money.dollars_text(entry.amount_micros, places=6),
        str(entry.amount_micros),
        money.dollars_text(entry.balance_after_micros, places=6),
        str(entry.balance_after_micros),
        harmless(_tags_text(entry)),
    )


def _tags_text(entry: Entry) -> str:
    """Return the tags of a charge as a JSON object, "" for none: names and values may have any sign in them."""
    tags = {tag.name: tag.value for tag in sorted(entry.tags.all(), key=lambda tag: tag.name)}
    return json.dumps(tags, ensure_ascii=False) if tags else ""


def harmless(text: str) -> str:
    """Return a text that a spreadsheet does not run as a formula (CSV injection by the name of a file or key)."""
    return FORMULA_START.sub(r"\1'", text)


def _csv_text(rows: list[tuple[str, ...]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue()
