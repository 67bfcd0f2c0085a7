"""The page of API keys and its forms: gate, query, form, render."""

import uuid
from typing import Any

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts import access, api_keys, organizations, shown_once
from accounts.decorators import page
from accounts.errors import Conflict, InvalidField
from accounts.forms import KeyForm, KeyLimitForm, RotateKeyForm
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
@require_safe
def key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Show one key, with the forms that change it. The page after a rotation shows the new secret."""
    membership = access.require_role(request, Role.ADMIN)
    row = api_keys.of_organization(membership.organization, key_id=key_id)
    new_key = shown_once.take(request, organization_id=membership.organization_id) if request.method == "GET" else None
    return _show_key(request, row, new_key=new_key)


@page
@require_POST
def revoke_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    access.require_role(request, Role.ADMIN)
    row = api_keys.revoke(access.organization_for(request), key_id=key_id)
    messages.success(request, f"Key “{row.name}” revoked. Requests with it now get 401.")
    return redirect_to_page(request, "keys")


@page
@require_POST
@sent_once
def rotate_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Give a key a new secret, which only the page after it shows."""
    membership = access.require_role(request, Role.ADMIN)
    row = api_keys.of_organization(membership.organization, key_id=key_id)
    form = RotateKeyForm(request.POST)
    if form.is_valid():
        try:
            row, secret = organizations.rotate_key(membership, key_id=row.pk, overlap=form.cleaned_data["overlap"])
        except Conflict as error:
            form.add_error(None, error.message)
        else:
            shown_once.put(request, secret, organization_id=membership.organization_id)
            until = row.previous_until
            rest = f"works until {until:%-d %b %Y, %H:%M} UTC" if until else "no longer works"
            messages.success(request, f"“{row.name}” has a new secret. The old one {rest}.")
            return redirect_to_page(request, "key", row.pk)
    return _show_key(request, row, rotate_form=form, status=400)


@page
@require_POST
def limit_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Set or remove the monthly limit of a key, and raise it for a time."""
    membership = access.require_role(request, Role.ADMIN)
    row = api_keys.of_organization(membership.organization, key_id=key_id)
    form = KeyLimitForm(request.POST)
    if form.is_valid():
        try:
            row = _limited(row, form=form)
        except InvalidField as error:
            form.add_error("raised_limit" if form.temporary else "monthly_limit", error.message)
        else:
            messages.success(request, _told_of_limit(row, form=form))
            return redirect_to_page(request, "key", row.pk)
    return _show_key(request, row, limit_form=form, status=400)


def _limited(row: ApiKey, *, form: KeyLimitForm) -> ApiKey:
    # Both or neither: a raise that is refused leaves the limit of before.
    with transaction.atomic():
        row = api_keys.set_monthly_limit(row.organization, key_id=row.pk, limit_micros=form.monthly_limit_micros)
        if form.temporary is not None:
            micros, until = form.temporary
            api_keys.raise_limit(row, limit_micros=micros, until=until)
    return row


def _told_of_limit(row: ApiKey, *, form: KeyLimitForm) -> str:
    limit = form.cleaned_data["monthly_limit"]
    if form.temporary is not None:
        raised, last_day = form.cleaned_data["raised_limit"], form.cleaned_data["raised_on"]
        return (
            f"“{row.name}” can spend up to ${raised:,.2f} a month until the end of {last_day:%-d %b %Y}, "
            f"then ${limit:,.2f}."
        )
    if limit is None:
        return f"Monthly limit of “{row.name}” removed."
    if limit == 0:
        return f"“{row.name}” cannot spend anything now. Free requests still work."
    return f"“{row.name}” can spend up to ${limit:,.2f} a month."


@page
@require_POST
def scope_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Replace the scopes of a key."""
    membership = access.require_role(request, Role.ADMIN)
    try:
        row = api_keys.set_scopes(membership.organization, key_id=key_id, scopes=request.POST.getlist("scopes"))
    except InvalidField as error:
        messages.error(request, f"Scopes not changed. {error.message}")
        return redirect_to_page(request, "key", key_id)
    messages.success(request, f"Scopes of “{row.name}” changed. Its next request has them.")
    return redirect_to_page(request, "key", row.pk)


def _show_key(
    request: HttpRequest,
    row: ApiKey,
    *,
    new_key: str | None = None,
    limit_form: KeyLimitForm | None = None,
    rotate_form: RotateKeyForm | None = None,
    status: int = 200,
) -> HttpResponse:
    now = timezone.now()
    context = {
        "key": _shown(row),
        "new_key": new_key,
        "old_secret_until": row.previous_until if row.previous_until and row.previous_until > now else None,
        "limit_form": limit_form or KeyLimitForm.of(row),
        "rotate_form": rotate_form or RotateKeyForm(initial={"overlap": RotateKeyForm.ONE_DAY}),
    }
    response = render(request, "accounts/key.html", context, status=status)
    # The response may contain a secret, as that of `keys`.
    response["Cache-Control"] = "no-store, private"
    return response


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
    rows = ApiKey.objects.of(membership.organization).select_related("created_by").order_by("-created_at")[:200]
    return sorted(map(_shown, rows), key=lambda key: not key["is_live"])


def _shown(row: ApiKey) -> dict[str, Any]:
    now = timezone.now()
    return {
        "row": row,
        "is_live": row.is_live(now=now),
        "limit_now": row.limit_at(now),
        "is_raised": row.is_raised(now=now),
        "scopes": [{"value": scope.value, "label": scope.label, "is_given": scope in row.scope_set} for scope in Scope],
    }
