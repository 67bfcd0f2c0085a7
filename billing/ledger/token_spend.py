"""The sum of a token's holds, which its limit is checked against. A token has one limit for its whole life.

The hold of a token counts for the month of its key and its organization too. So no money is moved from a key to its
tokens, and none has to come back (docs/decisions/0059).
"""

import uuid
from collections.abc import Iterator

from django.db.models import F

from accounts.models import ApiKey
from billing.ledger.monthly_spend import LimitHeadroom
from billing.models import Hold, TokenSpend


def limit_headrooms(hold: Hold) -> Iterator[LimitHeadroom]:
    """Yield the headroom of the token of a hold, nothing for a hold of none. Makes the token's row.

    The caller holds the wallet's lock.
    """
    if hold.token_id is None:
        return
    # Only for a token whose row is there, since the count belongs to it.
    if ApiKey.objects.filter(pk=hold.token_id, monthly_limit_micros__gt=0).exists():
        TokenSpend.objects.get_or_create(token_id=hold.token_id)
    yield headroom(hold.token_id)


def headroom(token_id: uuid.UUID) -> LimitHeadroom:
    """Return what a token may still spend. Locks nothing and makes no row.

    A token whose row is gone has nothing left. Its work ended long before.
    """
    limit_micros = ApiKey.objects.filter(pk=token_id).values_list("monthly_limit_micros", flat=True).first() or 0
    spent_micros = TokenSpend.objects.filter(token=token_id).values_list("spent_micros", flat=True).first() or 0
    return LimitHeadroom(limit="token", limit_micros=limit_micros, left_micros=max(0, limit_micros - spent_micros))


def adjust(hold: Hold, *, by_micros: int) -> None:
    """Add an amount, negative to subtract, to what the token of a hold has spent. Checks no limit.

    The caller holds the wallet's lock.
    """
    if hold.token_id is not None and by_micros:
        TokenSpend.objects.filter(token=hold.token_id).update(spent_micros=F("spent_micros") + by_micros)
