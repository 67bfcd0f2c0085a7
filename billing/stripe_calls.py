"""Calls to Stripe: one function for each call. They return plain JSON objects.

All wait for the network and must be called outside transactions. All raise NotConfigured, and
`stripe_api.StripeFailed` if Stripe fails; each docstring names what else it raises.
"""

import hashlib
from datetime import datetime
from typing import Any, cast

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import database_connection
from accounts.models import Organization, Role
from billing import stripe_api
from billing.models.payments import Customer, TopUp
from billing.stripe_mapping import REFUND_KEY, TOPUP_KEY

PRODUCT_NAME = "Voxsite credit"
PAGE_SIZE = 100
CLOCK_SKEW_SECONDS = 3600


def create_checkout(topup: TopUp, *, success_url: str, cancel_url: str) -> dict[str, Any]:
    """Create a Checkout Session for a top-up. Idempotent."""
    customer_id = customer_of(topup.organization)
    metadata = {TOPUP_KEY: str(topup.pk)}
    intent: dict[str, Any] = {"metadata": metadata, "description": PRODUCT_NAME}
    if topup.save_card:
        intent["setup_future_usage"] = "off_session"
    database_connection.release()
    with stripe_api.calling() as stripe:
        session = stripe.v1.checkout.sessions.create(
            # The types of stripe-python accept neither plain dictionaries nor "name": "auto".
            params=cast(
                "Any",
                {
                    "mode": "payment",
                    "customer": customer_id,
                    "client_reference_id": str(topup.pk),
                    "metadata": metadata,
                    "line_items": [
                        {
                            "quantity": 1,
                            "price_data": {
                                "currency": topup.currency,
                                "unit_amount": topup.amount_cents,
                                "product_data": {"name": PRODUCT_NAME},
                            },
                        }
                    ],
                    "payment_intent_data": intent,
                    "invoice_creation": {"enabled": True, "invoice_data": {"metadata": metadata}},
                    "tax_id_collection": {"enabled": True},
                    # Stripe requires it to collect a tax ID of an existing customer.
                    "customer_update": {"name": "auto", "address": "auto"},
                    "success_url": success_url,
                    "cancel_url": cancel_url,
                },
            ),
            options={"idempotency_key": f"topup-{topup.pk}"},
        )
    return session.to_dict()


def retrieve_checkout(session_id: str) -> dict[str, Any]:
    """Return a Checkout Session with its charge and invoice. Raises StripeMissing."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        session = stripe.v1.checkout.sessions.retrieve(
            session_id, params={"expand": ["payment_intent.latest_charge", "invoice"]}
        )
    return session.to_dict()


def expire_checkout(session_id: str) -> dict[str, Any]:
    """Close a Checkout Session, so that it can no longer be paid. Returns it.

    Raises StripeRefused unless it is open ("can be expired when it is in one of these statuses: open",
    checkout/sessions/expire), StripeMissing. There is no idempotency key: with one, Stripe would repeat a refusal for a
    day.
    """
    database_connection.release()
    with stripe_api.calling() as stripe:
        session = stripe.v1.checkout.sessions.expire(session_id)
    return session.to_dict()


def charge_card(topup: TopUp) -> dict[str, Any]:
    """Charge the card of an automatic top-up without its payer (off-session). Returns the PaymentIntent. Idempotent.

    Raises CardDeclined, StripeRefused.
    """
    customer_id = customer_of(topup.organization)
    database_connection.release()
    with stripe_api.calling() as stripe:
        intent = stripe.v1.payment_intents.create(
            params={
                "amount": topup.amount_cents,
                "currency": topup.currency,
                "customer": customer_id,
                "payment_method": topup.payment_method_id,
                "off_session": True,
                "confirm": True,
                "description": PRODUCT_NAME,
                "metadata": {TOPUP_KEY: str(topup.pk)},
                "expand": ["latest_charge"],
            },
            options={"idempotency_key": f"topup-{topup.pk}"},
        )
    return intent.to_dict()


def find_charge_of_card(topup: TopUp) -> dict[str, Any] | None:
    """Return the PaymentIntent that `charge_card` created for a top-up, or None."""
    customer = Customer.objects.filter(organization=topup.organization).first()
    if customer is None:
        return None
    earliest = topup.created_at.timestamp() - CLOCK_SKEW_SECONDS
    database_connection.release()
    with stripe_api.calling() as stripe:
        page = stripe.v1.payment_intents.list(params={"customer": customer.stripe_id, "limit": PAGE_SIZE})
        # Newest first.
        for made in page.auto_paging_iter():
            intent = made.to_dict()
            if intent["created"] < earliest:
                break
            if (intent.get("metadata") or {}).get(TOPUP_KEY) == str(topup.pk):
                return intent
    return None


def retrieve_payment_intent(payment_intent_id: str) -> dict[str, Any]:
    """Return a PaymentIntent with its charge. Raises StripeMissing."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        intent = stripe.v1.payment_intents.retrieve(payment_intent_id, params={"expand": ["latest_charge"]})
    return intent.to_dict()


