"""Stripe's webhook endpoint: verifies the signature, then hands the request to dj-stripe's view.

dj-stripe stores every request that has a signature header, valid or not, and with DEBUG on lets the caller choose the
secret. An attacker could fill the database or forge events. So this view first verifies the signature with the secret
from the settings. A refused request stores at most one short row a minute, which operators see in the admin
(dj-stripe's "webhook event triggers").

dj-stripe then stores the event once, however often it is delivered, and calls the receivers (`stripe_events`) in the
same transaction. Any failure answers 500, and Stripe sends the event again.
"""

import logging
import time
import uuid
from contextlib import suppress
from typing import Any

import stripe
from django.conf import settings
from django.core.cache import cache
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest, JsonResponse
from djstripe.enums import APIKeyType, WebhookEndpointStatus
from djstripe.models import Account, APIKey, WebhookEndpoint, WebhookEventTrigger
from djstripe.views import ProcessWebhookView

from billing import stripe_api

logger = logging.getLogger(__name__)

TOLERANCE_SECONDS = stripe.Webhook.DEFAULT_TOLERANCE
# If dj-stripe does not know the account of an API key, it calls Stripe (GET /v1/account, inside the webhook's
# transaction). This site has one account only, so any id will do.
ACCOUNT_ID = "acct_own"
ENDPOINT_ID = "we_own"
ENDPOINT_UUID = uuid.uuid5(uuid.NAMESPACE_URL, ENDPOINT_ID)
SECONDS_BETWEEN_RECORDS = 60
UNKNOWN_ADDRESS = "0.0.0.0"  # noqa: S104 - the column takes no nothing


class StripeWebhookView(ProcessWebhookView):
    """POST only. 200: stored, now or earlier. 400: not from Stripe, or too old. 500: send it again."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not stripe_api.is_configured():
            return JsonResponse({"error": "Payments are not set up on this site."}, status=503)
        fault = _fault_of_signature(request)
        if fault:
            _record_refusal(request, fault)
            return HttpResponseBadRequest(fault, content_type="text/plain")
        response: HttpResponse = super().post(request, uuid=own_endpoint().djstripe_uuid)
        return response


def own_endpoint() -> WebhookEndpoint:
    """Return dj-stripe's row of this endpoint. Creates it on first use and updates it when the settings change."""
    endpoint = WebhookEndpoint.objects.filter(
        djstripe_uuid=ENDPOINT_UUID, secret=settings.STRIPE_WEBHOOK_SECRET, livemode=settings.STRIPE_LIVE_MODE
    ).first()
    return endpoint or _write_endpoint()


def _write_endpoint() -> WebhookEndpoint:
    account, _ = Account.objects.get_or_create(id=ACCOUNT_ID)
    APIKey.objects.update_or_create(
        secret=settings.STRIPE_SECRET_KEY,
        defaults={
            "type": APIKeyType.secret,
            "livemode": settings.STRIPE_LIVE_MODE,
            "djstripe_owner_account": account,
            "name": "A placeholder: dj-stripe never calls Stripe here.",
        },
    )
    endpoint, _ = WebhookEndpoint.objects.update_or_create(
        djstripe_uuid=ENDPOINT_UUID,
        defaults={
            "id": ENDPOINT_ID,
            "secret": settings.STRIPE_WEBHOOK_SECRET,
            "livemode": settings.STRIPE_LIVE_MODE,
            "djstripe_owner_account": account,
            "djstripe_tolerance": TOLERANCE_SECONDS,
            "enabled_events": ["*"],
            "status": WebhookEndpointStatus.enabled,
            "api_version": settings.STRIPE_API_VERSION,
        },
    )
    return endpoint


def _fault_of_signature(request: HttpRequest) -> str:
    """Return what is wrong with the signature, as a sentence for an operator; empty if it is valid."""
    try:
        stripe.WebhookSignature.verify_header(
            request.body, request.headers.get("Stripe-Signature"), settings.STRIPE_WEBHOOK_SECRET, TOLERANCE_SECONDS
        )
    except stripe.SignatureVerificationError as error:
        message = str(error)
        return next((shown for part, shown in FAULTS if part in message), "The signature cannot be read.")
    except (UnicodeError, TypeError, ValueError):
        # The body is not UTF-8, or the header has characters that compare_digest refuses.
        return "The signature cannot be read."
    # stripe-python 15.6 looks for old signatures only. One of next year could be replayed until then.
    if _signed_at(request) > time.time() + TOLERANCE_SECONDS:
        return "The signature is of the future: a clock is wrong."
    return ""


def _signed_at(request: HttpRequest) -> int:
    """Return the Unix time of a verified signature."""
    fields = dict(part.strip().partition("=")[::2] for part in request.headers["Stripe-Signature"].split(","))
    return int(fields["t"])


# (part of stripe-python's message, sentence for operators). From stripe.WebhookSignature.verify_header, 15.6.
FAULTS = (
    ("No Stripe-Signature header", "There is no signature."),
    ("Timestamp outside the tolerance zone", "The signature is too old: this may be a replay, or a clock is wrong."),
    ("No signatures found matching", "The signature is not of our secret (STRIPE_WEBHOOK_SECRET)."),
)


def _record_refusal(request: HttpRequest, fault: str) -> None:
    """Store the refusal for operators, at most once a minute, so that an attacker cannot fill the database."""
    logger.warning("A Stripe webhook was refused: %s", fault)
    if cache.add("stripe-webhook-refused", fault, timeout=SECONDS_BETWEEN_RECORDS):
        with suppress(OperationalError, InterfaceError):  # the log has it; without the database it is 400 all the same
            WebhookEventTrigger.objects.create(
                remote_ip=request.META.get("REMOTE_ADDR") or UNKNOWN_ADDRESS,
                headers={},
                body="",
                exception=fault,
            )
