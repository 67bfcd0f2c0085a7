from typing import Any

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from allauth.account.signals import email_confirmed, user_logged_in
        from allauth.socialaccount.signals import social_account_added, social_account_removed

        from accounts import audit_log, closures
        from accounts.gate import request_log

        closures.register(closures.Part(name="request_log", delete=request_log.delete_of))
        closures.register(closures.Part(name="audit_log", delete=audit_log.delete_of))
        email_confirmed.connect(_email_was_verified, dispatch_uid="accounts.email_was_verified")
        user_logged_in.connect(_signed_in, dispatch_uid="accounts.signed_in")
        social_account_added.connect(_sign_in_was_added, dispatch_uid="accounts.sign_in_was_added")
        social_account_removed.connect(_sign_in_was_removed, dispatch_uid="accounts.sign_in_was_removed")


def _email_was_verified(email_address: Any, **_: object) -> None:
    from accounts import organizations

    organizations.email_was_verified(email_address.user)


def _signed_in(request: Any, user: Any, sociallogin: Any = None, **_: object) -> None:
    from accounts import social_sign_in

    if sociallogin is not None:
        social_sign_in.connect(request, user, sociallogin=sociallogin)


def _sign_in_was_added(sociallogin: Any, **_: object) -> None:
    from accounts import social_sign_in

    social_sign_in.record_added(sociallogin.user, sociallogin.account)


def _sign_in_was_removed(socialaccount: Any, **_: object) -> None:
    from accounts import social_sign_in

    social_sign_in.record_removed(socialaccount.user, socialaccount)
