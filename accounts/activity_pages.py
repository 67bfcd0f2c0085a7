"""The page of what was done in an organization, for its owners and admins."""

from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts import access, audit_log
from accounts.decorators import page
from accounts.forms import ActivityFilterForm
from accounts.models import AuditEntry, Organization, Role, User

PAGE_ROWS = 50


@page
@require_safe
def activity(request: HttpRequest) -> HttpResponse:
    """Show who did what, the newest first. Admins see it, because they see the keys and the money that it is about."""
    organization = access.require_role(request, Role.ADMIN).organization
    form = ActivityFilterForm(request.GET)
    is_valid = form.is_valid()
    before = form.cleaned_data["before"] if is_valid else None
    text = form.cleaned_data["q"] if is_valid else ""
    # An invalid filter shows its error alone: rows that were not asked for would mislead.
    rows = audit_log.find(organization, text=text, before=before, limit=PAGE_ROWS + 1) if is_valid else []
    context = {
        "form": form,
        "query": urlencode({"q": text}) if text else "",
        "entries": _shown(organization, rows[:PAGE_ROWS]),
        "next_before": rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None,
        "is_first_page": before is None,
        "days": audit_log.KEPT.days,
        "searched": audit_log.SEARCHED_ROWS,
    }
    return render(request, "accounts/activity.html", context, status=200 if is_valid else 400)


def _shown(organization: Organization, rows: list[AuditEntry]) -> list[dict[str, Any]]:
    names = audit_log.key_names(organization, rows)
    return [
        {
            "row": row,
            "by": _by(row, key_name=names.get(row.key_id) if row.key_id else None),
            # Of itself, a person is named once.
            "person": _name(row.person) if row.person is not None and row.person_id != row.user_id else row.address,
        }
        for row in rows
    ]


def _by(row: AuditEntry, *, key_name: str | None) -> str:
    if row.operator_id is not None:
        return "Voxsite support"
    if row.user is not None:
        return _name(row.user)
    if row.key_id is not None:
        return f"key {key_name or 'that was deleted'}"
    return "Voxsite"


def _name(person: User) -> str:
    return "deleted account" if person.deleted_at else person.email
