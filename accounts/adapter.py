"""Adapters that change django-allauth: verification, links in mails, and encryption of second factors."""

import math
import time
from typing import Any
from urllib.parse import urlsplit

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.socialaccount.models import SocialAccount
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils import timezone

from accounts import encryption
from accounts.models import ApiKey, Role, User

# allauth's code of the error.
LOCKED_OUT = "too_many_login_attempts"
NEW_PASSWORD_MAILS = frozenset(f"account/email/password_{what}" for what in ("changed", "reset", "set"))


class AccountAdapter(DefaultAccountAdapter):
    """Ties an account to the person who reads its mail, and sends links to this site only."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "email_password_mismatch": "Wrong email or password.",
        # Of codes of a second factor: five in five minutes.
        LOCKED_OUT: "Too many failed attempts. Try again in five minutes.",
        "rate_limited": "Too many attempts. Try again in a few minutes.",
    }

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Mark the address as verified. Require a new password if a stranger may have chosen the old one.

        The attack: somebody signs up with another person's address and waits until its owner opens the link. So the
        password is kept only if this browser has proved that it knows it. Only the first address is checked, because
        no other one can be added before it is verified.
        Raises ImmediateHttpResponse, which leads to the form for the new password: `next` must not skip it.
        """
        user = email_address.user
        is_first = not EmailAddress.objects.filter(user=user, verified=True).exists()
        # One transaction: the stranger could sign in between the verification and the removal of the password.
        with transaction.atomic():
            if not super().confirm_email(request, email_address):
                return False
            if not is_first:
                return True
            # A sign-up with Google or GitHub has a verified address from the beginning. So a stranger connected these
            # accounts. A browser that knows the password proves nothing: the owner may have reset the password.
            SocialAccount.objects.filter(user=user).delete()
            if _knows_password(request, user):
                return True
            user.set_unusable_password()
            user.save(update_fields=["password"])
            for session in UserSession.objects.filter(user=user):
                session.end()
        self.add_message(
            request,
            messages.INFO,
            message="Choose a password: this link was opened in a different browser from the one you signed up with.",
        )
        token = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
        raise ImmediateHttpResponse(
            redirect("account_reset_password_from_key", uidb36=user_pk_to_url_str(user), key=token)
        )

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count a sign-in. Raises ValidationError that says for how long no more are taken, and what helps."""
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError as error:
            if error.code != LOCKED_OUT:
                raise
            seconds = _locked_seconds(request, key=self._get_login_attempts_cache_key(request, **credentials))
            raise ValidationError(_locked_out_message(seconds), code=LOCKED_OUT) from None

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the client's address as the outermost of our proxies saw it.

        A request that passed fewer proxies than configured has bypassed them. Its address is that of the connection.
        """
        try:
            return str(super().get_client_ip(request))
        except ImproperlyConfigured:
            return str(request.META["REMOTE_ADDR"])

    def send_account_already_exists_mail(self, email: str) -> None:
        """Mail that the account exists. If its address is not verified yet, mail the verification link again instead.

        No link is sent for an unverified second address of an account: it would lead into a stranger's account. A
        sign-up removes such addresses first (see forms.SignupForm), so this protects other callers.
        """
        address = EmailAddress.objects.filter(user__email__iexact=email, email__iexact=email, verified=False).first()
        if address is None or EmailAddress.objects.filter(user=address.user, verified=True).exists():
            super().send_account_already_exists_mail(email)
        else:
            address.send_confirmation(allauth_context.request, signup=True)

    def send_notification_mail(
        self, template_prefix: str, user: User, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        if template_prefix in NEW_PASSWORD_MAILS:
            # A person who knew the old password may have created keys, and these stay valid.
            context = (context or {}) | {"live_keys": _live_keys_of(user)}
        super().send_notification_mail(template_prefix, user, context, email)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return _with_site_url(super().get_email_confirmation_url(request, emailconfirmation))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return _with_site_url(super().get_reset_password_from_key_url(key))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        # allauth has no hook for these two links.
        links = {
            name: _with_site_url(context[name]) for name in ("signup_url", "password_reset_url") if name in context
        }
        super().send_mail(template_prefix, email, context | links)


def _locked_seconds(request: HttpRequest, *, key: str) -> float:
    """Return for how long no more sign-ins are taken: until the oldest counted one is forgotten, of each full limit."""
    waits = [0.0]
    for rate in ratelimit.get_rates(app="allauth.account", action="login_failed"):
        cache_key = ratelimit.get_cache_key(request, app="allauth.account", action="login_failed", rate=rate, key=key)
        counted = [moment for moment in cache.get(cache_key, []) if moment > time.time() - rate.duration]
        if len(counted) >= rate.amount:
            waits.append(min(counted) + rate.duration - time.time())
    return max(waits)


def _locked_out_message(seconds: float) -> str:
    minutes = max(1, math.ceil(seconds / 60))
    return (
        f"Too many failed sign-ins. Try again in {minutes} minute{'' if minutes == 1 else 's'}. "
        "To sign in now, reset your password or use a passkey."
    )


class MfaAdapter(DefaultMFAAdapter):
    """Encrypts TOTP secrets and recovery seeds at rest. By default allauth stores them as plain text."""

    def encrypt(self, text: str) -> str:
        return encryption.encrypt(text)

    def decrypt(self, encrypted_text: str) -> str:
        return encryption.decrypt(encrypted_text)


def _knows_password(request: HttpRequest, user: User) -> bool:
    """Tell whether this browser has already used the person's password: at sign-up, sign-in or a password change.

    allauth stores this as a pending sign-in. After 15 minutes it does not complete it any more, but the proof is still
    valid.
    """
    pending = request.session.get(LOGIN_SESSION_KEY)
    is_pending = isinstance(pending, dict) and pending.get("user_pk") == user_pk_to_url_str(user)
    return is_pending or request.user.pk == user.pk


def _live_keys_of(owner: User) -> QuerySet[ApiKey]:
    return (
        ApiKey.objects.live(now=timezone.now())
        .filter(parent=None, organization__closed_at__isnull=True)
        .filter(organization__memberships__user=owner, organization__memberships__role=Role.OWNER)
        .select_related("organization")
        .order_by("organization__name", "organization_id", "created_at")
    )


def _with_site_url(url: str) -> str:
    """Return the link with the site's address instead of the request's Host, which a client can forge.

    In development the Host is kept: people use localhost or 127.0.0.1, and each has its own cookies.
    """
    if settings.DEVELOPMENT:
        return url
    parts = urlsplit(url)
    return f"{settings.SITE_URL}{parts.path}{f'?{parts.query}' if parts.query else ''}"
