"""Disputes (chargebacks): a payer objects to a payment at the bank, and the bank withdraws the money from this site.

* Withdrawn: the ledger takes back the disputed part of the payment and the same share of its bonus. If they are spent,
  the rest becomes a debt. The wallet is frozen, so that the payer cannot go on spending during the dispute.
* Reinstated (the bank returns the money): the claw-back is restored and the freeze is lifted.
* Lost: nothing changes. An operator may lift the freeze.
"""

from django.db import transaction
from django.utils import timezone

from accounts.errors import VoxsiteError
from billing import claw_backs, ledger, stripe_mapping, topups, unmatched_events
from billing.models.payments import TopUp
from billing.models.reversals import Dispute

# A late event does not change these.
FINAL_STATUSES = ("won", "lost", "warning_closed")


class DisputeUnknown(VoxsiteError):
    """A reinstatement arrived before the withdrawal. The webhook answers 500, so that Stripe sends it again."""

    default_message = "No money was withdrawn for this dispute yet."


def follow(reported: stripe_mapping.StripeDispute) -> None:
    """Store a dispute's status; no money moves. Raises TopUpUnknown if its payment was not credited yet."""
    with transaction.atomic():
        topup = _topup(reported)
        if topup is not None:
            _update_or_insert(topup, reported)


def withdraw(reported: stripe_mapping.StripeDispute) -> None:
    """Claw back what the bank withdrew, and freeze the wallet. Idempotent. Raises TopUpUnknown."""
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
        dispute = _update_or_insert(topup, reported)
        if dispute.withdrawn_at is not None:
            return
        dispute.withdrawn_at = timezone.now()
        dispute.save(update_fields=["withdrawn_at"])
        claw_backs.take(topup, dispute)
        if claw_backs.returned_cents(topup) > topup.amount_cents:
            unmatched_events.record_excess_return(topup, subject="dispute", stripe_id=reported.stripe_id)
        # Freeze also if nothing was left to take.
        ledger.freeze(topup.organization, reason=dispute.reference)


def reinstate(reported: stripe_mapping.StripeDispute) -> None:
    """Undo `withdraw`. Idempotent. Raises TopUpUnknown, and DisputeUnknown if nothing was withdrawn yet."""
    with transaction.atomic():
        topup = _topup(reported)
        if topup is None:
            return
        dispute = _update_or_insert(topup, reported)
        if dispute.withdrawn_at is None:
            raise DisputeUnknown
        if dispute.reinstated_at is not None:
            return
        dispute.reinstated_at = timezone.now()
        dispute.save(update_fields=["reinstated_at"])
        claw_backs.restore(topup, dispute)
        ledger.thaw(topup.organization, reason=dispute.reference)


def _topup(reported: stripe_mapping.StripeDispute) -> TopUp | None:
    """Return the payment's top-up, locked. Raises TopUpUnknown.

    Returns None if the payment is unmatched; then the dispute was recorded as an unmatched event too.
    """
    try:
        return topups.paid_with(reported.payment_intent_id)
    except topups.TopUpUnknown:
        if unmatched_events.record_about_unmatched_payment(
            payment_intent_id=reported.payment_intent_id, subject="dispute", stripe_id=reported.stripe_id
        ):
            return None
        raise


def _update_or_insert(topup: TopUp, reported: stripe_mapping.StripeDispute) -> Dispute:
    """Return the dispute's row with its new status. The amount stays as first reported."""
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
