"""Disputes: a payer objects at the bank, which takes the money, and perhaps returns it.

When the money is withdrawn, the book loses the payment's part and its bonus's share, even if they are spent (the rest
becomes a debt), and the wallet is frozen: who disputes must not go on spending meanwhile. When it is reinstated, all of
that is undone. A dispute that is lost stays as it is until an operator lifts the freeze.
"""

from django.db import transaction
from django.utils import timezone

from accounts.errors import VoxsiteError
from billing import claw_backs, ledger, stripe_mapping, topups, unmatched_events
from billing.models.payments import Dispute, TopUp

# Stripe's last words; an event that comes late does not unsay them.
FINAL_STATUSES = ("won", "lost", "warning_closed")


class DisputeUnknown(VoxsiteError):
    """The end of a dispute came before its beginning: whoever sent it should send it again."""

    default_message = "No money was withdrawn for this dispute yet."


def follow(reported: stripe_mapping.StripeDispute) -> None:
    """Note how a dispute stands; no money moves by it. Raises TopUpUnknown if its payment was not credited yet."""
    with transaction.atomic():
        topup = _topup(reported)
        if topup is not None:
            _row(topup, reported)


def withdraw(reported: stripe_mapping.StripeDispute) -> None:
    """Take back what the bank took, and freeze the wallet, once. Raises TopUpUnknown."""
    with transaction.atomic():
        topup = _topup(reported)
        if topup is None:
            return
        if reported.currency.lower() != topup.currency:
            unmatched_events.record(
                subject="dispute",
                stripe_id=reported.stripe_id,
                reason="wrong_currency",
                explanation=f"Disputed in {reported.currency}, paid in {topup.currency}.",
                topup=topup,
            )
            return
        dispute = _row(topup, reported)
        if dispute.withdrawn_at is not None:
            return
        dispute.withdrawn_at = timezone.now()
        dispute.save(update_fields=["withdrawn_at"])
        claw_backs.take(topup, dispute)
        if claw_backs.returned_cents(topup) > topup.amount_cents:
            unmatched_events.record_excess_return(topup, subject="dispute", stripe_id=reported.stripe_id)
        # Also where nothing was left to take.
        ledger.freeze(topup.organization, reason=dispute.reference)


def reinstate(reported: stripe_mapping.StripeDispute) -> None:
    """Undo what `withdraw` did, once. Raises TopUpUnknown, and DisputeUnknown if nothing was withdrawn yet."""
    with transaction.atomic():
        topup = _topup(reported)
        if topup is None:
            return
        dispute = _row(topup, reported)
        if dispute.withdrawn_at is None:
            raise DisputeUnknown
        if dispute.reinstated_at is not None:
            return
        dispute.reinstated_at = timezone.now()
        dispute.save(update_fields=["reinstated_at"])
        claw_backs.restore(topup, dispute)
        ledger.thaw(topup.organization, reason=dispute.reference)


def _topup(reported: stripe_mapping.StripeDispute) -> TopUp | None:
    """Return the payment's top-up, locked, or None if it is parked and the dispute with it. Raises TopUpUnknown."""
    try:
        return topups.paid_with(reported.payment_intent_id)
    except topups.TopUpUnknown:
        if unmatched_events.record_about_unmatched_payment(
            payment_intent_id=reported.payment_intent_id, subject="dispute", stripe_id=reported.stripe_id
        ):
            return None
        raise


def _row(topup: TopUp, reported: stripe_mapping.StripeDispute) -> Dispute:
    """Return the dispute's row, brought up to date. Its amount is that of the first time we heard of it."""
    dispute, is_new = Dispute.objects.get_or_create(
        stripe_id=reported.stripe_id,
        defaults={
            "topup": topup,
            "amount_cents": reported.amount_cents,
            "status": reported.status,
            "reason": reported.reason,
        },
    )
    if not is_new and dispute.status != reported.status and dispute.status not in FINAL_STATUSES:
        dispute.status = reported.status
        dispute.save(update_fields=["status"])
    return dispute
