"""Periodic duties of billing, run by the clock process. Any number may run: every write is conditional."""

import hashlib
import logging
import time
from collections.abc import Callable, Iterable, Sequence

from django.conf import settings
from django.core.cache import cache
from django.core.mail import get_connection, mail_admins
from django.utils import timezone

from billing import (
    automatic_topup_mails,
    automatic_topups,
    charge_tags,
    customer_names,
    dispute_mails,
    expiry,
    invoices,
    ledger,
    low_balance,
    payment_mails,
    refunds,
    saved_cards,
    spend_alerts,
    stripe_api,
    stripe_retention,
    token_retention,
    topups,
)

logger = logging.getLogger(__name__)

# Hour of the nightly check, in UTC.
CHECK_HOUR = 3
MAX_REPORTED_FAULTS = 100
# How long one round reads old entries and holds again, and where the next one goes on. A cache that forgets the place
# only makes the walk begin anew.
REREAD_SECONDS = 1.0
REREAD_PLACE = "billing:reread-to"
# How long one round deletes old tags or tokens, so that a backlog does not keep the other duties waiting.
PURGE_SECONDS = 20.0


def expire() -> None:
    expiry.sweep(now=timezone.now())


def tell_of_low_balances() -> None:
    low_balance.sweep(now=timezone.now())


def tell_of_spending() -> None:
    spend_alerts.sweep(now=timezone.now())


def announce_spending() -> None:
    spend_alerts.announce(now=timezone.now())


def announce_low_balances() -> None:
    low_balance.announce(now=timezone.now())


def check_ledger_nightly() -> None:
    """Check what is new in the ledger once a night, for any number of clock processes and restarts."""
    now = timezone.now()
    name = f"billing:checked:{now:%Y-%m-%d}"
    if now.hour == CHECK_HOUR and cache.add(name, "begun", timeout=2 * 24 * 3600):
        try:
            check_ledger()
        except Exception:
            # The check or the mail failed: the next round tries again.
            cache.delete(name)
            raise


def finish_topups() -> None:
    """Ask Stripe about open payments, in case a webhook was lost."""
    if stripe_api.is_configured():
        topups.sweep(now=timezone.now())


def finish_refunds() -> None:
    """Ask Stripe about open refunds, in case a webhook was lost."""
    if stripe_api.is_configured():
        refunds.sweep(now=timezone.now())


def forget_cards() -> None:
    """Detach replaced cards at Stripe."""
    if stripe_api.is_configured():
        saved_cards.forget_replaced(now=timezone.now())


def tell_names() -> None:
    """Tell Stripe new names of organizations."""
    if stripe_api.is_configured():
        customer_names.tell_stripe(now=timezone.now())


def top_up_automatically() -> None:
    if stripe_api.is_configured():
        automatic_topups.run(now=timezone.now())


def invoice_automatic_topups() -> None:
    """Continue invoices. A duty of its own, so that charges do not wait for invoices."""
    if stripe_api.is_configured():
        invoices.make_due(now=timezone.now())


def tell_of_automatic_topups() -> None:
    """Mail owners. A duty of its own, so that charges do not wait for a mail server that hangs."""
    automatic_topup_mails.notify_owners(now=timezone.now())


def tell_of_disputes() -> None:
    dispute_mails.notify_owners(now=timezone.now())


def tell_of_payments() -> None:
    payment_mails.notify_owners(now=timezone.now())


def forget_deliveries() -> None:
    stripe_retention.purge_deliveries(now=timezone.now())


def forget_events() -> None:
    stripe_retention.purge_events(now=timezone.now())


def forget_tags(*, batch_size: int = charge_tags.PURGE_BATCH_SIZE) -> None:
    until = time.monotonic() + PURGE_SECONDS
    while charge_tags.purge(now=timezone.now(), batch_size=batch_size) == batch_size and time.monotonic() < until:
        pass


def forget_tokens(*, batch_size: int = token_retention.PURGE_BATCH_SIZE) -> None:
    until = time.monotonic() + PURGE_SECONDS
    while token_retention.purge(now=timezone.now(), batch_size=batch_size) == batch_size and time.monotonic() < until:
        pass


def check_ledger() -> None:
    """Compare wallets, this month's limits, payments and the newest entries and holds. See `_report`."""
    _report(ledger.recent_faults(now=timezone.now()))


def reread_ledger() -> None:
    """Check the next old entries and holds. A fault is told once a day, although each of them comes round again."""
    entry_id, hold_id = cache.get(REREAD_PLACE) or (0, 0)
    found, next_place = ledger.reread(
        ledger.Place(entry_id=entry_id, hold_id=hold_id), seconds=REREAD_SECONDS, untold=_untold
    )
    cache.set_many({_told_key(fault): "told" for fault in _report(found)}, timeout=24 * 3600)
    # Only now: what could not be told is read again.
    cache.set(REREAD_PLACE, (next_place.entry_id, next_place.hold_id), timeout=None)


def _untold(faults: Sequence[str]) -> list[str]:
    told = cache.get_many([_told_key(fault) for fault in faults])
    return [fault for fault in faults if _told_key(fault) not in told]


def _told_key(fault: str) -> str:
    return f"billing:fault:{hashlib.sha256(fault.encode()).hexdigest()}"


def _report(faults: Iterable[str]) -> list[str]:
    """Log faults of the ledger and mail them to the operators. Nothing is repaired. Returns those that were named."""
    count, first = 0, []
    for fault in faults:
        count += 1
        if count <= MAX_REPORTED_FAULTS:
            first.append(fault)
    if not count:
        return []
    report = "\n".join(first)
    logger.error("The ledger has %s faults, the first of them:\n%s", count, report)
    # Not by the queue: a report that was not sent is made again by the next round.
    mail_admins(
        f"The ledger has {count} faults",
        f"manage.py check_ledger lists all of them.\n\n{report}\n",
        connection=get_connection(settings.MAIL_TRANSPORT),
    )
    return first


# (seconds between two rounds, duty)
DUTIES: tuple[tuple[float, Callable[[], None]], ...] = (
    (15, top_up_automatically),
    (15, invoice_automatic_topups),
    (60, tell_of_automatic_topups),
    (60, tell_of_disputes),
    (60, tell_of_payments),
    (60, finish_topups),
    (60, finish_refunds),
    (60, forget_cards),
    (60, tell_names),
    (60, tell_of_low_balances),
    (60, tell_of_spending),
    (60, announce_spending),
    (15, announce_low_balances),
    (3600, expire),
    (600, check_ledger_nightly),
    (600, reread_ledger),
    (6 * 3600, forget_deliveries),
    (6 * 3600, forget_events),
    (600, forget_tags),
    (600, forget_tokens),
)