def create_invoice(topup: TopUp) -> dict[str, Any]:
    """Create the invoice of a top-up, a draft without lines. Idempotent. Raises StripeRefused."""
    customer_id = customer_of(topup.organization)
    database_connection.release()
    with stripe_api.calling() as stripe:
        invoice = stripe.v1.invoices.create(
            params={
                "customer": customer_id,
                "currency": topup.currency,
                "metadata": {TOPUP_KEY: str(topup.pk)},
                # It is paid already, so Stripe must not collect it.
                "collection_method": "charge_automatically",
                "auto_advance": False,
                # No lines but that of the payment.
                "pending_invoice_items_behavior": "exclude",
                "discounts": "",
            },
            options={"idempotency_key": f"topup-{topup.pk}-invoice"},
        )
    return invoice.to_dict()


def find_invoice(topup: TopUp) -> str:
    """Return Stripe's id of the invoice that `create_invoice` created for a top-up, or an empty text."""
    customer = Customer.objects.filter(organization=topup.organization).first()
    if customer is None:
        return ""
    earliest = int(topup.created_at.timestamp()) - CLOCK_SKEW_SECONDS
    database_connection.release()
    with stripe_api.calling() as stripe:
        page = stripe.v1.invoices.list(
            params={"customer": customer.stripe_id, "created": {"gte": earliest}, "limit": PAGE_SIZE}
        )
        for made in page.auto_paging_iter():
            invoice = made.to_dict()
            if (invoice.get("metadata") or {}).get(TOPUP_KEY) == str(topup.pk):
                return str(invoice["id"])
    return ""


def retrieve_invoice(invoice_id: str) -> dict[str, Any]:
    """Return an invoice with its payments. Raises StripeMissing."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        invoice = stripe.v1.invoices.retrieve(invoice_id, params={"expand": ["payments"]})
    return invoice.to_dict()


def add_invoice_line(topup: TopUp) -> dict[str, Any]:
    """Add the one line to the invoice of a top-up. Returns the invoice. Idempotent. Raises StripeRefused."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        invoice = stripe.v1.invoices.add_lines(
            topup.invoice_id,
            params={"lines": [{"amount": topup.amount_cents, "description": PRODUCT_NAME}], "expand": ["payments"]},
            options={"idempotency_key": f"topup-{topup.pk}-invoice-line"},
        )
    return invoice.to_dict()


def finalize_invoice(topup: TopUp) -> dict[str, Any]:
    """Finalize the invoice of a top-up: numbered and open, but not collected. Returns it. Raises StripeRefused."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        invoice = stripe.v1.invoices.finalize_invoice(
            topup.invoice_id,
            params={"auto_advance": False, "expand": ["payments"]},
            options={"idempotency_key": f"topup-{topup.pk}-invoice-finalize"},
        )
    return invoice.to_dict()


def pay_invoice_with_charge(topup: TopUp) -> dict[str, Any]:
    """Attach the top-up's payment to its invoice, which charges nothing. Returns the invoice. Raises StripeRefused."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        invoice = stripe.v1.invoices.attach_payment(
            topup.invoice_id,
            params={"payment_intent": topup.payment_intent_id, "expand": ["payments"]},
            options={"idempotency_key": f"topup-{topup.pk}-invoice-pay"},
        )
    return invoice.to_dict()


