"""The page of API keys and its forms: gate, query, form, render."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from accounts import access, api_keys, organizations, shown_once
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField
from accounts.forms import KeyForm, KeyLimitForm, dollars_of
from accounts.links import redirect_to_page
from accounts.models import ApiKey, Membership, Role, Scope
from accounts.sent_forms import sent_once


@page
@require_http_methods(["GET", "HEAD", "POST"])
@sent_once
def keys(request: HttpRequest) -> HttpResponse:
    """List the keys. A POST creates one, and only the page after it shows the key itself."""
    membership = access.membership_for(request)
    form = KeyForm(request.POST or None)
    if request.method == "POST":
        access.require_role(request, Role.ADMIN)
        if form.is_valid() and (new_key := _issue(request, form)):
            shown_once.put(request, new_key, organization_id=membership.organization_id)
            return redirect_to_page(request, "keys")
    response = render(
        request,
        "accounts/keys.html",
        {
            "form": form,
            "new_key": shown_once.take(request, organization_id=membership.organization_id)
            if request.method == "GET"
            else None,
            "keys": _keys_of(membership),
            "may_manage": membership.may(Role.ADMIN),
        },
        status=400 if request.method == "POST" else 200,
    )
    # The response may contain a secret: neither a cache nor the browser's history may keep it.
    response["Cache-Control"] = "no-store, private"
    return response


@page
@require_POST
def revoke_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    access.require_role(request, Role.ADMIN)
    key = api_keys.revoke(access.organization_for(request), key_id=key_id)
    messages.success(request, f"Key “{key.name}” revoked. Requests with it now get 401.")
    return redirect_to_page(request, "keys")


@page
@require_POST
def limit_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Set or remove the monthly limit of a key."""
    access.require_role(request, Role.ADMIN)
    form = KeyLimitForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Limit not changed. " + " ".join(map(str, form.errors["monthly_limit"])))
        return redirect_to_page(request, "keys")
    key = api_keys.set_monthly_limit(
        access.organization_for(request), key_id=key_id, limit_micros=form.monthly_limit_micros
    )
    if key.monthly_limit_micros is None:
        sentence = f"Monthly limit of “{key.name}” removed."
    elif key.monthly_limit_micros == 0:
        sentence = f"“{key.name}” cannot spend anything now. Free requests still work."
    else:
        sentence = f"“{key.name}” can spend up to ${form.cleaned_data['monthly_limit']:,.2f} a month."
    messages.success(request, sentence)
    return redirect_to_page(request, "keys")


@page
@require_POST
def scope_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Replace the scopes of a key."""
    access.require_role(request, Role.ADMIN)
    try:
        key = api_keys.set_scopes(
            access.organization_for(request), key_id=key_id, scopes=request.POST.getlist("scopes")
        )
    except InvalidField as error:
        messages.error(request, f"Scopes not changed. {error.message}")
        return redirect_to_page(request, "keys")
    messages.success(request, f"Scopes of “{key.name}” changed. Its next request has them.")
    return redirect_to_page(request, "keys")


def _issue(request: HttpRequest, form: KeyForm) -> str | None:
    try:
        _, key = organizations.issue_key(
            access.membership_for(request),
            name=form.cleaned_data["name"],
            expires_at=form.expires_at,
            monthly_limit_micros=form.monthly_limit_micros,
            scopes=form.cleaned_data["scopes"],
        )
    except InvalidField as error:
        field = {"expires_at": "expires_on"}.get(str(error.data.get("param")), str(error.data.get("param")))
        form.add_error(field if field in form.fields else None, error.message)
        return None
    except Conflict as error:
        form.add_error(None, error.message)
        return None
    return key


def _keys_of(membership: Membership) -> list[dict[str, Any]]:
    now = timezone.now()
    rows = ApiKey.objects.of(membership.organization).select_related("created_by").order_by("-created_at")[:200]
    shown = [
        {
            "row": row,
            "is_live": row.is_live(now=now),
            "limit": dollars_of(row.monthly_limit_micros),
            "limit_now": row.limit_at(now),
            "scopes": [
                {"value": scope.value, "label": scope.label, "is_given": scope in row.scope_set} for scope in Scope
            ],
        }
        for row in rows
    ]
    return sorted(shown, key=lambda key: not key["is_live"])
