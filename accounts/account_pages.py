"""Pages of a person's account that allauth does not have: which mails they get, and deleting the account."""

from allauth.account.decorators import reauthentication_required
from django.contrib import messages
from django.contrib.auth import logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from accounts import access, account_deletion, closures
from accounts.decorators import page
from accounts.errors import Conflict
from accounts.forms import MailsForm


@page
@require_http_methods(["GET", "HEAD", "POST"])
def mails(request: HttpRequest) -> HttpResponse:
    """Show which mails the person gets. A POST changes it."""
    person = access.person(request)
    chosen = {name: getattr(person, name) for name in MailsForm.base_fields}
    form = MailsForm(request.POST if request.method == "POST" else None, initial=chosen)
    if request.method == "POST" and form.is_valid():
        for name, value in form.cleaned_data.items():
            setattr(person, name, value)
        person.save(update_fields=list(form.cleaned_data))
        messages.success(request, "Saved.")
        return redirect("account-mails")
    return render(request, "accounts/mails.html", {"form": form}, status=400 if form.errors else 200)


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
