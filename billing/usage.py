"""Usage reports: an organization's charges by day, model, API key, tag and kind of work. Reads only.

A report reads each charge of the period once, or takes the sum of a past month that was computed before. So its lines
add up to its total, and its total is that of the ledger's entries.
"""

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import (
    BigIntegerField,
    Case,
    Count,
    DateField,
    ExpressionWrapper,
    F,
    FilteredRelation,
    OuterRef,
    Q,
    Subquery,
    Sum,
    TextField,
    Value,
    When,
)
from django.db.models.expressions import Combinable
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, TruncDate, TruncMonth
from django.utils import timezone

from accounts.errors import InvalidField
from accounts.models import ApiKey, Organization
from billing import usage_cache
from billing.models import ChargeTag, Entry, EntryKind, EntryQuerySet, Wallet

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
# Of a charge by a key that there is no more.
PAST_KEY = KeyLabel(key_id=None, name="A key of the past")
# What charges can be grouped by. "tag" is by the values of one tag.
GROUPS = ("day", "model", "key", "tag", "kind")
# Kinds of work, by how the references of their charges begin.
KINDS = {"transcription": "job:", "chat": "chat:"}
OTHER = "other"
MAX_TAG_NAMES = 50
# Values of one tag in a report. A tag with a number for each request has as many as there are requests.
MAX_TAG_VALUES = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Only:
    """Which charges are counted. The default counts all.

    tag: name of a tag. tag_value: only charges with this value of it, None for any and none.
    """

    api_key_id: uuid.UUID | None = None
    is_without_key: bool = False
    model: str = ""
    kind: str = ""
    tag: str = ""
    tag_value: str | None = None


ALL = Only()


@dataclass(frozen=True, slots=True)
class Line:
    """What some charges come to that are alike in every group.

    group: group of GROUPS -> its value: a date, the name of a model ("" for none), a KeyLabel, the value of the tag
        (None for charges without it), the name of a kind.
    """

    group: Mapping[str, Any]
    amounts: Amounts


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


def report(organization: Organization, *, since: date, until: date, only: Only = ALL) -> UsageReport:
    """Return the organization's charges of a period. since, until: first and last day, both included, in UTC."""
    total = Amounts()
    by_day = {since + timedelta(days=number): Amounts() for number in range((until - since).days + 1)}
    by_model: dict[str, Amounts] = {}
    by_key: dict[KeyLabel, Amounts] = {}
    for line in lines(organization, since=since, until=until, group_by=("day", "model", "key"), only=only):
        day, model, label = line.group["day"], line.group["model"], line.group["key"]
        total += line.amounts
        by_day[day] = by_day[day] + line.amounts
        by_model[model] = by_model.get(model, Amounts()) + line.amounts
        by_key[label] = by_key.get(label, Amounts()) + line.amounts
    return UsageReport(
        since=since,
        until=until,
        total=total,
        by_day=by_day,
        by_model=dict(sorted(by_model.items(), key=lambda item: (-item[1].cost_micros, item[0]))),
        by_key=dict(sorted(by_key.items(), key=lambda item: (-item[1].cost_micros, item[0].name))),
    )


def cost_by_day(organization: Organization, *, since: date, until: date) -> dict[date, int]:
    """Return the cost of each day of a period in micro-dollars, also of days without charges. Both days are included.

    One query, for pages that have many others: `report` asks for each month by itself.
    """
    days = {since + timedelta(days=number): 0 for number in range((until - since).days + 1)}
    charges = entries_of(organization).filter(_days(since, until), kind=EntryKind.USAGE).order_by()
    for row in charges.values(day=TruncDate("created_at", tzinfo=UTC)).annotate(micros=Sum("amount_micros")):
        days[row["day"]] = -row["micros"]
    return days


