"""Mails, and a signal, when a part of a monthly limit is spent: of the organization's, or of a key's.

A part is told once a month. Spent is what was charged: money that is only held may come back. What the limit is
compared with (docs/decisions/0012) includes it, so a limit may refuse work before its last alert.
"""

import logging
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

from django.db import transaction
from django.db.models import OuterRef, Q, QuerySet, Subquery, Sum
from django.dispatch import Signal

from accounts.errors import InvalidField
from accounts.models import ApiKey, Organization
from billing import ledger, money, months, notices
from billing.models import Hold, MonthlySpend, Notice, SpendAlert

logger = logging.getLogger(__name__)

MAX_ALERTS = 10
# What was spent in the last minutes of a month is still told.
LATE = timedelta(hours=1)

# Sent inside the transaction that records it, once for each part, limit and month.
# Arguments: alert, month (its first day), spent_micros, limit_micros.
part_is_spent = Signal()


def set_percents(organization: Organization, *, api_key: ApiKey | None, percents: Iterable[int]) -> list[int]:
    """Replace the alerts of an organization, or of one of its keys. Returns them in order.

    percents: of the monthly limit, 1 to 100, at most MAX_ALERTS; none turns them off. Raises InvalidField.
    An alert that was told this month is not told again, also if it was off meanwhile.
    """
    wanted = sorted(set(percents))
    if len(wanted) > MAX_ALERTS or not all(1 <= percent <= 100 for percent in wanted):
        raise InvalidField("percents", f"Send up to {MAX_ALERTS} whole numbers from 1 to 100.")
    wallet = ledger.wallet_of(organization)
    with transaction.atomic():
        # So that two requests at once leave the alerts of one of them.
        Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
        SpendAlert.objects.filter(wallet=wallet, api_key=api_key).delete()
        SpendAlert.objects.bulk_create(
            SpendAlert(wallet=wallet, api_key=api_key, percent=percent) for percent in wanted
        )
    return wanted


def percents_of(organization: Organization) -> Mapping[uuid.UUID | None, list[int]]:
    """Return the alerts of an organization by the id of the key, None for the organization's own."""
    found: dict[uuid.UUID | None, list[int]] = {}
    for alert in SpendAlert.objects.filter(wallet__organization=organization).order_by("percent"):
        found.setdefault(alert.api_key_id, []).append(alert.percent)
    return found


def sweep(*, now: datetime) -> None:
    """Mail owners about the parts of limits that are spent. Errors stop only their alert."""
    _for_each(_mail, kind_of=_kind, now=now)


def announce(*, now: datetime) -> None:
    """Send the signal for the parts of limits that are spent, each once, as mails. Errors stop only their alert."""
    _for_each(_send_signal, kind_of=_signal_kind, now=now)


def _for_each(tell: Callable[["_Reached"], None], *, kind_of: Callable[[SpendAlert], str], now: datetime) -> None:
    for month in sorted({months.month_of(now - LATE), months.month_of(now)}):
        for reached in _reached(month=month, now=now, kind_of=kind_of):
            try:
                tell(reached)
            except Exception:  # One broken wallet must not keep all others waiting.
                logger.exception("The spend alert %s failed; it will be tried again.", reached.alert.pk)


@dataclass(frozen=True, slots=True)
class _Reached:
    """An alert whose part of a limit is charged. month: its first day."""

    alert: SpendAlert
    month: date
    spent_micros: int
    limit_micros: int


def _reached(*, month: date, now: datetime, kind_of: Callable[[SpendAlert], str]) -> list[_Reached]:
    """Return the alerts that are due and of which no notice of this kind was sent."""
    possible = []
    for alert in _with_spends(month):
        limit_micros = alert.wallet.limit_at(now) if alert.api_key is None else alert.api_key.limit_at(now)
        spent: int = alert.spent  # type: ignore[attr-defined]  # annotated
        # A limit of nothing blocks all spending on purpose: none of it is ever spent.
        if limit_micros and spent * 100 >= alert.percent * limit_micros:
            possible.append(_Reached(alert, month, spent, limit_micros))
    told = set(
        Notice.objects.sent_or_claimed(now=now)
        .filter(wallet__in={each.alert.wallet_id for each in possible}, occasion_at=_occasion(month))
        .values_list("wallet", "kind")
    )
    due = []
    for each in possible:
        if (each.alert.wallet_id, kind_of(each.alert)) not in told:
            charged = each.spent_micros - _held(each.alert, month=month)
            if charged * 100 >= each.alert.percent * each.limit_micros:
                due.append(replace(each, spent_micros=charged))
    return due


def _with_spends(month: date) -> Iterable[SpendAlert]:
    """Yield the alerts of which anything was spent in a month, with the sum of charges and open holds as `spent`."""

    def annotated(alerts: QuerySet[SpendAlert], spends: QuerySet[MonthlySpend]) -> QuerySet[SpendAlert]:
        spent = spends.filter(wallet=OuterRef("wallet"), month=month).values("spent_micros")
        return (
            alerts.annotate(spent=Subquery(spent[:1]))
            .filter(spent__gt=0)
            .select_related("wallet__organization", "api_key")
            .order_by("pk")
        )

    yield from annotated(
        SpendAlert.objects.filter(api_key__isnull=True), MonthlySpend.objects.filter(api_key__isnull=True)
    )
    yield from annotated(
        SpendAlert.objects.filter(api_key__isnull=False), MonthlySpend.objects.filter(api_key=OuterRef("api_key"))
    )


def _held(alert: SpendAlert, *, month: date) -> int:
    whose = Q() if alert.api_key_id is None else Q(api_key=alert.api_key_id)
    holds = Hold.objects.open().filter(whose, wallet=alert.wallet_id, month=month)
    return holds.aggregate(sum=Sum("amount_micros"))["sum"] or 0


def _mail(reached: _Reached) -> None:
    alert = reached.alert
    whose = "your organization" if alert.api_key is None else f"the API key “{alert.api_key.name}”"
    notices.send_once(
        alert.wallet,
        kind=_kind(alert),
        occasion_at=_occasion(reached.month),
        subject=f"{alert.percent} % of the monthly limit of {whose} is spent",
        text=(
            f"In {reached.month:%B %Y} {money.display_text(reached.spent_micros)} was charged to {whose}. The monthly "
            f"limit is {money.display_text(reached.limit_micros)}; requests over it are refused."
        ),
    )


def _send_signal(reached: _Reached) -> None:
    """Record that it is told, and tell it: both or neither. Another clock may have done it."""
    alert, at = reached.alert, _occasion(reached.month)
    with transaction.atomic():
        if notices.record(alert.wallet, kind=_signal_kind(alert), occasion_at=at):
            part_is_spent.send(
                sender=SpendAlert,
                alert=alert,
                month=reached.month,
                spent_micros=reached.spent_micros,
                limit_micros=reached.limit_micros,
            )


def _kind(alert: SpendAlert) -> str:
    """Return the kind of the mail's notice, at most 40 characters: the threshold and whose limit it is."""
    return f"spend{alert.percent}" if alert.api_key_id is None else f"at{alert.percent}:{alert.api_key_id.hex}"


def _signal_kind(alert: SpendAlert) -> str:
    """Return the same of the signal, from which webhooks come."""
    return f"signal{alert.percent}" if alert.api_key_id is None else f"to{alert.percent}:{alert.api_key_id.hex}"


def _occasion(month: date) -> datetime:
    return datetime.combine(month, time(), UTC)
