"""The ledger page: entries in pages, filtered, and as a CSV file."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_safe

from accounts.access import require_role
from accounts.decorators import page
from accounts.models import Organization, Role
from accounts.streaming import asynchronously
from billing import ledger_reader, usage
from billing.forms import CursorForm, LedgerForm
from billing.models import Entry, EntryKind

PAGE_ROWS = 50
KIND_SENTENCES = {
    EntryKind.PAYMENT: "A payment of yours.",
    EntryKind.BONUS: "Extra credit for a large payment. It is spent last.",
    EntryKind.CREDIT: "Credit that we gave you, for example at sign-up.",
    EntryKind.USAGE: "The price of work that succeeded. Failed and canceled work has no entry.",
    EntryKind.REFUND: "A payment, or part of it, that went back the way it was paid, with its share of the bonus.",
    EntryKind.REFUND_REVERSAL: "A refund that the bank did not accept. The money is back in your balance.",
    EntryKind.DISPUTE: "A payment that the payer disputed with their bank.",
    EntryKind.DISPUTE_REVERSAL: "A dispute that you won. The money is back in your balance.",
    EntryKind.EXPIRY: "Credit that expired after six months without activity.",
}


@page
@require_safe
def ledger(request: HttpRequest) -> HttpResponse:
    """Show the entries that the filter in the address selects, newest first."""
    organization = require_role(request, Role.ADMIN).organization
    form = LedgerForm(request.GET, organization=organization)
    is_valid = form.is_valid()
    cursor = CursorForm(request.GET)
    before = cursor.cleaned_data["before"] if cursor.is_valid() else None
    # An invalid filter shows only its error: entries that were not asked for would mislead.
    rows = ledger_reader.entries(organization, limit=PAGE_ROWS + 1, before=before, only=form.filter) if is_valid else []
    return render(
        request,
        "billing/ledger.html",
        {
            "form": form,
            "query": urlencode(form.query) if is_valid else "",
            "entries": entry_rows(organization, rows[:PAGE_ROWS]),
            "next_cursor": rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None,
            "is_first_page": before is None,
            "kinds": [{"label": kind.label, "text": KIND_SENTENCES[kind]} for kind in EntryKind],
        },
        status=200 if is_valid else 400,
    )


@page
@require_GET
def ledger_csv(request: HttpRequest) -> HttpResponseBase:
    """Send the entries that the filter in the address selects, as a CSV file."""
    organization = require_role(request, Role.ADMIN).organization
    form = LedgerForm(request.GET, organization=organization)
    if not form.is_valid():
        return ledger(request)
    lines = asynchronously(ledger_reader.csv_lines(organization, only=form.filter))
    response = StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8")
    part = "-part" if form.query else ""
    name = f"voxsite-ledger{part}-{timezone.now():%Y-%m-%d}.csv"
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response


def plain_rows(entries: list[Entry]) -> list[dict[str, Any]]:
    """Return each entry with what it is about."""
    shown = ledger_reader.descriptions(entries)
    return [{"row": entry, "description": shown[entry.pk], "key": None} for entry in entries]


def entry_rows(organization: Organization, entries: list[Entry]) -> list[dict[str, Any]]:
    """Return each entry with what it is about, and the label of its API key or None."""
    labels, shown = usage.key_labels(organization), ledger_reader.descriptions(entries)
    return [
        {
            "row": entry,
            "description": shown[entry.pk],
            "key": labels.get(str(entry.details.get("api_key_id") or "")),
        }
        for entry in entries
    ]
