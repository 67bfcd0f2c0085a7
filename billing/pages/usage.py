"""The usage page: the charges of one month by day, model, API key and tag."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe
from django.views.decorators.http import require_safe

from accounts.access import require_role
from accounts.decorators import page
from accounts.errors import InvalidField
from accounts.models import Organization, Role
from billing import charts, money, usage
from billing.forms import MonthForm

# Values of a tag on the page. /v1/usage has all.
MAX_SHOWN_VALUES = 50


@page
@require_safe
def month(request: HttpRequest) -> HttpResponse:
    """Show the charges of one month. An invalid month shows only its error, not the figures of another month."""
    organization = require_role(request, Role.ADMIN).organization
    today = timezone.now().date()
    form = MonthForm(request.GET)
    if not form.is_valid():
        return render(request, "billing/usage.html", {"form": form}, status=400)
    first = min(form.cleaned_data["month"] or today, today).replace(day=1)
    found = usage.report(organization, since=first, until=last_day(first))
    return render(
        request,
        "billing/usage.html",
        {
            "usage": found,
            "first": first,
            "before": (first - timedelta(days=1)).replace(day=1),
            "after": last_day(first) + timedelta(days=1) if last_day(first) < today else None,
            "chart": day_chart({day: amounts.cost_micros for day, amounts in found.by_day.items()}),
            "days": [
                {"day": day, "amounts": amounts} for day, amounts in found.by_day.items() if amounts.charges_count
            ],
            "models": _shares(found.by_model, total=found.total),
            "keys": _shares(found.by_key, total=found.total),
            **_tag_context(organization, asked=request.GET.get("tag", ""), since=first, total=found.total),
        },
    )


def day_chart(by_day: Mapping[date, int]) -> SafeString:
    """Return the cost of each day, in order and in micro-dollars, as an SVG element."""
    days = list(by_day)
    label = "%-d" if days[0].month == days[-1].month else "%-d %b"
    columns = [
        charts.Column(label=f"{day:{label}}", name=f"{day:%-d %B}", value=cost_micros)
        for day, cost_micros in by_day.items()
    ]
    svg = charts.columns_svg(
        columns,
        title=f"Cost per day, {days[0]:%-d %B} to {days[-1]:%-d %B %Y}",
        description=_day_text(by_day),
        show=money.display_text,
        prefix="days",
    )
    # `charts` escapes every text.
    return mark_safe(svg)  # noqa: S308 - see above


def last_day(first: date) -> date:
    """Return the last day of the month that begins on this day."""
    return (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def _tag_context(organization: Organization, *, asked: str, since: date, total: usage.Amounts) -> dict[str, Any]:
    """Return what the page shows by tag: the names, the chosen one, and its values, the costliest first.

    asked: the name in the address. A value of None stands for the charges without the tag.
    """
    names = usage.tag_names(organization, since=since, until=last_day(since))
    if not names:
        return {}
    tag = asked if asked in names else names[0]
    context = {"tag": tag, "tag_names": names}
    try:
        found = usage.lines(
            organization, since=since, until=last_day(since), group_by=("tag",), only=usage.Only(tag=tag)
        )
    except InvalidField:
        return context | {"has_too_many_values": True}
    shown, rest = found[:MAX_SHOWN_VALUES], found[MAX_SHOWN_VALUES:]
    return context | {
        "tags": _shares({line.group["tag"]: line.amounts for line in shown}, total=total),
        "other_values_count": len(rest),
        "other_values": sum((line.amounts for line in rest), usage.Amounts()),
    }


def _day_text(by_day: Mapping[date, int]) -> str:
    total_micros = sum(by_day.values())
    if not total_micros:
        return "Nothing was charged."
    day, most_micros = max(by_day.items(), key=lambda item: item[1])
    return (
        f"{money.display_text(total_micros)} in all. "
        f"The day that cost most is {day:%-d %B} with {money.display_text(most_micros)}."
    )


def _shares(groups: dict[Any, usage.Amounts], *, total: usage.Amounts) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "amounts": amounts,
            "bar": mark_safe(charts.bar_svg(amounts.cost_micros, of=total.cost_micros)),  # noqa: S308 - two numbers
        }
        for name, amounts in groups.items()
    ]
