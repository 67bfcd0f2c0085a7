"""Removal of saved cards: those that an organization removed, and those that a newer card replaced.

Stripe keeps a card until it is told to detach it. `topups` saves cards, `automatic_topups` charges them.
"""

import logging
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q
from django.utils import timezone

from accounts.errors import UpstreamFailed
from accounts.models import Organization
from billing import automatic_topups, stripe_api, stripe_calls, unmatched_events
from billing.models.payments import ReplacedCard, SavedCard, TopUp

logger = logging.getLogger(__name__)

RETRY_AFTER = timedelta(hours=1)
MAX_PER_ROUND = 100
NOT_FORGOTTEN = "card_not_forgotten"


def remove(organization: Organization) -> bool:
    """Turn automatic top-up off, detach the saved card at Stripe, then delete it here.

    Returns False if Stripe refuses to detach it: it is deleted here, and `forget_replaced` asks Stripe again.
    Raises UpstreamFailed if Stripe does not answer: the card is then still saved, but automatic top-up is off.
    Waits for the network: call it outside transactions.
    """
    automatic_topups.turn_off(organization, reason=automatic_topups.CARD_REMOVED)
    card = SavedCard.objects.of(organization).first()
    if card is None:
        return True
    try:
        stripe_calls.detach_card(card.payment_method_id)
        is_forgotten = True
    except stripe_api.StripeRefused:
        is_forgotten = False
    with transaction.atomic():
        # A payer may have saved another card meanwhile: delete only the one that was detached.
        count, _ = SavedCard.objects.filter(pk=card.pk, payment_method_id=card.payment_method_id).delete()
        if count and not is_forgotten:
            ReplacedCard.objects.get_or_create(payment_method_id=card.payment_method_id)
    return is_forgotten


def forget_replaced(*, now: datetime | None = None, max_count: int = MAX_PER_ROUND) -> int:
    """Detach replaced and removed cards at Stripe. Returns how many were detached.

    A card that Stripe refuses to detach is recorded as an unmatched event and tried again every hour.
    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    now = now or timezone.now()
    # An open automatic top-up may have to repeat its call with the same card.
    charged = TopUp.objects.open().filter(is_automatic=True, payment_method_id=OuterRef("payment_method_id"))
    due = ReplacedCard.objects.filter(
        ~Exists(charged), Q(refused_at__isnull=True) | Q(refused_at__lte=now - RETRY_AFTER)
    )
    forgotten_count = 0
    for card in due.order_by(F("refused_at").asc(nulls_first=True), "created_at")[:max_count]:
        try:
            forgotten_count += _forget(card, now=now)
        except UpstreamFailed:
            # The next round tries again. The new card works meanwhile.
            logger.warning("Stripe did not forget a card that was replaced.")
            break
        except Exception:  # An error of one card must not stop the others.
            logger.exception("A card that was replaced could not be forgotten; it is asked about again in an hour.")
            ReplacedCard.objects.filter(pk=card.pk).update(refused_at=now)
    return forgotten_count


def _forget(card: ReplacedCard, *, now: datetime) -> bool:
    """Detach a card at Stripe. Returns False if Stripe refuses. Raises UpstreamFailed."""
    try:
        stripe_calls.detach_card(card.payment_method_id)
    except stripe_api.StripeRefused as error:
        ReplacedCard.objects.filter(pk=card.pk).update(refused_at=now)
        unmatched_events.record(
            subject="payment_method",
            stripe_id=card.payment_method_id,
            reason=NOT_FORGOTTEN,
            explanation=f"Nobody uses this card here any more, and Stripe refuses to detach it "
            f"({error.stripe_code or 'no code'}). It is asked again every hour.",
        )
        return False
    card.delete()
    unmatched_events.resolve(stripe_id=card.payment_method_id, reason=NOT_FORGOTTEN)
    return True
