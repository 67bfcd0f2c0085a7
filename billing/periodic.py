"""Periodic duties of billing, run by the clock process. Any number may run: every write is conditional."""

import logging
from collections.abc import Callable

from django.core.cache import cache
from django.core.mail import mail_admins
from django.utils import timezone

from billing import (
    automatic_topups,
    expiry,
    invoices,
    ledger,
    low_balance,
    refunds,
    saved_cards,
    stripe_api,
    stripe_retention,
    topups,
)

logger = logging.getLogger(__name__)

# Hour of the nightly check, in UTC.
CHECK_HOUR = 3
MAX_REPORTED_FAULTS = 100


def expire() -> None:
    expiry.sweep(now=timezone.now())


def tell_of_low_balances() -> None:
    low_balance.sweep(now=timezone.now())


def announce_low_balances() -> None:
    low_balance.announce(now=timezone.now())


def check_ledger_nightly() -> None:
    """Check the ledger once a night, for any number of clock processes and restarts."""
    now = timezone.now()
    name = f"billing:checked:{now:%Y-%m-%d}"
    if now.hour == CHECK_HOUR and cache.add(name, "begun", timeout=2 * 24 * 3600):
        try:
            check_ledger()
        except Exception:
            # The check or the mail failed: the next round tries again.
            cache.delete(name)
            raise


def finish_payments() -> None:
    """Ask Stripe about open payments and refunds, in case a webhook was lost, and detach replaced cards."""
    if stripe_api.is_configured():
        topups.sweep(now=timezone.now())
        refunds.sweep(now=timezone.now())
        saved_cards.forget_replaced(now=timezone.now())


def top_up_automatically() -> None:
    if stripe_api.is_configured():
        automatic_topups.run(now=timezone.now())


def invoice_automatic_topups() -> None:
    """Continue invoices. A duty of its own, so that charges do not wait for invoices."""
    if stripe_api.is_configured():
        invoices.make_due(now=timezone.now())


def tell_of_automatic_topups() -> None:
    """Mail owners. A duty of its own, so that charges do not wait for a mail server that hangs."""
    automatic_topups.notify_owners(now=timezone.now())


def forget_deliveries() -> None:
    now = timezone.now()
    stripe_retention.purge_deliveries(now=now)
    stripe_retention.purge_events(now=now)


def check_ledger() -> None:
    """Compare wallets, holds, limits and payments with the ledger. Mail faults to the operators; repair nothing."""
    count, first = 0, []
    for fault in ledger.faults():
        count += 1
        if count <= MAX_REPORTED_FAULTS:
            first.append(fault)
    if not count:
        return
    report = "\n".join(first)
    logger.error("The ledger has %s faults, the first of them:\n%s", count, report)
    mail_admins(f"The ledger has {count} faults", f"manage.py check_ledger lists all of them.\n\n{report}\n")


# (seconds between two rounds, duty)
DUTIES: tuple[tuple[float, Callable[[], None]], ...] = (
    (15, top_up_automatically),
    (15, invoice_automatic_topups),
    (60, tell_of_automatic_topups),
    (60, finish_payments),
    (60, tell_of_low_balances),
    (15, announce_low_balances),
    (3600, expire),
    (600, check_ledger_nightly),
    (6 * 3600, forget_deliveries),
)