def void_invoice(topup: TopUp) -> None:
    """Void the invoice of a top-up, so that nobody can pay it. Raises StripeRefused."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        stripe.v1.invoices.void_invoice(topup.invoice_id, options={"idempotency_key": f"topup-{topup.pk}-invoice-void"})


def create_refund(*, payment_intent_id: str, amount_cents: int, refund_id: str) -> dict[str, Any]:
    """Create a refund of a part of a payment. Idempotent. Raises StripeRefused.

    refund_id: id of the row here.
    """
    database_connection.release()
    with stripe_api.calling() as stripe:
        refund = stripe.v1.refunds.create(
            params={
                "payment_intent": payment_intent_id,
                "amount": amount_cents,
                "reason": "requested_by_customer",
                "metadata": {REFUND_KEY: refund_id},
            },
            options={"idempotency_key": f"refund-{refund_id}"},
        )
    return refund.to_dict()


def list_refunds(*, payment_intent_id: str) -> list[dict[str, Any]]:
    """Return all refunds of a payment, newest first."""
    database_connection.release()
    with stripe_api.calling() as stripe:
        page = stripe.v1.refunds.list(params={"payment_intent": payment_intent_id, "limit": PAGE_SIZE})
        return [refund.to_dict() for refund in page.auto_paging_iter()]


def detach_card(payment_method_id: str) -> None:
    """Detach a card from its customer at Stripe. Does nothing if it is unknown or detached.

    Raises StripeRefused if Stripe keeps it attached.
    """
    database_connection.release()
    try:
        with stripe_api.calling() as stripe:
            stripe.v1.payment_methods.detach(payment_method_id)
    except stripe_api.StripeMissing:
        return
    except stripe_api.StripeRefused:
        # An earlier call may have detached it ("The payment method you provided is not attached to a customer"). Stripe
        # has no code for that and its sentences change, so ask for the card itself.
        if _is_attached(payment_method_id):
            raise


def _is_attached(payment_method_id: str) -> bool:
    try:
        with stripe_api.calling() as stripe:
            return stripe.v1.payment_methods.retrieve(payment_method_id).customer is not None
    except stripe_api.StripeMissing:
        # It was deleted between the two calls, or only the first endpoint knows it.
        return False


def customer_of(organization: Organization) -> str:
    """Return Stripe's customer id of an organization. Creates the customer on first use."""
    known = Customer.objects.filter(organization=organization).first()
    if known is not None:
        return known.stripe_id
    owner = organization.memberships.filter(role=Role.OWNER).order_by("created_at", "pk").first()
    email = owner.user.email if owner else ""
    # Part of the idempotency key: Stripe refuses a key that is repeated with another name or address.
    details = hashlib.sha256(f"{organization.name}\n{email}".encode()).hexdigest()[:8]
    database_connection.release()
    with stripe_api.calling() as stripe:
        customer = stripe.v1.customers.create(
            params={
                "name": organization.name,
                **({"email": email} if email else {}),
                "metadata": {"organization_id": str(organization.pk), "site": settings.SITE_URL},
            },
            options={"idempotency_key": f"customer-{organization.pk}-{details}"},
        )
    with transaction.atomic():
        # The lock waits for a renaming, which would not see the new row. The idempotency key gave two concurrent calls
        # the same customer.
        name = Organization.objects.select_for_update(no_key=True).get(pk=organization.pk).name
        is_told = name == organization.name
        defaults = {"stripe_id": customer.id, "name_due_at": None if is_told else timezone.now()}
        return Customer.objects.get_or_create(organization=organization, defaults=defaults)[0].stripe_id


def rename_customer(stripe_id: str, *, name: str, due_at: datetime) -> None:
    """Tell Stripe a customer's new name.

    due_at: names the renaming. A repeated call for the same one has the same name.
    Raises StripeMissing if there is no such customer any more, StripeRefused for a name that Stripe does not take.
    """
    database_connection.release()
    with stripe_api.calling() as stripe:
        stripe.v1.customers.update(
            stripe_id,
            params={"name": name},
            options={"idempotency_key": f"customer-{stripe_id}-name-{due_at.timestamp():.6f}"},
        )
