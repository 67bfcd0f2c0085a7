from typing import Any

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from accounts.organizations import organization_verified

        organization_verified.connect(_organization_was_verified, dispatch_uid="billing.organization_was_verified")


def _organization_was_verified(organization: Any, **_: object) -> None:
    from billing import signup

    signup.welcome(organization)