def lines(
    organization: Organization, *, since: date, until: date, group_by: Sequence[str], only: Only = ALL
) -> list[Line]:
    """Return a line for each combination of groups that has charges: by day if that is a group, then by cost.

    group_by: some of GROUPS; "tag" is that of `only`. An unknown or another organization's key is PAST_KEY.
    Raises InvalidField for a tag with more than MAX_TAG_VALUES combinations.
    """
    labels = key_labels(organization) if "key" in group_by else {}
    names = {"day": "day", "model": "model_name", "key": "key_text", "tag": "tag_text", "kind": "kind_name"}
    columns = [names[name] for name in group_by]
    grouped: dict[tuple[Any, ...], Amounts] = {}
    for number, row in enumerate(_rows(organization, since=since, until=until, only=only, columns=columns)):
        if "tag" in group_by and number == MAX_TAG_VALUES:
            raise InvalidField(
                "tag", f"This tag has more than {MAX_TAG_VALUES:,} values in these days. Ask for fewer days."
            )
        values = tuple(_shown(name, row[names[name]], labels=labels) for name in group_by)
        # Several keys of the past are one line.
        grouped[values] = grouped.get(values, Amounts()) + _amounts(row)
    found = [Line(dict(zip(group_by, values, strict=True)), amounts) for values, amounts in grouped.items()]
    return sorted(found, key=lambda line: (line.group.get("day", since), -line.amounts.cost_micros, str(line.group)))


def tag_names(organization: Organization, *, since: date, until: date) -> list[str]:
    """Return the names of up to MAX_TAG_NAMES tags of a period, sorted."""
    charges = _charges(organization, since=since, until=until, only=ALL)
    found = ChargeTag.objects.filter(entry__in=charges.values("pk")).order_by("name").values_list("name", flat=True)
    return list(found.distinct()[:MAX_TAG_NAMES])


def key_labels(organization: Organization) -> dict[str, KeyLabel]:
    """Return the labels of the organization's keys by id. An entry that names another organization's key gets none."""
    keys = ApiKey.objects.of(organization).only("id", "name", "prefix")
    return {str(key.pk): KeyLabel(key_id=key.pk, name=key.name, prefix=key.prefix) for key in keys}


def entries_of(organization: Organization) -> EntryQuerySet:
    """Return the organization's ledger entries, filtered by the wallet's id.

    PostgreSQL chooses the plan by how many entries that wallet has. With a join it cannot know the wallet: finding an
    old day among a million entries took 470 ms instead of 5 ms.
    """
    wallet_id: int | None = getattr(organization, "_voxsite_wallet_id", None)
    if wallet_id is None:
        wallet_id = Wallet.objects.of(organization).values_list("id", flat=True).first()
        organization._voxsite_wallet_id = wallet_id  # type: ignore[attr-defined]  # it never changes
    return Entry.objects.none() if wallet_id is None else Entry.objects.filter(wallet_id=wallet_id)


def detail(name: str) -> Combinable:
    """Return an expression for a text in an entry's details. It matches the indexes of Entry.

    The wrapper keeps Django from comparing the text as JSON. On SQLite a null reads as JSON_NULL.
    """
    return ExpressionWrapper(KeyTextTransform(name, "details"), output_field=TextField())


def start_of_day(day: date) -> datetime:
    """Return the first moment of a day in UTC."""
    return datetime.combine(day, time.min, tzinfo=UTC)


def _rows(
    organization: Organization, *, since: date, until: date, only: Only, columns: Sequence[str]
) -> Iterable[Mapping[str, Any]]:
    """Return the sums of each month by columns. Those of tags are never kept: a customer may delete tags."""

    def compute(first: date, last: date) -> list[dict[str, Any]]:
        charges = _charges(organization, since=first, until=last, only=only)
        if "day" in columns:
            return [{**row, "month": row["day"].replace(day=1)} for row in _sums(charges, columns=columns)]
        return list(_sums(charges, columns=("month", *columns)))

    if only.tag:
        return _sums(_charges(organization, since=since, until=until, only=only), columns=columns)
    name = hashlib.sha256(repr((str(organization.pk), sorted(columns), only)).encode()).hexdigest()
    return usage_cache.rows(
        since,
        until,
        today=timezone.now().astimezone(UTC).date(),
        name=name,
        compute=compute,
        newest=lambda stretches: _newest(organization, stretches),
    )


