"""What happens when Stripe tells us something: one call for each kind of event.

dj-stripe has checked the signature and runs these inside the transaction that stores the event: what raises answers
500, stores nothing, and is sent again by Stripe. So nothing here, or below, may call Stripe.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

from djstripe.event_handlers import djstripe_receiver
from djstripe.models import Event

from billing import automatic_topups, disputes, refunds, stripe_mapping, topups


@djstripe_receiver(["checkout.session.completed", "checkout.session.async_payment_succeeded"])
def checkout_ended(event: Event, **_: Any) -> None:
    """Credit what is paid; a slow bank's payment is only noted."""
    topups.fulfil(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver("checkout.session.async_payment_failed")
def slow_payment_failed(event: Event, **_: Any) -> None:
    """End the top-up that a slow bank refused."""
    topups.fail(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver("checkout.session.expired")
def checkout_expired(event: Event, **_: Any) -> None:
    """End the top-up that nobody paid."""
    topups.expire(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver(["payment_intent.succeeded", "payment_intent.processing"])
def charge_of_saved_card_stands(event: Event, **_: Any) -> None:
    """Credit a charge of a saved card (and, should its own event be lost, a checkout)."""
    topups.fulfil(stripe_mapping.payment_of_intent(event.data["object"]))


@djstripe_receiver(["payment_intent.payment_failed", "payment_intent.canceled"])
def charge_of_saved_card_failed(event: Event, **_: Any) -> None:
    """End an automatic top-up; the payer of a checkout may try another card."""
    automatic_topups.record_failure(stripe_mapping.payment_of_intent(event.data["object"]))


@djstripe_receiver(["charge.succeeded", "charge.updated"])
def charge_was_made(event: Event, **_: Any) -> None:
    """Keep the receipt, and the card if the payer asked for it."""
    topups.store_charge(stripe_mapping.charge(event.data["object"]))


@djstripe_receiver(["invoice.finalized", "invoice.paid"])
def invoice_was_made(event: Event, **_: Any) -> None:
    """Keep the invoice's addresses."""
    topups.store_invoice(stripe_mapping.invoice(event.data["object"]))


@djstripe_receiver(["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def refund_changed(event: Event, **_: Any) -> None:
    """Bring the book in step with a refund, also with one that was made in Stripe's dashboard."""
    refunds.record(stripe_mapping.refund(event.data["object"]))


@djstripe_receiver(["charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"])
def dispute_changed(event: Event, **_: Any) -> None:
    """Note how a dispute stands."""
    disputes.follow(stripe_mapping.dispute(event.data["object"]))


@djstripe_receiver("charge.dispute.funds_withdrawn")
def dispute_took_money(event: Event, **_: Any) -> None:
    """Take back what the bank took."""
    disputes.withdraw(stripe_mapping.dispute(event.data["object"]))


@djstripe_receiver("charge.dispute.funds_reinstated")
def dispute_gave_money_back(event: Event, **_: Any) -> None:
    """Give back what the bank gave back."""
    disputes.reinstate(stripe_mapping.dispute(event.data["object"]))
