"""What Stripe told us and we would not act on, kept for an operator with the reason."""

import logging
from collections.abc import Mapping

from django.utils import timezone

from billing.models.payments import SENTENCE_LENGTH, ParkedEvent, TopUp

logger = logging.getLogger(__name__)


def park(
    *,
    subject: str,
    stripe_id: str,
    reason: str,
    explanation: str,
    topup: TopUp | None = None,
    details: Mapping[str, object] | None = None,
) -> ParkedEvent:
    """Keep an event for an operator. Returns the row, or the earlier one when the same was parked before.

    reason: a slug. explanation: a sentence with the figures that do not fit.
    """
    parked, is_new = ParkedEvent.objects.get_or_create(
        stripe_id=stripe_id,
        reason=reason,
        defaults={
            "subject": subject,
            "explanation": explanation[:SENTENCE_LENGTH],
            "topup": topup,
            "details": dict(details or {}),
        },
    )
    if is_new:
        logger.error("Parked %s %s (%s): %s", subject, stripe_id, reason, explanation)
    return parked


def resolve(*, stripe_id: str, reason: str) -> None:
    """Note that what was parked for this reason has ended well by itself: no operator need look."""
    ParkedEvent.objects.filter(stripe_id=stripe_id, reason=reason, resolved_at=None).update(resolved_at=timezone.now())


def park_of_parked(*, payment_intent_id: str, subject: str, stripe_id: str) -> bool:
    """Keep for an operator what became of a payment that is parked itself and so moved no money here.

    Returns False, and does nothing, if no payment of that id is parked.
    """
    if not payment_intent_id or not ParkedEvent.objects.filter(details__payment_intent=payment_intent_id).exists():
        return False
    park(
        subject=subject,
        stripe_id=stripe_id,
        reason="of_parked_payment",
        explanation=f"It is about {payment_intent_id}, which is parked itself: nothing was credited, nothing is taken.",
    )
    return True


def park_too_much(topup: TopUp, *, subject: str, stripe_id: str) -> ParkedEvent:
    """Keep for an operator that a payer got more back than they paid."""
    return park(
        subject=subject,
        stripe_id=stripe_id,
        reason="returned_more_than_paid",
        explanation="More went back by refunds and disputes together than was paid; the book lost only what was paid.",
        topup=topup,
    )
