"""The only access to Stripe: one client, its time-outs, and its errors translated to VoxsiteError.

    with stripe_api.calling() as stripe:
        session = stripe.v1.checkout.sessions.create(params={...}, options={"idempotency_key": f"topup-{topup.pk}"})

Stripe must not be called inside a transaction: it may take half a minute to answer, and all locks would be held that
long. Every call that changes something carries an idempotency key named after the business event, so that it can be
repeated.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import stripe
from django.conf import settings
from django.db import transaction
from django.utils.module_loading import import_string

from accounts.errors import Conflict, NotConfigured, NotFound, PaymentRequired, UpstreamFailed

logger = logging.getLogger(__name__)

# With an idempotency key a repeated call is safe. A second repetition would take longer than a person waits.
RETRIES = 1


class StripeFailed(UpstreamFailed):
    """Stripe did not answer, or had an error of its own. The call may or may not have taken effect: repeat it."""

    default_type = "payment_service_failed"
    default_message = "The payment service does not answer at the moment. Nothing was charged; try again in a minute."


class StripeMissing(NotFound):
    """Stripe does not know the object."""

    default_message = "The payment service does not know this payment."


class StripeRefused(Conflict):
    """Stripe refused the call, and will refuse it again. stripe_code: Stripe's code of the reason, or empty."""

    default_type = "payment_refused"
    default_message = "The payment service refused this."

    def __init__(self, *, stripe_code: str) -> None:
        super().__init__(stripe_code=stripe_code)
        self.stripe_code = stripe_code


class CardDeclined(PaymentRequired):
    """The card was not charged.

    code: Stripe's code ("card_declined", "expired_card", "authentication_required" ...). decline_code: the bank's, or
    empty.
    """

    default_type = "card_declined"
    default_message = "The card was declined."

    def __init__(self, *, code: str, decline_code: str, message: str = "") -> None:
        super().__init__(message, code=code, decline_code=decline_code)
        self.code = code

    @property
    def needs_person(self) -> bool:
        """Whether the bank requires the cardholder to confirm the payment."""
        return self.code == "authentication_required"


def is_configured() -> bool:
    """Return whether payments can be taken, by Stripe or by the sandbox."""
    return bool(settings.STRIPE_API_KEY and settings.STRIPE_WEBHOOK_SECRET)


def require_configured() -> None:
    """Raise NotConfigured if payments cannot be taken."""
    if not is_configured():
        raise NotConfigured("Payments are not set up on this site. Nothing was charged.")


@contextmanager
def calling() -> Iterator[stripe.StripeClient]:
    """Yield the client. Errors of its calls are raised as VoxsiteError.

    Raises NotConfigured, StripeFailed, StripeMissing, StripeRefused, CardDeclined.
    """
    require_configured()
    _must_be_outside_transactions()
    try:
        yield _client(settings.STRIPE_API_KEY, settings.STRIPE_API_BASE)
    except stripe.CardError as error:
        raise _declined(error) from error
    except stripe.InvalidRequestError as error:
        if error.http_status == 404:
            raise StripeMissing from error
        logger.error("Stripe refused a request (%s): %s", error.request_id, error.user_message)  # noqa: TRY400 - what Stripe says is enough
        raise StripeRefused(stripe_code=error.code or "") from error
    except stripe.IdempotencyError as error:
        logger.error("An idempotency key was used for two different calls: %s", error.user_message)  # noqa: TRY400 - what Stripe says is enough
        raise StripeRefused(stripe_code="idempotency_error") from error
    except stripe.StripeError as error:
        # No answer, an error at Stripe, a rate limit, or an invalid API key: an operator must look.
        logger.error("Stripe failed: %s: %s", type(error).__name__, error.user_message)  # noqa: TRY400 - what Stripe says is enough
        raise StripeFailed from error


@lru_cache
def _client(api_key: str, api_base: str) -> stripe.StripeClient:
    http_client = (
        import_string("billing.sandbox.transport.SandboxTransport")()
        if settings.STRIPE_SANDBOX
        else stripe.RequestsClient(timeout=(settings.STRIPE_CONNECT_SECONDS, settings.STRIPE_READ_SECONDS))
    )
    return stripe.StripeClient(
        api_key,
        stripe_version=settings.STRIPE_API_VERSION,
        base_addresses={"api": api_base},
        max_network_retries=RETRIES,
        http_client=http_client,
    )


def _must_be_outside_transactions() -> None:
    # A test's own transaction does not count. Django tells it apart in the same way (Atomic.__enter__, durable blocks).
    blocks = transaction.get_connection().atomic_blocks
    if any(not block._from_testcase for block in blocks):
        raise RuntimeError("Stripe must not be called inside a transaction: its locks would wait for the network.")


def _declined(error: stripe.CardError) -> CardDeclined:
    body: Any = error.json_body
    details = (body or {}).get("error", {})
    return CardDeclined(code=error.code or "card_declined", decline_code=details.get("decline_code") or "")
