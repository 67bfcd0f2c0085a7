"""The page of accounts at Google or GitHub with which a person signs in here."""

from typing import Any

from allauth.socialaccount import views
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse

from accounts import access
from accounts.social_sign_in import NAMES


class ConnectionsView(views.ConnectionsView):
    """The connected accounts, each with a button to remove it, and the providers that can be connected."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not settings.SOCIALACCOUNT_PROVIDERS:
            raise Http404
        response: HttpResponse = super().dispatch(request, *args, **kwargs)
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        person = access.person(self.request)
        accounts = SocialAccount.objects.filter(user=person, provider__in=settings.SOCIALACCOUNT_PROVIDERS)
        context: dict[str, Any] = super().get_context_data(**kwargs)
        connected = [(NAMES[account.provider], account) for account in accounts.order_by("provider", "pk")]
        has = {account.provider for _, account in connected}
        return context | {
            "connected": connected,
            "offered": [each for each in get_adapter().list_providers(self.request) if each.id not in has],
            "has_password": person.has_usable_password(),
        }


def signup(_request: HttpRequest) -> HttpResponse:
    """Raise Http404. allauth's form takes any address that somebody types in for that of the account elsewhere."""
    raise Http404
