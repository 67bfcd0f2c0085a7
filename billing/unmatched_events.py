"""Unmatched events: what Stripe reported and this site did not act on, kept for an operator with the reason.

They are the dead letters of the webhook: for example a payment of the wrong amount, or a refund of such a payment.
"""

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from billing.models.payments import SENTENCE_LENGTH, TopUp, UnmatchedEvent

logger = logging.getLogger(__name__)

# Stored before these rows were called unmatched. A new slug would store known events a second time.
OF_UNMATCHED_PAYMENT = "of_parked_payment"


def record(
    *,
    subject: str,
    stripe_id: str,
    reason: str,
    explanation: str,
    topup: TopUp | None = None,
    details: Mapping[str, object] | None = None,
) -> UnmatchedEvent:
    """Store an event for an operator. Return its row; the existing one if it was stored before for the same reason.

    A resolved event is opened again if its cause had ended by itself, or if the report differs from what an operator
    resolved. The same report stays resolved: Stripe sends some events twice, and the clock asks every hour.

    reason: a slug. explanation: a sentence with the figures that do not match.
    """
    facts = {
        "subject": subject,
        "explanation": explanation[:SENTENCE_LENGTH],
        "topup": topup,
        # As the database returns them: tuples become lists, and dates become texts.
        "details": json.loads(json.dumps(dict(details or {}), cls=DjangoJSONEncoder)),
    }
    event, is_new = UnmatchedEvent.objects.get_or_create(stripe_id=stripe_id, reason=reason, defaults=facts)
    if is_new or _open_again(event, facts):
        logger.error("Unmatched %s %s (%s): %s", subject, stripe_id, reason, explanation)
    return event


def resolve(*, stripe_id: str, reason: str) -> None:
    """Mark an event as resolved because its cause has ended by itself. Do nothing if there is none."""
    UnmatchedEvent.objects.filter(stripe_id=stripe_id, reason=reason, resolved_at=None).update(
        resolved_at=timezone.now()
    )


def record_about_unmatched_payment(*, payment_intent_id: str, subject: str, stripe_id: str) -> bool:
    """Store a refund or dispute of a payment that is unmatched itself, and so moved no money in the ledger.

    Returns False, and stores nothing, if no payment of that id is unmatched.
    """
    if not payment_intent_id or not UnmatchedEvent.objects.filter(details__payment_intent=payment_intent_id).exists():
        return False
    record(
        subject=subject,
        stripe_id=stripe_id,
        reason=OF_UNMATCHED_PAYMENT,
        explanation=f"It is about {payment_intent_id}, which is unmatched: nothing was credited, nothing is taken.",
    )
    return True


def record_excess_return(topup: TopUp, *, subject: str, stripe_id: str) -> UnmatchedEvent:
    """Store for an operator that the payer got more back than they paid."""
    return record(
        subject=subject,
        stripe_id=stripe_id,
        reason="returned_more_than_paid",
        explanation="Refunds and disputes returned more than was paid; the ledger took back only what was paid.",
        topup=topup,
    )


def _open_again(event: UnmatchedEvent, facts: Mapping[str, Any]) -> bool:
    """Open a resolved event again with these facts, if they are new to the operator. Tell whether it was opened."""
    was_decided = event.resolved_by_id is not None and all(getattr(event, name) == facts[name] for name in facts)
    if event.resolved_at is None or was_decided:
        return False
    # Of two processes with the same report, one opens it.
    opened = UnmatchedEvent.objects.filter(pk=event.pk, resolved_at=event.resolved_at).update(
        **facts, resolved_at=None, resolved_by=None
    )
    event.refresh_from_db()
    return bool(opened)
