"""allauth's pages of e-mail addresses, which say more: why no link was sent, and that a used link has done its work."""

from typing import Any

from allauth.account import app_settings, views
from allauth.account.models import EmailAddress
from django.contrib import messages
from django.core import signing
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse

from accounts.links import page_url


class EmailView(views.EmailView):
    """The addresses of a person, with the acts that are possible for each."""

    def _action_send(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse | None:
        response: HttpResponse | None = super()._action_send(request, *args, **kwargs)
        if not self._did_send_verification_email:
            messages.warning(
                request, "A link was sent in the last three minutes. Check your spam folder, or try again then."
            )
        return response


class ConfirmEmailView(views.ConfirmEmailView):
    """The page behind the link of a confirmation mail. Once it was used, it says that the address is confirmed."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        address = _confirmed_by(kwargs["key"])
        if address is None:
            response: HttpResponse = super().dispatch(request, *args, **kwargs)
            return response
        if request.user.pk == address.user_id:
            messages.success(request, f"{address.email} is confirmed.")
            return redirect(reverse("account_email") if not address.primary else page_url(None, "overview"))
        return render(request, "account/email_confirm.html", {"confirmed_email": address.email})


def _confirmed_by(key: str) -> EmailAddress | None:
    """Return the address that this link has confirmed, None for one that is to be confirmed, too old or forged."""
    try:
        max_age = 24 * 3600 * app_settings.EMAIL_CONFIRMATION_EXPIRE_DAYS
        pk = signing.loads(key, max_age=max_age, salt=app_settings.SALT)
    except signing.BadSignature:
        return None
    return EmailAddress.objects.filter(pk=pk, verified=True).first()
