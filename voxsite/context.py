"""Template context of every page."""

import uuid
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest
from django.utils.functional import SimpleLazyObject

from accounts import access
from billing import statements
from transcription import recognition

FALLBACK_NOTE = "Speech engine for testing: PocketSphinx, English only, low accuracy."


def site(request: HttpRequest) -> dict[str, Any]:
    """Return the site's address and mode; for a member, also the organization and its balance (queried if shown)."""
    context: dict[str, Any] = {
        "site_url": settings.SITE_URL,
        "support_email": settings.SUPPORT_EMAIL,
        "terms_url": settings.TERMS_URL,
        "privacy_url": settings.PRIVACY_URL,
        "security_url": settings.SECURITY_URL,
        "min_password_length": settings.MIN_PASSWORD_LENGTH,
        "is_development": settings.DEVELOPMENT,
        "is_sandbox": settings.STRIPE_SANDBOX,
        "has_social_sign_in": bool(settings.SOCIALACCOUNT_PROVIDERS),
        # Called anew for every form (accounts/sent_forms.py).
        "form_token": uuid.uuid4,
        "waiting_note": recognition.waiting_note(),
        "fallback_note": FALLBACK_NOTE if recognition.is_fallback() else "",
    }
    if getattr(request, "user", None) is not None and request.user.is_authenticated:
        try:
            membership = access.membership_for(request)
        except Http404:
            return context
        organization = membership.organization
        context["membership"] = membership
        context["organization"] = organization
        context["may_pay"] = membership.may_pay
        balance: Any = SimpleLazyObject(lambda: statements.balance(organization))
        context["balance"] = balance
        context["other_organizations"] = SimpleLazyObject(lambda: access.other_organizations(request))
    return context