def _newest(organization: Organization, stretches: Sequence[usage_cache.Stretch]) -> Sequence[datetime | None]:
    """Return the time of the newest entry of each stretch of days. An index has it."""
    newest = Entry.objects.filter(wallet=OuterRef("pk")).order_by("-created_at").values("created_at")
    times = [Subquery(newest.filter(_days(first, last))[:1]) for first, last in stretches]
    found: tuple[Any, ...] | None = Wallet.objects.of(organization).values_list("id", *times).first()
    if found is None:
        return [None] * len(times)
    # One query less for `entries_of`.
    organization._voxsite_wallet_id = found[0]  # type: ignore[attr-defined]
    return found[1:]


def _days(since: date, until: date) -> Q:
    return Q(created_at__gte=start_of_day(since), created_at__lt=start_of_day(until + timedelta(days=1)))


def _charges(organization: Organization, *, since: date, until: date, only: Only) -> EntryQuerySet:
    found = entries_of(organization).filter(_days(since, until), kind=EntryKind.USAGE)
    if only.api_key_id is not None or only.is_without_key:
        found = found.annotate(of_key=detail("api_key_id"))
        is_of_key = Q(of_key__isnull=True) | Q(of_key=JSON_NULL)
        found = found.filter(is_of_key if only.is_without_key else Q(of_key=str(only.api_key_id)))
    if only.model:
        found = found.annotate(of_model=detail("model")).filter(of_model=only.model)
    if only.kind == OTHER:
        found = found.exclude(_begins_as_known())
    elif only.kind:
        found = found.filter(reference__startswith=KINDS[only.kind])
    # A left join: a charge has at most one tag of a name, so none is counted twice.
    found = found.annotate(of_tag=FilteredRelation("tags", condition=Q(tags__name=only.tag)))
    if only.tag_value is None:
        return found
    return found.filter(of_tag__value=only.tag_value)  # type: ignore[misc]  # the plugin does not know FilteredRelation


def _sums(charges: EntryQuerySet, *, columns: Sequence[str]) -> Iterable[dict[str, Any]]:
    expressions: dict[str, Any] = {
        "day": TruncDate("created_at", tzinfo=UTC),
        "month": TruncMonth("created_at", tzinfo=UTC, output_field=DateField()),
        "model_name": detail("model"),
        "key_text": detail("api_key_id"),
        "tag_text": F("of_tag__value"),
        "kind_name": Case(
            *(When(reference__startswith=beginning, then=Value(name)) for name, beginning in KINDS.items()),
            default=Value(OTHER),
            output_field=TextField(),
        ),
    }
    # Its type has no columns of which only this call knows.
    rows: Any = charges.order_by().values(**{column: expressions[column] for column in columns})
    found: Any = rows.annotate(
        count=Count("id"),
        micros=Sum("amount_micros"),
        duration_ms=_sum("duration_ms"),
        prompt_tokens=_sum("prompt_tokens"),
        completion_tokens=_sum("completion_tokens"),
    )
    # One more than is shown tells that there are too many, and no more are read.
    limited: Iterable[dict[str, Any]] = found[: MAX_TAG_VALUES + 1] if "tag_text" in columns else found
    return limited


def _amounts(row: Mapping[str, Any]) -> Amounts:
    return Amounts(
        charges_count=row["count"],
        cost_micros=-row["micros"],
        audio_ms=row["duration_ms"] or 0,
        prompt_tokens=row["prompt_tokens"] or 0,
        completion_tokens=row["completion_tokens"] or 0,
    )


def _shown(group: str, value: Any, *, labels: Mapping[str, KeyLabel]) -> Any:
    if group == "model":
        return _text(value)
    if group == "key":
        key_id = _text(value)
        return labels.get(key_id, PAST_KEY) if key_id else BROWSER
    return value


def _begins_as_known() -> Q:
    found = Q()
    for beginning in KINDS.values():
        found |= Q(reference__startswith=beginning)
    return found


def _sum(name: str) -> Sum:
    """Return the sum of an integer in the details."""
    return Sum(Cast(KeyTextTransform(name, "details"), BigIntegerField()))


def _text(value: str | None) -> str:
    return "" if value is None or value == JSON_NULL else value
