"""Saved cards that nobody is to charge any more: removed by their owner, or replaced by another.

Stripe keeps a card until it is told to forget it. `topups` saves them, `automatic_topups` charges them.
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
    """Forget the saved card, at Stripe first, and turn automatic top-up off.

    Returns False if Stripe refuses to forget it yet: it is gone here, and the clock asks Stripe again.
    Raises UpstreamFailed if Stripe does not answer: the card is then still saved, and not charged by itself any more.
    Waits for the network: call it outside of transactions.
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
        # Another card may have been saved meanwhile.
        count, _ = SavedCard.objects.filter(pk=card.pk, payment_method_id=card.payment_method_id).delete()
        if count and not is_forgotten:
            ReplacedCard.objects.get_or_create(payment_method_id=card.payment_method_id)
    return is_forgotten


def forget_replaced(*, now: datetime | None = None) -> int:
    """Have Stripe forget the cards that others took the place of. Returns how many it forgot.

    One that it refuses to forget is kept for an operator as an unmatched event, and asked about again every hour.
    Waits for the network, with no transaction open. Any number of clocks may do so at once.
    """
    now = now or timezone.now()
    # A charge under way may have to be asked for again with the same card.
    charged = TopUp.objects.open().filter(is_automatic=True, payment_method_id=OuterRef("payment_method_id"))
    due = ReplacedCard.objects.filter(
        ~Exists(charged), Q(refused_at__isnull=True) | Q(refused_at__lte=now - RETRY_AFTER)
    )
    forgotten_count = 0
    for card in due.order_by(F("refused_at").asc(nulls_first=True), "created_at")[:MAX_PER_ROUND]:
        try:
            stripe_calls.detach_card(card.payment_method_id)
        except UpstreamFailed:
            # The next round tries again. Whoever saved the new card has had it since.
            logger.warning("Stripe did not forget a card that was replaced.")
            break
        except stripe_api.StripeRefused as error:
            ReplacedCard.objects.filter(pk=card.pk).update(refused_at=now)
            unmatched_events.record(
                subject="payment_method",
                stripe_id=card.payment_method_id,
                reason=NOT_FORGOTTEN,
                explanation=f"Nobody uses this card here any more, and Stripe refuses to detach it "
                f"({error.stripe_code or 'no code'}). It is asked again every hour.",
            )
            continue
        card.delete()
        unmatched_events.resolve(stripe_id=card.payment_method_id, reason=NOT_FORGOTTEN)
        forgotten_count += 1
    return forgotten_count
