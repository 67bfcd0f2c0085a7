"""Balances that nobody uses expire: after so many months without a top-up or a piece of work, told of in time.

A sign-in alone is no activity. `ledger` keeps the last activity in the transaction of whatever is one, and takes the
balance only under the wallet's lock, so money that is just being reserved never expires.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import QuerySet

from billing import ledger, money, months, notices
from billing.models import Wallet

logger = logging.getLogger(__name__)

# Owners are told so many days before, each time once.
NOTICE_DAYS = (30, 7, 1)
BATCH_SIZE = 500


def sweep(*, now: datetime) -> None:
    """Take what has expired, then tell those whose balance soon will. One that fails does not stop the others."""
    for wallet in _inactive(since=months.months_later(now, -settings.EXPIRY_MONTHS)):
        if wallet.expires_at is not None and wallet.expires_at <= now:
            with _stopping_no_other(wallet):
                _take(wallet)
    # The first notice's time, and a few days more: months have 28 to 31.
    latest = now + timedelta(days=max(NOTICE_DAYS))
    for wallet in _inactive(since=months.months_later(latest, -settings.EXPIRY_MONTHS)):
        with _stopping_no_other(wallet):
            _tell(wallet, now=now)


def _inactive(*, since: datetime) -> Iterator[Wallet]:
    """Yield the wallets with money that were last active before the moment, or up to three days later, in batches.

    Three days, because six months before and six months after differ at the ends of short months.
    """
    last_id = 0
    while batch := list(_with_money(since + timedelta(days=3)).filter(pk__gt=last_id).order_by("pk")[:BATCH_SIZE]):
        yield from batch
        last_id = batch[-1].pk


def _with_money(inactive_since: datetime) -> QuerySet[Wallet]:
    unused = Wallet.objects.filter(balance_micros__gt=0, last_activity_at__lte=inactive_since, frozen_at=None)
    return unused.select_related("organization")


@contextmanager
def _stopping_no_other(wallet: Wallet) -> Iterator[None]:
    try:
        yield
    except Exception:
        logger.exception("The expiry of wallet %s failed; it will be tried again.", wallet.pk)


def _take(wallet: Wallet) -> None:
    entry = ledger.expire(wallet.organization, inactive_since=wallet.last_activity_at)
    if entry is not None:
        logger.info("Wallet %s expired: %s micro-dollars.", wallet.pk, -entry.amount_micros)


def _tell(wallet: Wallet, *, now: datetime) -> None:
    moment = wallet.expires_at
    if moment is None or moment <= now:
        return
    # Only the nearest: who was not reached for a while hears once, not three times.
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
            f"The balance of {wallet.organization.name} is {amount}. Nothing was bought or used since "
            f"{wallet.last_activity_at:%Y-%m-%d}, and a balance expires after {settings.EXPIRY_MONTHS} months without "
            f"activity: this one on {moment:%Y-%m-%d %H:%M} UTC.\n\n"
            "One top-up or one transcription before then keeps all of it. Signing in alone does not."
        ),
    )
