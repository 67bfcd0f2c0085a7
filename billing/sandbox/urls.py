"""Addresses under `/dev/stripe/`, in development without a Stripe key only (voxsite.urls)."""

from django.urls import path

from billing.sandbox import pages

app_name = "sandbox"
urlpatterns = [
    path("", pages.control, name="control"),
    path("settings/", pages.save_settings, name="settings"),
    path("actions/<str:object_id>/<str:action>/", pages.run_action, name="action"),
    path("pay/<str:session_id>/", pages.pay, name="pay"),
    path("receipts/<str:charge_id>/", pages.receipt, name="receipt"),
    path("invoices/<str:invoice_id>/", pages.invoice, name="invoice"),
]
