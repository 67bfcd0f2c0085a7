"""The page on which a person deletes their account."""

from allauth.account.decorators import reauthentication_required
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_http_methods

from accounts import access, account_deletion, closures
from accounts.decorators import page
from accounts.errors import Conflict


@page
@reauthentication_required  # type: ignore[untyped-decorator]  # allauth has no types for it
@require_http_methods(["GET", "HEAD", "POST"])
def delete_account(request: HttpRequest) -> HttpResponse:
    """Say what becomes of the account and its organizations. A POST deletes it. The password was just asked for."""
    person = access.person(request)
    error = None
    if request.method == "POST":
        try:
            account_deletion.order(person, revokes_keys="revoke_keys" in request.POST)
        except Conflict as conflict:
            error = conflict
        else:
            logout(request)
            context = {"email": person.email, "grace_days": closures.grace_days()}
            return render(request, "accounts/account_deleted.html", context)
    context = {
        "found": account_deletion.consequences(person),
        "grace_days": closures.grace_days(),
        "error": error,
    }
    return render(request, "accounts/account_delete.html", context, status=409 if error else 200)
