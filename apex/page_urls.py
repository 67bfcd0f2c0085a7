"""URLs below `/playground/`."""

from django.urls import path

from apex import pages

urlpatterns = [
    path("", pages.playground, name="playground"),
    path("price/", pages.price, name="playground-price"),
    path("stream/", pages.stream, name="playground-stream"),
]
