"""What we change of django-allauth."""

import base64
import hashlib
from typing import Any
from urllib.parse import urlsplit

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.stagekit import LOGIN_SESSION_KEY
from allauth.account.models import EmailAddress
from allauth.account.utils import user_pk_to_url_str
from allauth.core import context as allauth_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.usersessions.models import UserSession
from cryptography.fernet import Fernet, MultiFernet
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils import timezone

from accounts.models import ApiKey, Role, User

NEW_PASSWORD_MAILS = frozenset(f"account/email/password_{what}" for what in ("changed", "reset", "set"))


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Gives an account to whoever reads its mail, and links to this site only."""

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """Mark the address as proved, and have a new password chosen where the old one may be a stranger's.

        The attack: somebody signs up with another person's address and waits for its owner to open the link. So the
        password stays only if this browser has shown that it knows it. Asked for the first address alone: no other can
        be added before it is proved.
        Raises ImmediateHttpResponse, the way to the form for the new password: no `next` may lead past it.
        """
        user = email_address.user
        is_first = not EmailAddress.objects.filter(user=user, verified=True).exists()
        # One transaction: between a proved address and a lost password the stranger could sign in.
        with transaction.atomic():
            if not super().confirm_email(request, email_address):
                return False
            if not is_first or _knows_password(request, user):
                return True
            user.set_unusable_password()
            user.save(update_fields=["password"])
            for session in UserSession.objects.filter(user=user):
                session.end()
        self.add_message(
            request,
            messages.INFO,
            message="Choose a password: this link was opened in another browser than the one that signed up.",
        )
        token = app_settings.PASSWORD_RESET_TOKEN_GENERATOR().make_token(user)
        raise ImmediateHttpResponse(
            redirect("account_reset_password_from_key", uidb36=user_pk_to_url_str(user), key=token)
        )

    def get_client_ip(self, request: HttpRequest) -> str:
        """Return the address that the outermost of our proxies saw.

        A request that passed fewer proxies than there are came past them: it counts as whoever connected to us.
        """
        try:
            return str(super().get_client_ip(request))
        except ImproperlyConfigured:
            return str(request.META["REMOTE_ADDR"])

    def send_account_already_exists_mail(self, email: str) -> None:
        """Tell of the account, or mail the link again while the address is not proved.

        Not for an address that an account merely claims beside its own: the link would lead into a stranger's account.
        A sign-up drops such claims before it comes here (see forms.SignupForm); this guards every other way.
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
            # Whoever knew the old password may have made keys, which a new password does not end.
            context = (context or {}) | {"live_keys": _live_keys_of(user)}
        super().send_notification_mail(template_prefix, user, context, email)

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: Any) -> str:
        return _at_home(super().get_email_confirmation_url(request, emailconfirmation))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return _at_home(super().get_reset_password_from_key_url(key))

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        # The links to whole pages, which allauth asks no adapter for.
        links = {name: _at_home(context[name]) for name in ("signup_url", "password_reset_url") if name in context}
        super().send_mail(template_prefix, email, context | links)


class MfaAdapter(DefaultMFAAdapter):  # type: ignore[misc]
    """Encrypts TOTP secrets and recovery seeds at rest; allauth by itself stores them in clear."""

    def encrypt(self, text: str) -> str:
        return _fernet().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _fernet().decrypt(encrypted_text.encode()).decode()


def _knows_password(request: HttpRequest, user: User) -> bool:
    """Tell whether this browser signed up, signed in or chose the password of this person before.

    allauth keeps that as a pending sign-in, which it no longer completes after 15 minutes; as a proof it stays good.
    """
    pending = request.session.get(LOGIN_SESSION_KEY)
    is_pending = isinstance(pending, dict) and pending.get("user_pk") == user_pk_to_url_str(user)
    return is_pending or request.user.pk == user.pk


def _live_keys_of(owner: User) -> QuerySet[ApiKey]:
    return (
        ApiKey.objects.live(now=timezone.now())
        .filter(organization__memberships__user=owner, organization__memberships__role=Role.OWNER)
        .select_related("organization")
        .order_by("organization__name", "created_at")
    )


def _at_home(url: str) -> str:
    """Return the link with this site's address instead of the request's Host, which anybody may forge.

    In development the Host stays: people type localhost or 127.0.0.1, and a cookie of one is not sent to the other.
    """
    if settings.DEVELOPMENT:
        return url
    parts = urlsplit(url)
    return f"{settings.SITE_URL}{parts.path}{f'?{parts.query}' if parts.query else ''}"


def _fernet() -> MultiFernet:
    """Encrypts with the first key and reads with any: so that keys can be rotated."""
    keys = [
        base64.urlsafe_b64encode(hashlib.sha256(f"voxsite.field:{key}".encode()).digest())
        for key in settings.FIELD_KEYS
    ]
    return MultiFernet([Fernet(key) for key in keys])
