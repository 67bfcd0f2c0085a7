"""Addresses under `/dev/stripe/`, in development without a Stripe key only (voxsite.urls)."""

from django.urls import path

from billing.sandbox import pages

app_name = "sandbox"
urlpatterns = [
    path("", pages.control, name="control"),
    path("knobs/", pages.turn_knobs, name="knobs"),
    path("do/<str:thing_id>/<str:act>/", pages.do, name="do"),
    path("pay/<str:session_id>/", pages.pay, name="pay"),
    path("paper/<str:thing_id>/", pages.paper, name="paper"),
]
