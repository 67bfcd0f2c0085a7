"""Addresses of the playground of an organization."""

from django.urls import path

from apex import pages

urlpatterns = [
    path("", pages.playground, name="playground"),
    path("price/", pages.price, name="playground-price"),
    path("rendered/", pages.rendered, name="playground-rendered"),
    path("stream/", pages.stream, name="playground-stream"),
]
