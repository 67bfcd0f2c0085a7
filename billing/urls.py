"""Addresses under `/billing/`. `/v1/balance` is one of the native API's and routed there."""

from django.urls import path

from billing import api, pages

app_name = "billing"
urlpatterns = [
    path("", pages.billing, name="billing"),
    path("ledger.csv", pages.ledger_csv, name="ledger-csv"),
    path("products", api.ProductsView.as_view(), name="products"),
]
