"""Every address of the site, or the prefix under which an app has its own."""

from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from accounts import connection_pages, links
from accounts.account_pages import delete_account, mails
from accounts.email_pages import ConfirmEmailView, EmailView
from billing.api import BalanceView, ProductsView, UsageView
from billing.automatic_topup_api import AutomaticTopUpView
from billing.key_api import KeysView, KeyView, RotateKeyView
from billing.limits_api import AlertsView, LimitsView
from billing.token_api import TokensView, TokenView
from billing.webhook import StripeWebhookView
from transcription.dialects.transcribeapi.key_views import TranscribeApiRootKeysView
from transcription.dialects.webhook_keys import WebhookKeysView
from transcription.pages import sharing
from voxsite import crawlers, health, metrics, ops, pages

# Operators use the same sign-in as everybody, with rate limits and second factor. The admin's own form has neither.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]  # as allauth documents it

# The pages of an organization. Their addresses begin with it: whatever a person opens in another window, each window
# reads, sends, pays and deletes in the organization that it shows.
organization_pages: list[URLPattern | URLResolver] = [
    path("overview/", pages.overview, name="overview"),
    path("", include("accounts.organization_urls")),
    path("billing/", include("billing.urls")),
    path("transcripts/", include("transcription.urls")),
    path("webhooks/", include("transcription.pages.webhook_urls")),
    path("playground/", include("apex.page_urls")),
]

urlpatterns = [
    path("", pages.landing, name="landing"),
    path("pricing/", pages.pricing, name="pricing"),
    path("docs/", pages.docs, name="docs"),
    path("docs/search.json", pages.docs_search, name="docs-search"),
    path("docs/<slug:slug>/", pages.docs, name="docs-page"),
    path("docs/from/<slug:slug>/", pages.coming_from, name="coming-from"),
    path("status/", pages.status, name="status"),
    path("favicon.ico", crawlers.favicon, name="favicon"),
    path("robots.txt", crawlers.robots, name="robots"),
    path("sitemap.xml", crawlers.sitemap, name="sitemap"),
    path("openapi.json", pages.openapi, name="openapi"),
    path("accounts/delete/", delete_account, name="account-delete"),
    path("accounts/mails/", mails, name="account-mails"),
    path("accounts/email/", EmailView.as_view(), name="account_email"),
    path("accounts/3rdparty/", connection_pages.ConnectionsView.as_view(), name="socialaccount_connections"),
    path("accounts/3rdparty/signup/", connection_pages.signup, name="socialaccount_signup"),
    re_path(r"^accounts/confirm-email/(?P<key>[-:\w]+)/$", ConfirmEmailView.as_view(), name="account_confirm_email"),
    path("accounts/", include("allauth.urls")),
    path("", include("accounts.urls")),
    path(links.ROOT, include(organization_pages)),
    path("billing/products", ProductsView.as_view(), name="products"),
    re_path(
        r"^(?:overview|keys|requests|activity|organization|billing|transcripts|webhooks|playground)/", pages.own_page
    ),
    path("s/<str:share_token>/", sharing.shared, name="shared"),
    path("s/<str:share_token>/audio/", sharing.shared_audio, name="shared-audio"),
    path("stripe/webhook", StripeWebhookView.as_view(), name="stripe-webhook"),
    path("ops/", ops.overview, name="ops"),
    path("admin/", admin.site.urls),
    path("health", health.HealthView.as_view(), name="health"),
    path("health/ready", health.ReadyView.as_view(), name="ready"),
    path("health/serving", health.ServingView.as_view(), name="serving"),
    path("metrics", metrics.metrics, name="metrics"),
    path(".well-known/webhook-keys.json", WebhookKeysView.as_view(), name="webhook-keys"),
    path(
        ".well-known/transcribeapi-webhook-keys.json",
        TranscribeApiRootKeysView.as_view(),
        name="transcribeapi-root-webhook-keys",
    ),
    path("transcribeapi/", include("transcription.dialects.transcribeapi.urls")),
    path("v1/balance", BalanceView.as_view(), name="v1-balance"),
    path("v1/automatic-topup", AutomaticTopUpView.as_view(), name="v1-automatic-topup"),
    path("v1/usage", UsageView.as_view(), name="v1-usage"),
    path("v1/limits", LimitsView.as_view(), name="v1-limits"),
    path("v1/alerts", AlertsView.as_view(), name="v1-alerts"),
    path("v1/keys", KeysView.as_view(), name="v1-keys"),
    path("v1/keys/<str:key_id>", KeyView.as_view(), name="v1-key"),
    path("v1/keys/<str:key_id>/rotate", RotateKeyView.as_view(), name="v1-key-rotate"),
    path("v1/tokens", TokensView.as_view(), name="v1-tokens"),
    path("v1/tokens/<str:token_id>", TokenView.as_view(), name="v1-token"),
    path("v1/apex/", include("apex.urls")),
    path("v1/audio/", include("transcription.dialects.openai.urls")),
    path("v1/stt", include("transcription.dialects.voxnexus.urls")),
    path("v1/listen", include("transcription.dialects.deepgram.urls")),
    path("v1/", include("transcription.dialects.deepgram.project_urls")),
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
# allauth's limits answer with this page.
handler429 = "voxsite.pages.too_many_requests"
handler500 = "voxsite.pages.server_error"
