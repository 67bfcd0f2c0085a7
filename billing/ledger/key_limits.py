"""Monthly limits of keys, where one key gives another a part of its own."""

from django.db import transaction
from django.utils import timezone

from accounts.errors import Forbidden
from accounts.models import ApiKey
from billing import money, months
from billing.ledger import wallets
from billing.models import MonthlySpend


def give_limit(giver: ApiKey, *, amount_micros: int | None) -> None:
    """Take an amount from the monthly limit of a key, which gives it to another one. Call it in a transaction.

    So the limits of all keys that come from one sum up to what that one had. A key without a limit gives any amount,
    and None: no limit. It loses nothing.
    Raises Forbidden for more than the key has left of this month, and for None.
    Locks the wallet. A hold that began to wait for it before may still be made within the limit of before.
    """
    assert transaction.get_connection().in_atomic_block, "what is taken and what is given are one fact"
    wallet = wallets.locked(wallets.wallet_of(giver.organization).pk)
    row = ApiKey.objects.select_for_update(no_key=True).get(pk=giver.pk)
    limit_micros = row.monthly_limit_micros
    if limit_micros is None:
        return
    month = months.month_of(timezone.now())
    spend = MonthlySpend.objects.filter(wallet=wallet, api_key=giver, month=month).first()
    left_micros = max(0, limit_micros - (spend.spent_micros if spend else 0))
    if amount_micros is None or amount_micros > left_micros:
        raise Forbidden(
            f"This API key has a monthly limit of which {money.display_text(left_micros)} is left. It cannot give "
            "another key more."
        )
    row.monthly_limit_micros = limit_micros - amount_micros
    if row.raised_limit_micros is not None:
        row.raised_limit_micros -= amount_micros
    row.save(update_fields=["monthly_limit_micros", "raised_limit_micros"])
