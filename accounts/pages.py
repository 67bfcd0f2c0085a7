"""Pages of keys, organizations, members and invitations: gate, query, form, render."""

import uuid
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import access, api_keys, organizations
from accounts.decorators import open_page, page
from accounts.errors import Conflict, Forbidden, InvalidField, UpstreamFailed, VoxsiteError
from accounts.forms import (
    InviteForm,
    KeyForm,
    KeyLimitForm,
    OrganizationForm,
    RoleForm,
    SwitchForm,
    dollars_of,
    roles_up_to,
)
from accounts.gate import limits
from accounts.models import ApiKey, Invitation, Membership, Organization, Role

# --- Keys ------------------------------------------------------------------------------------------------------------


@page
@require_http_methods(["GET", "HEAD", "POST"])
def keys(request: HttpRequest) -> HttpResponse:
    """List the keys. A POST creates one, and only its response shows the key itself."""
    membership = access.membership_for(request)
    form = KeyForm(request.POST or None)
    new_key = None
    if request.method == "POST":
        access.require_role(request, Role.ADMIN)
        if form.is_valid():
            new_key = _issue(request, form)
            form = KeyForm() if new_key else form
    response = render(
        request,
        "accounts/keys.html",
        {
            "form": form,
            "new_key": new_key,
            "keys": _keys_of(membership),
            "may_manage": membership.may(Role.ADMIN),
        },
        status=400 if request.method == "POST" and new_key is None else 200,
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
    return redirect("keys")


@page
@require_POST
def limit_key(request: HttpRequest, key_id: uuid.UUID) -> HttpResponse:
    """Set or remove the monthly limit of a key."""
    access.require_role(request, Role.ADMIN)
    form = KeyLimitForm(request.POST)
    if not form.is_valid():
        messages.error(request, "Limit not changed. " + " ".join(map(str, form.errors["monthly_limit"])))
        return redirect("keys")
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
    return redirect("keys")


def _issue(request: HttpRequest, form: KeyForm) -> str | None:
    try:
        _, key = api_keys.issue(
            access.organization_for(request),
            name=form.cleaned_data["name"],
            by=access.person(request),
            expires_at=form.expires_at,
            monthly_limit_micros=form.monthly_limit_micros,
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
        {"row": row, "is_live": row.is_live(now=now), "limit": dollars_of(row.monthly_limit_micros)} for row in rows
    ]
    return sorted(shown, key=lambda key: not key["is_live"])


# --- Organizations ---------------------------------------------------------------------------------------------------


@page
@require_POST
def switch(request: HttpRequest) -> HttpResponse:
    form = SwitchForm(request.POST)
    if not form.is_valid():
        raise Forbidden("Choose one of your organizations.")
    access.switch(request, organization_id=form.cleaned_data["organization"])
    return redirect("overview")


@page
@require_http_methods(["GET", "HEAD", "POST"])
def new_organization(request: HttpRequest) -> HttpResponse:
    form = OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (organization := _create(request, form)):
        if EmailAddress.objects.filter(user=access.person(request), verified=True).exists():
            organizations.verify(organization)
        access.switch(request, organization_id=organization.pk)
        messages.success(request, f"Switched to {organization.name}.")
        return redirect("overview")
    return render(request, "accounts/organization_new.html", {"form": form}, status=400 if form.errors else 200)


def _create(request: HttpRequest, form: OrganizationForm) -> Organization | None:
    try:
        return organizations.create(name=form.cleaned_data["name"], owner=access.person(request))
    except InvalidField as error:
        form.add_error("name", error.message)
        return None


# --- Members ---------------------------------------------------------------------------------------------------------


@page
@require_GET
def organization(request: HttpRequest) -> HttpResponse:
    return _show_organization(request)


@page
@require_POST
def invite(request: HttpRequest) -> HttpResponse:
    membership = access.require_role(request, Role.ADMIN)
    form = InviteForm(request.POST, highest=Role(membership.role))
    if form.is_valid():
        # Each invitation is a mail that its receiver did not ask for.
        limits.spend(membership.organization, scope="invitations")
        try:
            invitation, token = organizations.invite(
                membership.organization,
                email=form.cleaned_data["email"],
                role=Role(form.cleaned_data["role"]),
                by=membership,
            )
        except VoxsiteError as error:
            form.add_error(None, error.message)
        else:
            _mail(request, invitation, token=token)
            return redirect("organization")
    return _show_organization(request, form=form, status=400)


@page
@require_POST
def withdraw_invitation(request: HttpRequest, invitation_id: uuid.UUID) -> HttpResponse:
    membership = access.require_role(request, Role.ADMIN)
    invitation = get_object_or_404(_open_invitations(membership), pk=invitation_id)
    organizations.withdraw(invitation, by=membership)
    messages.success(request, f"Invitation of {invitation.email} withdrawn.")
    return redirect("organization")


@page
@require_POST
def change_role(request: HttpRequest, membership_id: int) -> HttpResponse:
    by = access.membership_for(request)
    member = get_object_or_404(_members(by), pk=membership_id)
    form = RoleForm(request.POST)
    if not form.is_valid():
        raise Forbidden("Choose one of the roles.")
    role = Role(form.cleaned_data["role"])
    try:
        organizations.change_role(member, role=role, by=by)
    except Conflict as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{member.user.email} is now {role.label.lower()}.")
    return redirect("organization")


@page
@require_POST
def remove_member(request: HttpRequest, membership_id: int) -> HttpResponse:
    by = access.membership_for(request)
    member = get_object_or_404(_members(by), pk=membership_id)
    try:
        organizations.remove_member(member, by=by)
    except Conflict as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{member.user.email} removed.")
    return redirect("organization")


@page
@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    membership = access.membership_for(request)
    try:
        organizations.leave(membership)
    except Conflict as error:
        messages.error(request, error.message)
        return redirect("organization")
    request.session.pop(access.SESSION_KEY, None)
    messages.success(request, f"You left {membership.organization.name}.")
    return redirect("overview")


def _mail(request: HttpRequest, invitation: Invitation, *, token: str) -> None:
    email = invitation.email
    try:
        organizations.mail_invitation(invitation, token=token)
    except UpstreamFailed:
        messages.error(request, f"The mail to {email} could not be sent. Invite them again in a few minutes.")
    else:
        messages.success(request, f"Invitation sent to {email}. The link works for seven days.")


def _show_organization(request: HttpRequest, *, form: InviteForm | None = None, status: int = 200) -> HttpResponse:
    membership = access.membership_for(request)
    role = Role(membership.role)
    members = list(_members(membership).order_by("created_at", "pk"))
    owners = sum(member.role == Role.OWNER for member in members)
    context = {
        "members": [
            {
                "row": member,
                "is_me": member.user_id == request.user.pk,
                "may_change": member.user_id != request.user.pk
                and role.rank >= 1
                and membership.may(Role(member.role)),
            }
            for member in members
        ],
        "invitations": _open_invitations(membership),
        "form": form or InviteForm(highest=role),
        "roles": roles_up_to(role),
        "may_manage": membership.may(Role.ADMIN),
        "may_leave": role != Role.OWNER or owners > 1,
    }
    return render(request, "accounts/organization.html", context, status=status)


def _members(membership: Membership) -> QuerySet[Membership]:
    return Membership.objects.select_related("user", "organization").filter(organization_id=membership.organization_id)


def _open_invitations(membership: Membership) -> QuerySet[Invitation]:
    return Invitation.objects.filter(
        organization_id=membership.organization_id, accepted_at__isnull=True, expires_at__gt=timezone.now()
    ).order_by("-created_at")


# --- Invitations -----------------------------------------------------------------------------------------------------


@open_page
@require_http_methods(["GET", "HEAD", "POST"])
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    """Show an invitation to everybody who has its link. A POST by the invited person accepts it."""
    offer = organizations.invitation_for(token)
    if request.method == "POST" and request.user.is_authenticated:
        membership = organizations.accept(token, user=request.user)
        access.switch(request, organization_id=membership.organization_id)
        messages.success(request, f"Welcome to {offer.organization.name}.")
        return redirect("overview")
    is_theirs = request.user.is_authenticated and request.user.email.lower() == offer.email.lower()
    response = render(request, "accounts/invitation.html", {"offer": offer, "is_theirs": is_theirs})
    # The address contains a secret: it must not reach other sites or a cache.
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "no-store, private"
    return response
