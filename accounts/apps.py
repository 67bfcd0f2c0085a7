from typing import Any

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"

    def ready(self) -> None:
        from allauth.account.signals import email_confirmed

        from accounts import closures
        from accounts.gate import request_log

        closures.register(closures.Part(name="request_log", delete=request_log.delete_of))
        email_confirmed.connect(_email_was_verified, dispatch_uid="accounts.email_was_verified")


def _email_was_verified(email_address: Any, **_: object) -> None:
    from accounts import organizations

    organizations.email_was_verified(email_address.user)
