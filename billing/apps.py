from typing import Any

from django.apps import AppConfig


class BillingConfig(AppConfig):
    name = "billing"

    def ready(self) -> None:
        from accounts import closures
        from accounts.account_deletion import account_is_deleted
        from accounts.organizations import organization_renamed, organization_verified
        from billing.closures import PART

        closures.register(PART)
        organization_verified.connect(_organization_was_verified, dispatch_uid="billing.organization_was_verified")
        organization_renamed.connect(_organization_was_renamed, dispatch_uid="billing.organization_was_renamed")
        account_is_deleted.connect(_account_is_deleted, dispatch_uid="billing.account_is_deleted")
        _disable_djstripe_calls()
        _connect_payments()


def _organization_was_verified(organization: Any, **_: object) -> None:
    from billing import signup_credit

    signup_credit.grant(organization)


def _organization_was_renamed(organization: Any, **_: object) -> None:
    from billing import customer_names

    customer_names.mark(organization)


def _account_is_deleted(user: Any, **_: object) -> None:
    from billing import signup_credit

    signup_credit.remember_addresses(user)


def _connect_payments() -> None:
    from billing import reconciliation, stripe_events  # noqa: F401 - importing it connects the receivers
    from billing.ledger import audit

    audit.also_check(reconciliation.faults)


def _disable_djstripe_calls() -> None:
    """Disable the parts of dj-stripe that call Stripe: its own receivers, and most of its admin.

    This site uses dj-stripe only to take webhooks, store each event once and call the receivers here. dj-stripe's own
    receivers fetch every object that an event names, inside the webhook's transaction. Its admin edits keys and
    endpoints by calling Stripe. docs/decisions/0010 says why neither is needed.
    """
    from django.apps import apps
    from django.contrib import admin
    from djstripe import event_handlers, models
    from djstripe.signals import WEBHOOK_SIGNALS

    own = [value for name, value in vars(event_handlers).items() if name.startswith("handle_")]
    for signal in WEBHOOK_SIGNALS.values():
        for receiver in own:
            signal.disconnect(receiver, sender=models.Event)
    shown = {models.Event, models.WebhookEventTrigger}
    for model in apps.get_app_config("djstripe").get_models():
        if model not in shown and admin.site.is_registered(model):
            admin.site.unregister(model)
