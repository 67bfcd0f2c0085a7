"""Mails to owners whose balance is low, and a signal for others who tell them.

The ledger sets `low_since` in the transaction that crosses the threshold.

Every request holds money and releases most of it, so a balance near the threshold crosses it again and again. Owners
therefore get at most one mail a day about the same threshold, unless money came in between.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import CharField, Exists, F, OuterRef, Q, Value
from django.db.models.functions import Cast, Concat
from django.dispatch import Signal

from billing import money, notices
from billing.models import CREDIT_KINDS, Entry, Notice, Wallet

logger = logging.getLogger(__name__)

# Prefix of a notice's kind, followed by the threshold: a changed threshold is a new occasion.
KIND = "low_balance:"
# The same of a signal, from which webhooks come.
SIGNAL_KIND = "low_balance_signal:"
QUIET_FOR = timedelta(days=1)
BATCH_SIZE = 500


# Sent inside the transaction that records it, once for each occasion. Arguments: wallet, low_since.
balance_is_low = Signal()


def sweep(*, now: datetime) -> None:
    """Mail the owners of wallets that fell below their threshold since the last mail. Errors stop only their wallet."""
    for wallet in _due(KIND, now=now):
        try:
            _tell(wallet)
        except Exception:  # One broken wallet must not keep all others waiting.
            logger.exception("The mail about the low balance of wallet %s failed; it will be tried again.", wallet.pk)


def announce(*, now: datetime) -> None:
    """Send the signal for wallets that fell below their threshold, as rarely as mails. Errors stop one wallet only."""
    for wallet in _due(SIGNAL_KIND, now=now):
        try:
            _send_signal(wallet)
        except Exception:  # As above.
            logger.exception("The low balance of wallet %s was not announced; it will be tried again.", wallet.pk)


def _due(prefix: str, *, now: datetime) -> Iterator[Wallet]:
    """Yield the wallets that are low and of which nobody was told, in batches. prefix: of the notice's kind."""
    money_came_since = Entry.objects.filter(
        wallet=OuterRef("wallet"), kind__in=CREDIT_KINDS, created_at__gte=OuterRef("created_at")
    )
    already_sent = (
        Notice.objects.sent_or_claimed(now=now)
        .filter(wallet=OuterRef("pk"), kind=OuterRef("kind"))
        .filter(Q(occasion_at=OuterRef("low_since")) | Q(~Exists(money_came_since), created_at__gt=now - QUIET_FOR))
    )
    kind = Concat(Value(prefix), Cast(F("low_balance_micros"), CharField()), output_field=CharField())
    low = Wallet.objects.filter(low_since__lte=now, low_balance_micros__isnull=False).annotate(kind=kind)
    due = low.filter(~Exists(already_sent)).select_related("organization")
    last_id = 0
    while batch := list(due.filter(pk__gt=last_id).order_by("pk")[:BATCH_SIZE]):
        yield from batch
        last_id = batch[-1].pk


def _send_signal(wallet: Wallet) -> None:
    """Record that it is told, and tell it: both or neither. Another clock may have done it."""
    assert wallet.low_since is not None, "the query selects wallets that have it"
    kind = f"{SIGNAL_KIND}{wallet.low_balance_micros}"
    with transaction.atomic():
        if notices.record(wallet, kind=kind, occasion_at=wallet.low_since):
            balance_is_low.send(sender=Wallet, wallet=wallet, low_since=wallet.low_since)


def _tell(wallet: Wallet) -> None:
    assert wallet.low_since is not None, "the query selects wallets that have it"
    assert wallet.low_balance_micros is not None, "the query selects wallets that have it"
    available = money.display_text(max(0, wallet.available_micros))
    notices.send_once(
        wallet,
        kind=f"{KIND}{wallet.low_balance_micros}",
        occasion_at=wallet.low_since,
        subject=f"{available} is left of your balance",
        text=(
            f"The available balance of {wallet.organization.name} is {available}. "
            f"Your low-balance alert is set to {money.display_text(wallet.low_balance_micros)}."
        ),
    )
