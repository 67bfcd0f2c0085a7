"""Pages on which an owner deletes an organization, and restores it."""

import uuid

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access, closures
from accounts.decorators import page
from accounts.errors import NotFound
from accounts.forms import DeleteOrganizationForm
from accounts.links import page_url
from accounts.models import Role


def delete_organization(request: HttpRequest, organization_id: uuid.UUID) -> HttpResponseBase:
    """Say what goes and what stays. A POST with the name of the organization deletes it.

    The second click of a double click comes when there is no page of the organization any more.
    """
    if request.method == "POST" and closures.is_closed_by_owner(organization_id, user_id=request.user.pk):
        return redirect("organizations-deleted")
    return _delete_organization(request, organization_id=organization_id)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def _delete_organization(request: HttpRequest) -> HttpResponse:
    membership = access.require_role(request, Role.OWNER)
    form = DeleteOrganizationForm(request.POST or None, organization=membership.organization)
    if request.method == "POST" and form.is_valid():
        try:
            closures.close(membership)
        except NotFound:
            # The first click was a moment quicker.
            return redirect("organizations-deleted")
        membership.organization.refresh_from_db()
        closures.end_work(membership.organization)
        closures.tell_owners(membership.organization, by=access.person(request))
        messages.success(request, f"{membership.organization.name} is deleted. Its keys no longer work.")
        return redirect("organizations-deleted")
    context = {"form": form, "grace_days": closures.grace_days()}
    return render(request, "accounts/organization_delete.html", context, status=400 if form.errors else 200)


@page
@require_http_methods(["GET", "HEAD", "POST"])
def deleted_organizations(request: HttpRequest) -> HttpResponse:
    """List the deleted organizations that the person can restore. A POST that names one restores it."""
    if request.method == "POST":
        return _restore(request)
    context = {"deleted": closures.closed_of(access.person(request)), "grace_days": closures.grace_days()}
    return render(request, "accounts/organizations_deleted.html", context)


def _restore(request: HttpRequest) -> HttpResponseRedirect:
    try:
        organization_id = uuid.UUID(request.POST.get("organization", ""))
    except ValueError as error:
        raise NotFound("There is no such organization.") from error
    organization = closures.open_again(organization_id, by=access.person(request))
    messages.success(request, f"{organization.name} is restored. Its keys work again. Automatic top-up is off.")
    return HttpResponseRedirect(page_url(organization.pk, "overview"))
