"""Addresses of the billing pages of an organization. `voxsite.urls` routes those of the API."""

from django.urls import path

from billing.pages import home, ledger, settings, top_ups, usage

app_name = "billing"
urlpatterns = [
    path("", home.billing, name="billing"),
    path("ledger/", ledger.ledger, name="ledger"),
    path("ledger.csv", ledger.ledger_csv, name="ledger-csv"),
    path("usage/", usage.month, name="usage"),
    path("top-up/", top_ups.top_up, name="top-up"),
    path("top-up/<uuid:topup_id>/success/", top_ups.success, name="top-up-success"),
    path("top-up/<uuid:topup_id>/cancelled/", top_ups.cancelled, name="top-up-cancelled"),
    path("top-up/<uuid:topup_id>/pay/", top_ups.pay, name="top-up-pay"),
    path("top-up/<uuid:topup_id>/cancel/", top_ups.cancel, name="top-up-cancel"),
    path("payments/", top_ups.history, name="payments"),
    path("payments/<uuid:topup_id>/refund/", top_ups.refund, name="refund"),
    path("settings/", settings.settings, name="settings"),
    path("settings/automatic/", settings.automatic, name="automatic"),
    path("settings/automatic/off/", settings.automatic_off, name="automatic-off"),
    path("settings/card/remove/", settings.remove_card, name="card-remove"),
    path("settings/low-balance/", settings.low_balance, name="low-balance"),
    path("settings/limit/", settings.limit, name="limit"),
    path("settings/alerts/", settings.alerts, name="alerts"),
    path("keys/<uuid:key_id>/alerts/", settings.key_alerts, name="key-alerts"),
]
