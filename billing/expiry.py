"""Expiry: a balance without a top-up or work for EXPIRY_MONTHS months is taken, after mails to the owners.

A sign-in is not activity. `ledger` stores the time of the last activity in the transaction of that activity. It takes
an expired balance under the wallet's lock, so money that is being reserved at that moment does not expire.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import QuerySet

from billing import ledger, money, months, notices
from billing.models import Wallet
from billing.models.payments import AutomaticTopUp

logger = logging.getLogger(__name__)

# Automatic top-up follows what work costs: it must not charge the card of a customer who has left.
BALANCE_EXPIRED = "Automatic top-up is off: the balance expired without activity."
# Days before the expiry on which owners get a mail, one mail each.
NOTICE_DAYS = (30, 7, 1)
BATCH_SIZE = 500


def sweep(*, now: datetime, batch_size: int = BATCH_SIZE) -> None:
    """Take expired balances, then mail the owners of those that expire soon. An error stops only its own wallet."""
    for wallet in _inactive(since=months.months_later(now, -settings.EXPIRY_MONTHS), batch_size=batch_size):
        if wallet.expires_at is not None and wallet.expires_at <= now:
            with _isolating_errors(wallet):
                _take(wallet)
    # Look as far ahead as the first mail is sent.
    latest = now + timedelta(days=max(NOTICE_DAYS))
    for wallet in _inactive(since=months.months_later(latest, -settings.EXPIRY_MONTHS), batch_size=batch_size):
        with _isolating_errors(wallet):
            _tell(wallet, now=now)


def _inactive(*, since: datetime, batch_size: int) -> Iterator[Wallet]:
    """Yield the wallets with money whose last activity was before `since` or up to three days later, in batches.

    The three days are needed at the ends of months: 31 August plus six months is 28 February, but 28 February minus six
    months is 28 August. Callers compare the exact `expires_at`.
    """
    last_id = 0
    while batch := list(_with_money(since + timedelta(days=3)).filter(pk__gt=last_id).order_by("pk")[:batch_size]):
        yield from batch
        last_id = batch[-1].pk


def _with_money(inactive_since: datetime) -> QuerySet[Wallet]:
    unused = Wallet.objects.filter(balance_micros__gt=0, last_activity_at__lte=inactive_since, frozen_at=None)
    return unused.select_related("organization")


@contextmanager
def _isolating_errors(wallet: Wallet) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("The expiry of wallet %s failed; it will be tried again.", wallet.pk)


def _take(wallet: Wallet) -> None:
    with transaction.atomic():
        entry = ledger.expire(wallet.organization, inactive_since=wallet.last_activity_at)
        if entry is not None:
            AutomaticTopUp.objects.of(wallet.organization).turn_off(reason=BALANCE_EXPIRED)
    if entry is not None:
        logger.info("Wallet %s expired: %s micro-dollars.", wallet.pk, -entry.amount_micros)


def _tell(wallet: Wallet, *, now: datetime) -> None:
    moment = wallet.expires_at
    if moment is None or moment <= now:
        return
    # Only the nearest: after an outage of the mail server the owners get one mail, not three.
    days = min((days for days in NOTICE_DAYS if moment - now <= timedelta(days=days)), default=None)
    if days is None:
        return
    amount = money.display_text(wallet.balance_micros)
    notices.send_once(
        wallet,
        kind=f"expiry_{days}",
        occasion_at=moment,
        subject=f"{amount} expires on {moment:%Y-%m-%d}",
        text=(
            f"The balance of {wallet.organization.name} is {amount}. It expires on {moment:%Y-%m-%d %H:%M} UTC, "
            f"{settings.EXPIRY_MONTHS} months after the last activity on {wallet.last_activity_at:%Y-%m-%d}.\n\n"
            "To keep it, top up or transcribe a recording before then. Signing in is not enough."
        ),
    )
