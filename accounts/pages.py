"""Pages of organizations, members and invitations: gate, query, form, render."""

import uuid

from allauth.account.models import EmailAddress
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from accounts import access, organizations
from accounts.decorators import open_page, page
from accounts.errors import Conflict, Forbidden, InvalidField, UpstreamFailed, VoxsiteError
from accounts.forms import InviteForm, OrganizationForm, RoleForm, roles_up_to
from accounts.gate import limits
from accounts.links import page_url, redirect_to_page
from accounts.models import ApiKey, Invitation, Membership, Organization, Role, User
from accounts.sent_forms import sent_once

# --- Organizations ---------------------------------------------------------------------------------------------------


@page
@require_http_methods(["GET", "HEAD", "POST"])
@sent_once
def new_organization(request: HttpRequest) -> HttpResponse:
    form = OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid() and (organization := _create(request, form)):
        if EmailAddress.objects.filter(user=access.person(request), verified=True).exists():
            organizations.verify(organization)
        messages.success(request, f"Switched to {organization.name}.")
        return redirect(page_url(organization.pk, "overview"))
    return render(request, "accounts/organization_new.html", {"form": form}, status=400 if form.errors else 200)


@page
@require_POST
def rename_organization(request: HttpRequest) -> HttpResponse:
    membership = access.require_role(request, Role.OWNER)
    try:
        organizations.rename(membership.organization, name=request.POST.get("name", ""))
    except InvalidField as error:
        messages.error(request, f"Name not changed. {error.message}")
    else:
        messages.success(request, f"Renamed to {membership.organization.name}.")
    return redirect_to_page(request, "organization")


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
@sent_once
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
            return redirect_to_page(request, "organization")
    return _show_organization(request, form=form, status=400)


@page
@require_POST
@sent_once
def resend_invitation(request: HttpRequest, invitation_id: uuid.UUID) -> HttpResponse:
    """Mail the link of an open invitation again, for a fresh period."""
    membership = access.require_role(request, Role.ADMIN)
    limits.spend(membership.organization, scope="invitations")
    invitation, token = organizations.resend(membership.organization, invitation_id=invitation_id, by=membership)
    _mail(request, invitation, token=token)
    return redirect_to_page(request, "organization")


@page
@require_POST
def withdraw_invitation(request: HttpRequest, invitation_id: uuid.UUID) -> HttpResponse:
    membership = access.require_role(request, Role.ADMIN)
    invitation = _open_invitations(membership).filter(pk=invitation_id).first()
    if invitation is None:
        # A double click, or somebody else was quicker.
        messages.info(request, "This invitation is no longer open.")
        return redirect_to_page(request, "organization")
    organizations.withdraw(invitation, by=membership)
    messages.success(request, f"Invitation of {invitation.email} withdrawn.")
    return redirect_to_page(request, "organization")


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
        keys = organizations.change_role(member, role=role, by=by, revokes_keys=_revokes_keys(request))
    except Conflict as error:
        messages.error(request, error.message)
    else:
        told = f"{member.user.email} is now {role.label.lower()}. {_told_of_keys(request, keys)}"
        messages.success(request, told.strip())
    return redirect_to_page(request, "organization")


@page
@require_POST
def remove_member(request: HttpRequest, membership_id: int) -> HttpResponse:
    by = access.membership_for(request)
    member = _members(by).filter(pk=membership_id).first()
    if member is None:
        messages.info(request, "This person is no longer a member.")
        return redirect_to_page(request, "organization")
    email = member.user.email
    try:
        keys = organizations.remove_member(member, by=by, revokes_keys=_revokes_keys(request))
    except Conflict as error:
        messages.error(request, error.message)
    else:
        messages.success(request, f"{email} removed. {_told_of_keys(request, keys)}".strip())
    return redirect_to_page(request, "organization")


@page
@require_POST
def leave(request: HttpRequest) -> HttpResponse:
    membership = access.membership_for(request)
    try:
        keys = organizations.leave(membership, revokes_keys=_revokes_keys(request))
    except Conflict as error:
        messages.error(request, error.message)
        return redirect_to_page(request, "organization")
    messages.success(request, f"You left {membership.organization.name}. {_told_of_keys(request, keys)}".strip())
    return redirect(page_url(None, "overview"))


def _revokes_keys(request: HttpRequest) -> bool:
    return "revoke_keys" in request.POST


def _told_of_keys(request: HttpRequest, names: list[str]) -> str:
    """Return what became of the keys that a member made, for the confirmation; "" without any."""
    if not names:
        return ""
    return f"{'Revoked' if _revokes_keys(request) else 'Keys that still work'}: {_quoted(names)}."


def _quoted(names: list[str]) -> str:
    return ", ".join(f"“{name}”" for name in names)


def _mail(request: HttpRequest, invitation: Invitation, *, token: str) -> None:
    email = invitation.email
    try:
        organizations.mail_invitation(invitation, token=token)
    except UpstreamFailed:
        messages.error(request, f"The email to {email} could not be sent. Invite them again in a few minutes.")
    else:
        messages.success(request, f"Invitation sent to {email}. The link works for seven days.")


def _show_organization(request: HttpRequest, *, form: InviteForm | None = None, status: int = 200) -> HttpResponse:
    membership = access.membership_for(request)
    role = Role(membership.role)
    members = list(_members(membership).order_by("created_at", "pk"))
    owners = sum(member.role == Role.OWNER for member in members)
    keys_by_person: dict[int | None, list[ApiKey]] = {}
    for key in ApiKey.objects.of(membership.organization).live(now=timezone.now()).order_by("created_at", "pk"):
        keys_by_person.setdefault(key.created_by_id, []).append(key)
    context = {
        "members": [
            {
                "row": member,
                "is_me": member.user_id == request.user.pk,
                "keys": keys_by_person.get(member.user_id, []),
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
        "may_rename": membership.may(Role.OWNER),
        "name_length": organizations.MAX_NAME_LENGTH,
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
    if isinstance(request.user, User) and (joined := organizations.membership_from(token, user=request.user)):
        # The link again, a double click, or Back.
        messages.info(request, f"You are a member of {joined.organization.name}.")
        return redirect(page_url(joined.organization_id, "overview"))
    offer = organizations.invitation_for(token)
    if request.method == "POST" and request.user.is_authenticated:
        membership = organizations.accept(token, user=request.user)
        messages.success(request, f"Welcome to {offer.organization.name}.")
        return redirect(page_url(membership.organization_id, "overview"))
    is_theirs = request.user.is_authenticated and request.user.email.lower() == offer.email.lower()
    response = render(request, "accounts/invitation.html", {"offer": offer, "is_theirs": is_theirs})
    # The address contains a secret: it must not reach a cache, or other sites. The latter is the Referrer-Policy of all
    # pages (same-origin). With "no-referrer" a browser sends "Origin: null" with the form, and its CSRF check fails.
    response["Cache-Control"] = "no-store, private"
    return response
