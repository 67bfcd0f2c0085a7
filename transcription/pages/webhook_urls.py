"""Addresses of webhooks of an organization."""

from django.urls import path

from transcription.pages import webhooks

urlpatterns = [
    path("", webhooks.webhooks, name="webhooks"),
    path("new/", webhooks.new, name="webhook-new"),
    path("deliveries/", webhooks.log, name="webhook-log"),
    path("deliveries/<str:delivery_id>/", webhooks.delivery, name="webhook-delivery"),
    path("deliveries/<str:delivery_id>/send/", webhooks.send_again, name="webhook-send-again"),
    path("<uuid:endpoint_id>/", webhooks.endpoint, name="webhook-endpoint"),
    path("<uuid:endpoint_id>/test/", webhooks.send_test, name="webhook-test"),
    path("<uuid:endpoint_id>/on/", webhooks.turn_on, name="webhook-on"),
    path("<uuid:endpoint_id>/off/", webhooks.turn_off, name="webhook-off"),
    path("<uuid:endpoint_id>/delete/", webhooks.delete, name="webhook-delete"),
]
