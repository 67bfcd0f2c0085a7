"""The page of API requests, for programmers: gate, query, form, render."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.access import organization_for
from accounts.decorators import page
from accounts.forms import RequestFilterForm
from accounts.gate import request_log
from accounts.models import ApiKey, ApiRequest, Organization

PAGE_ROWS = 50


@page
@require_safe
def requests(request: HttpRequest) -> HttpResponse:
    """Show the requests that the filter in the address selects, the newest first. Every member may read them."""
    organization = organization_for(request)
    form = RequestFilterForm(request.GET, organization=organization)
    is_valid = form.is_valid()
    before = form.cleaned_data["before"] if is_valid else None
    only = request_log.Filter(key_id=form.key_id, is_error=form.is_error, text=form.text) if is_valid else None
    # An invalid filter shows its error alone: rows that were not asked for would mislead.
    rows = request_log.find(organization, only=only, before=before, limit=PAGE_ROWS + 1) if only is not None else []
    context = {
        "form": form,
        "query": urlencode(form.query) if is_valid else "",
        "requests": _shown(organization, rows[:PAGE_ROWS]),
        "next_before": rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None,
        "is_first_page": before is None,
        "days": request_log.KEPT.days,
        "searched": request_log.SEARCHED_ROWS,
    }
    return render(request, "accounts/requests.html", context, status=200 if is_valid else 400)


def _shown(organization: Organization, rows: list[ApiRequest]) -> list[dict[str, Any]]:
    names = dict(ApiKey.objects.of(organization).filter(pk__in={row.key_id for row in rows}).values_list("pk", "name"))
    return [{"row": row, "key_name": names.get(row.key_id, "deleted key")} for row in rows]
