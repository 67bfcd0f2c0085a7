"""Usage reports: an organization's charges by day, by model and by API key. Reads only."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from django.db.models import BigIntegerField, Count, ExpressionWrapper, Sum, TextField
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncDate

from accounts.models import ApiKey, Organization
from billing.models import Entry, EntryKind, EntryQuerySet, Wallet

# Days outside are treated as typing errors. One day after date.max would overflow.
MIN_DAY = date(2000, 1, 1)
MAX_DAY = date(2100, 12, 31)
# SQLite reads a JSON null as this text.
JSON_NULL = "null"


@dataclass(frozen=True, slots=True)
class Amounts:
    """Sums over some charges."""

    charges_count: int = 0
    # Positive: the amount taken from the balance.
    cost_micros: int = 0
    # Of transcriptions only.
    audio_ms: int = 0
    # Of chat completions only.
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    def __add__(self, other: "Amounts") -> "Amounts":
        return Amounts(
            charges_count=self.charges_count + other.charges_count,
            cost_micros=self.cost_micros + other.cost_micros,
            audio_ms=self.audio_ms + other.audio_ms,
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class KeyLabel:
    """Name and prefix of an API key. key_id None: work in the browser, or a key that no longer exists."""

    key_id: uuid.UUID | None
    name: str
    prefix: str = ""


BROWSER = KeyLabel(key_id=None, name="In the browser")


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The charges of a period."""

    # First and last day of the period, both included, in UTC.
    since: date
    until: date
    total: Amounts
    # Every day of the period in order, including days without charges.
    by_day: dict[date, Amounts]
    # Both sorted by cost, highest first.
    by_model: dict[str, Amounts]
    by_key: dict[KeyLabel, Amounts]


def report(organization: Organization, *, since: date, until: date) -> UsageReport:
    """Return the organization's charges of a period. since, until: first and last day, both included, in UTC."""
    total = Amounts()
    by_day = {since + timedelta(days=number): Amounts() for number in range((until - since).days + 1)}
    by_model: dict[str, Amounts] = {}
    by_key: dict[KeyLabel, Amounts] = {}
    labels = key_labels(organization)
    for day, model, key_id, amounts in _groups(organization, since=since, until=until):
        label = labels.get(key_id) or KeyLabel(key_id=None, name="A key of the past") if key_id else BROWSER
        total += amounts
        by_day[day] = by_day[day] + amounts
        by_model[model] = by_model.get(model, Amounts()) + amounts
        by_key[label] = by_key.get(label, Amounts()) + amounts
    return UsageReport(
        since=since,
        until=until,
        total=total,
        by_day=by_day,
        by_model=dict(sorted(by_model.items(), key=lambda item: (-item[1].cost_micros, item[0]))),
        by_key=dict(sorted(by_key.items(), key=lambda item: (-item[1].cost_micros, item[0].name))),
    )


def key_labels(organization: Organization) -> dict[str, KeyLabel]:
    """Return the labels of the organization's keys by id. An entry that names another organization's key gets none."""
    keys = ApiKey.objects.of(organization).only("id", "name", "prefix")
    return {str(key.pk): KeyLabel(key_id=key.pk, name=key.name, prefix=key.prefix) for key in keys}


def entries_of(organization: Organization) -> EntryQuerySet:
    """Return the organization's ledger entries, filtered by the wallet's id.

    PostgreSQL chooses the plan by how many entries that wallet has. With a join it cannot know the wallet: finding an
    old day among a million entries took 470 ms instead of 5 ms.
    """
    wallet_id = Wallet.objects.of(organization).values_list("id", flat=True).first()
    return Entry.objects.none() if wallet_id is None else Entry.objects.filter(wallet_id=wallet_id)


def detail(name: str) -> Combinable:
    """Return an expression for a text in an entry's details. It matches the indexes of Entry.

    The wrapper keeps Django from comparing the text as JSON. On SQLite a null reads as JSON_NULL.
    """
    return ExpressionWrapper(KeyTextTransform(name, "details"), output_field=TextField())


def start_of_day(day: date) -> datetime:
    """Return the first moment of a day in UTC."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def _groups(organization: Organization, *, since: date, until: date) -> Iterator[tuple[date, str, str, Amounts]]:
    """Yield (day, model, key id, amounts). Model and key id are empty if the entries have none.

    One query reads the period once and returns one row for each combination.
    """
    rows = (
        entries_of(organization)
        .filter(
            kind=EntryKind.USAGE,
            created_at__gte=start_of_day(since),
            created_at__lt=start_of_day(until + timedelta(days=1)),
        )
        .order_by()
        .values(
            day=TruncDate("created_at", tzinfo=UTC),
            model=detail("model"),
            key_id=detail("api_key_id"),
        )
        .annotate(
            count=Count("id"),
            micros=Sum("amount_micros"),
            duration_ms=_sum("duration_ms"),
            prompt_tokens=_sum("prompt_tokens"),
            completion_tokens=_sum("completion_tokens"),
        )
    )
    for row in rows:
        yield (
            row["day"],
            _text(row["model"]),
            _text(row["key_id"]),
            Amounts(
                charges_count=row["count"],
                cost_micros=-row["micros"],
                audio_ms=row["duration_ms"] or 0,
                prompt_tokens=row["prompt_tokens"] or 0,
                completion_tokens=row["completion_tokens"] or 0,
            ),
        )


def _sum(name: str) -> Sum:
    """Return the sum of an integer in the details."""
    return Sum(Cast(KeyTextTransform(name, "details"), BigIntegerField()))


def _text(value: str | None) -> str:
    return "" if value is None or value == JSON_NULL else value
