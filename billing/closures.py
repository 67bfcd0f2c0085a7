"""What money does when an organization is closed, opened again or deleted.

The ledger keeps its entries, holds and sums, and payments keep their rows: that is bookkeeping. What names people goes.
"""

import time

from django.db import transaction
from django.db.models import Exists, OuterRef

from accounts.closures import Part
from accounts.models import ApiKey, Organization
from billing import automatic_topups, customer_names, ledger
from billing.models import (
    AutomaticTopUp,
    ChargeTag,
    MonthlySpend,
    Refund,
    ReplacedCard,
    SavedCard,
    SpendAlert,
    TopUp,
)

# The reason of the freeze. Under the wallet's lock it refuses what a caller was admitted for a moment before.
FREEZE = "closed"
TURNED_OFF = "The organization was deleted."
DELETE_BATCH_SIZE = 500
# Fewer keys: for each of them PostgreSQL looks through what refers to keys and has no index on them.
KEY_BATCH_SIZE = 50


def close(organization: Organization) -> None:
    """Admit no new work, and charge no card. What runs may still be charged."""
    ledger.freeze(organization, reason=FREEZE)
    automatic_topups.turn_off(organization, reason=TURNED_OFF)


def open_again(organization: Organization) -> None:
    """Admit work again, unless a dispute or a debt keeps the wallet frozen. Automatic top-up stays off."""
    ledger.thaw(organization, reason=FREEZE)


def end_work(organization: Organization, *, ends_at: float) -> None:
    """Turn automatic top-up off again: a request that had begun before may have turned it on."""
    if AutomaticTopUp.objects.filter(organization=organization, is_on=True).exists():
        automatic_topups.turn_off(organization, reason=TURNED_OFF)


def delete(organization: Organization, *, ends_at: float) -> bool:
    """Delete tags, alerts, the card and the keys that no charge names. Returns whether nothing of them is left.

    The clock detaches the card at Stripe. The wallet stays frozen with what is on it: an operator may refund it.
    """
    _forget_card(organization)
    # Its name is gone here, and so it goes from what Stripe calls the customer.
    customer_names.mark(organization)
    TopUp.objects.of(organization).exclude(person=None).update(person=None)
    # A payment that is still on its way is credited, and saves no card any more.
    TopUp.objects.of(organization).open().update(save_card=False)
    Refund.objects.filter(topup__organization=organization).exclude(person=None).update(person=None)
    SpendAlert.objects.filter(wallet__organization=organization).delete()
    ledger.set_low_balance(organization, threshold_micros=None)
    tags = ChargeTag.objects.filter(entry__wallet__organization=organization)
    while ids := list(tags.values_list("pk", flat=True)[:DELETE_BATCH_SIZE]):
        ChargeTag.objects.filter(pk__in=ids).delete()
        if time.monotonic() >= ends_at:
            return False
    return _delete_keys(organization, ends_at=ends_at)


def _forget_card(organization: Organization) -> None:
    AutomaticTopUp.objects.filter(organization=organization).delete()
    with transaction.atomic():
        card = SavedCard.objects.of(organization).select_for_update().first()
        if card is not None:
            ReplacedCard.objects.get_or_create(payment_method_id=card.payment_method_id)
            card.delete()


def _delete_keys(organization: Organization, *, ends_at: float) -> bool:
    """Delete tokens, and keys that never spent anything. The ledger counts for the others."""
    is_counted = Exists(MonthlySpend.objects.filter(api_key=OuterRef("pk")))
    unused = ApiKey.objects.filter(organization=organization).exclude(is_counted)
    # Tokens first: a key deletes its own with it, however many.
    for keys in (unused.filter(parent__isnull=False), unused):
        while ids := list(keys.values_list("pk", flat=True)[:KEY_BATCH_SIZE]):
            ApiKey.objects.filter(pk__in=ids).delete()
            if time.monotonic() >= ends_at:
                return False
    return True


PART = Part(name="billing", close=close, open_again=open_again, end_work=end_work, delete=delete)
