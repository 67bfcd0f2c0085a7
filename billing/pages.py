"""Balance, ledger and prices for people."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_safe

from accounts import connections
from accounts.access import organization_for
from accounts.page import page
from billing import money, pricing, statements, tariff
from billing.forms import LedgerForm

PAGE_ROWS = 50


@page
@require_safe
def billing(request: HttpRequest) -> HttpResponse:
    """Show what there is, what is held and the book, newest first."""
    organization = organization_for(request)
    form = LedgerForm(request.GET)
    before = form.cleaned_data["before"] if form.is_valid() else None
    rows = statements.entries(organization, limit=PAGE_ROWS + 1, before=before)
    return render(
        request,
        "billing/billing.html",
        {
            "entries": rows[:PAGE_ROWS],
            "next_cursor": rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None,
            "is_first_page": before is None,
            "holds": statements.open_holds(organization),
            "spent_micros": statements.spent_since(organization, start_of_month()),
            "prices": price_table(),
            "signup_credit_micros": settings.SIGNUP_CREDIT_CENTS * money.MICROS_PER_CENT,
        },
    )


@page
@require_GET
def ledger_csv(request: HttpRequest) -> HttpResponseBase:
    """Send the whole book as a file."""
    lines = _asynchronously(statements.csv_lines(organization_for(request)))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="voxsite-ledger-{timezone.now():%Y-%m-%d}.csv"'
    return response


def price_table() -> list[dict[str, Any]]:
    """Return for each model its price per hour, per minute and per started second, in micro-dollars."""
    return [
        {
            "model": model.capitalize(),
            "hour_micros": tariff.rate_of(model),
            "minute_micros": pricing.transcription_price_micros(
                duration_ms=60_000, rate_micros_per_hour=tariff.rate_of(model)
            ),
        }
        for model in tariff.models()
    ]


def start_of_month() -> datetime:
    """Return the first moment of this month in UTC."""
    return timezone.now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next(texts: Iterator[str]) -> str | None:
    try:
        return next(texts, None)
    finally:
        # Between two texts nobody knows how long the reader takes: it must not keep a database connection.
        connections.release()


async def _asynchronously(texts: Iterator[str]) -> AsyncIterator[str]:
    """Yield the same texts. Under ASGI Django would read a synchronous iterator into memory whole."""
    while (text := await sync_to_async(_next)(texts)) is not None:
        yield text
