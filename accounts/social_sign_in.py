"""Signing in with an account at Google or GitHub: which account here it opens, and what is kept of it.

An account there opens the account here that it is connected with. Otherwise its address decides, and only where both
sides have proved it: the provider, and this site. An address that somebody merely typed in, there or here, opens
nothing (docs/decisions/0076).
"""

import logging
from typing import Any

from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import Http404, HttpRequest
from django.shortcuts import redirect

from accounts import audit_log, organizations
from accounts.forms import free_address
from accounts.models import AuditAction, Membership, User

logger = logging.getLogger(__name__)

NAMES = {"google": "Google", "github": "GitHub"}


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Lets people sign in with accounts elsewhere, by addresses that both sides have proved."""

    error_messages = DefaultSocialAccountAdapter.error_messages | {
        "no_password": "Set a password first: this is your only way to sign in.",
        "no_verified_email": "Confirm your email address first: this is your only way to sign in.",
    }

    def list_apps(
        self, request: HttpRequest, provider: str | None = None, client_id: str | None = None
    ) -> list[SocialApp]:
        """Return the applications that the settings name. Those of allauth's table are not asked for: it stays empty.

        So a page of sign-in costs no query for them, and no secret of a provider lies in the database.
        """
        return [
            SocialApp(provider=name, **app)
            for name, configured in settings.SOCIALACCOUNT_PROVIDERS.items()
            for app in configured["APPS"]
            if provider in (None, name) and client_id in (None, app["client_id"])
        ]

    def get_app(self, request: HttpRequest, provider: str, client_id: str | None = None) -> SocialApp:
        """Return the application of a provider. Raises Http404 for one that is off: its addresses do not exist."""
        apps = self.list_apps(request, provider=provider, client_id=client_id)
        if not apps:
            raise Http404
        return apps[0]

    def populate_user(self, request: HttpRequest, sociallogin: SocialLogin, data: dict[str, Any]) -> User:
        """Fill in the person's address, and the server of the account.

        Of what the provider tells of the account, keep what people know it by.
        """
        account = sociallogin.account
        account.uid = _uid_with_server(account)
        account.extra_data = {"name": data.get("username") or data.get("email") or ""}
        user: User = super().populate_user(request, sociallogin, {"email": data.get("email")})
        return user

    def authenticate_by_email(self, sociallogin: SocialLogin) -> tuple[User, str] | None:
        """Return whose account an address opens, with the address. None unless it is proved there and here.

        allauth also finds accounts that have not proved the address, and takes their password from them. Here the owner
        of the address confirms it by the mail that a sign-up sends.
        """
        proved = [address.email.lower() for address in sociallogin.email_addresses if address.verified]
        found = {
            each.email: each
            for each in EmailAddress.objects.filter(email__in=proved, verified=True).select_related("user")
        }
        return next(((found[email].user, email) for email in proved if email in found), None)

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Make a new account by the first proved address alone. Raises ImmediateHttpResponse if there is none.

        The attack: an account at the provider with somebody else's address, which waits here until that person proves
        it. So without a proved address there is no account.
        """
        # allauth takes the word from the address of the request, and signs in by any that is neither of these two.
        if sociallogin.is_existing or sociallogin.state.get("process") in (AuthProcess.CONNECT, AuthProcess.REDIRECT):
            return
        if limited := ratelimit.consume_or_429(request, app="allauth.account", action="signup", limit_get=True):
            raise ImmediateHttpResponse(limited)
        email = next((address.email.lower() for address in sociallogin.email_addresses if address.verified), None)
        if email is None:
            name = NAMES[sociallogin.account.provider]
            messages.error(
                request,
                f"{name} has not confirmed your email address. Confirm it there, or sign up here with your address "
                "and a password.",
            )
            raise ImmediateHttpResponse(redirect("account_signup"))
        free_address(email)
        sociallogin.user.email = email
        sociallogin.email_addresses = [EmailAddress(email=email, verified=True, primary=True)]

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        """Tell whether an account may be made: only with proved addresses, whatever led here."""
        proved = [address for address in sociallogin.email_addresses if address.verified]
        return bool(proved) and len(proved) == len(sociallogin.email_addresses)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> User:
        """Make the account, and what a person with a proved address gets: an organization, and the sign-up credit."""
        with transaction.atomic():
            user: User = super().save_user(request, sociallogin, form=form)
            if EmailAddress.objects.filter(user=user, verified=True).exists():
                organizations.email_was_verified(user)
            record_added(user, sociallogin.account)
        return user


def connect(request: HttpRequest, user: User, *, sociallogin: SocialLogin) -> None:
    """Connect the account by which somebody has just signed in, unless it is. Mails them about it.

    allauth can do that itself, but then before the second factor was asked for: who has stolen the mailbox alone would
    leave an account of theirs connected.
    """
    account = sociallogin.account
    if not SocialAccount.objects.filter(provider=account.provider, uid=account.uid).exists():
        sociallogin.connect(request, user)


def record_added(user: User, account: SocialAccount) -> None:
    """Write down that somebody can sign in with an account from now on."""
    _record(user, AuditAction.SIGN_IN_ADDED, account)


def record_removed(user: User, account: SocialAccount) -> None:
    """Write down that somebody can no longer sign in with an account."""
    _record(user, AuditAction.SIGN_IN_REMOVED, account)


def _uid_with_server(account: SocialAccount) -> str:
    """Return the number of an account at a provider, with the server if it is not the provider's own.

    A GitHub Enterprise server counts from 1, as github.com does. Without its address, an operator who changes the
    switch would let account 5 of one server into what account 5 of the other one opened.
    """
    server = settings.SOCIALACCOUNT_PROVIDERS[account.provider].get("GITHUB_URL")
    return f"{server} {account.uid}" if server else str(account.uid)


def _record(user: User, action: AuditAction, account: SocialAccount) -> None:
    """Write it to the log, and to the acts of each organization that the person works in. Not by the account's name."""
    logger.info("%s: user %s, %s.", action.value, user.pk, account.provider)
    for membership in Membership.objects.of_open_organizations().filter(user=user).select_related("organization"):
        audit_log.record(membership.organization, action, NAMES[account.provider], by=user)
