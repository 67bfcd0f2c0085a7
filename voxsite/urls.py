"""Every address of the site, or the prefix under which an app has its own."""

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from billing.api import BalanceView, UsageView
from billing.webhook import StripeWebhookView
from transcription.dialects.webhook_keys import WebhookKeysView
from voxsite import health, pages

# Operators use the same sign-in as everybody, with rate limits and second factor. The admin's own form has neither.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents it

urlpatterns = [
    path("", pages.landing, name="landing"),
    path("pricing/", pages.pricing, name="pricing"),
    path("docs/", pages.docs, name="docs"),
    path("docs/from/<slug:slug>/", pages.coming_from, name="coming-from"),
    path("openapi.json", pages.openapi, name="openapi"),
    path("overview/", pages.overview, name="overview"),
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path("billing/", include("billing.urls")),
    path("stripe/webhook", StripeWebhookView.as_view(), name="stripe-webhook"),
    path("transcripts/", include("transcription.urls")),
    path("webhooks/", include("transcription.webhook_urls")),
    path("playground/", include("apex.page_urls")),
    path("admin/", admin.site.urls),
    path("health", health.HealthView.as_view(), name="health"),
    path("health/ready", health.ReadyView.as_view(), name="ready"),
    path(".well-known/webhook-keys.json", WebhookKeysView.as_view(), name="webhook-keys"),
    path("v1/balance", BalanceView.as_view(), name="v1-balance"),
    path("v1/usage", UsageView.as_view(), name="v1-usage"),
    path("v1/apex/", include("apex.urls")),
    path("v1/audio/", include("transcription.dialects.openai.urls")),
    path("v1/stt", include("transcription.dialects.voxnexus.urls")),
    path("v1/listen", include("transcription.dialects.deepgram.urls")),
    path("", include("transcription.dialects.asr.urls")),
    path("v1/", include("transcription.dialects.native.urls")),
]

if settings.DEVELOPMENT:
    urlpatterns += [
        path("dev/mail/", pages.dev_mail, name="dev-mail"),
        path("dev/mail/<str:name>/", pages.dev_mail_message, name="dev-mail-message"),
    ]

if settings.STRIPE_SANDBOX:
    urlpatterns += [path("dev/stripe/", include("billing.sandbox.urls"))]

handler404 = "voxsite.pages.not_found"
handler500 = "voxsite.pages.server_error"
