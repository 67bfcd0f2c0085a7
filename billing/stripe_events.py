"""Receivers of Stripe's webhook events: each type of event calls one verb of a domain module.

dj-stripe has verified the signature and calls these inside the transaction that stores the event. An exception rolls
the transaction back and answers 500, and Stripe sends the event again. Nothing here, or below, may call Stripe.
"""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

from djstripe.event_handlers import djstripe_receiver
from djstripe.models import Event

from billing import automatic_topups, disputes, refunds, stripe_mapping, topups


@djstripe_receiver(["checkout.session.completed", "checkout.session.async_payment_succeeded"])
def checkout_completed(event: Event, **_: Any) -> None:
    """Credit a paid checkout. A payment that its bank has not confirmed yet only becomes PROCESSING."""
    topups.fulfil(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver("checkout.session.async_payment_failed")
def async_payment_failed(event: Event, **_: Any) -> None:
    """End a top-up whose bank declined it late."""
    topups.fail(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver("checkout.session.expired")
def checkout_expired(event: Event, **_: Any) -> None:
    """End a top-up that nobody paid in time."""
    topups.expire(stripe_mapping.payment_of_checkout(event.data["object"]))


@djstripe_receiver(["payment_intent.succeeded", "payment_intent.processing"])
def charge_succeeded(event: Event, **_: Any) -> None:
    """Credit a charge of a saved card. Also credits a checkout whose own event was lost."""
    topups.fulfil(stripe_mapping.payment_of_intent(event.data["object"]))


@djstripe_receiver(["payment_intent.payment_failed", "payment_intent.canceled"])
def charge_failed(event: Event, **_: Any) -> None:
    """End an automatic top-up. A checkout stays open: its payer may try another card."""
    automatic_topups.record_failure(stripe_mapping.payment_of_intent(event.data["object"]))


@djstripe_receiver(["charge.succeeded", "charge.updated"])
def charge_reported(event: Event, **_: Any) -> None:
    """Store the receipt's link, and the card if the payer asked for it."""
    topups.store_charge(stripe_mapping.charge(event.data["object"]))


@djstripe_receiver(["invoice.finalized", "invoice.paid"])
def invoice_reported(event: Event, **_: Any) -> None:
    """Store the invoice's links."""
    topups.store_invoice(stripe_mapping.invoice(event.data["object"]))


@djstripe_receiver(["refund.created", "refund.updated", "refund.failed", "charge.refund.updated"])
def refund_changed(event: Event, **_: Any) -> None:
    """Record a refund, also one that was made in Stripe's dashboard."""
    refunds.record(stripe_mapping.refund(event.data["object"]))


@djstripe_receiver(["charge.dispute.created", "charge.dispute.updated", "charge.dispute.closed"])
def dispute_changed(event: Event, **_: Any) -> None:
    """Store a dispute's status."""
    disputes.follow(stripe_mapping.dispute(event.data["object"]))


@djstripe_receiver("charge.dispute.funds_withdrawn")
def dispute_withdrew_money(event: Event, **_: Any) -> None:
    """Claw back what the bank withdrew."""
    disputes.withdraw(stripe_mapping.dispute(event.data["object"]))


@djstripe_receiver("charge.dispute.funds_reinstated")
def dispute_reinstated_money(event: Event, **_: Any) -> None:
    """Restore what the bank returned."""
    disputes.reinstate(stripe_mapping.dispute(event.data["object"]))
