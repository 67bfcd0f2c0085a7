"""Money that comes and goes for good, apart from work: payments and gifts, what is taken back, what expires."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import Conflict
from accounts.models import Organization
from billing.ledger import errors, wallets
from billing.models import CREDIT_KINDS, REVERSALS, Entry, EntryKind, Wallet

# A bonus goes back in parts, each rounded up in the sum: what one part took and gives back may differ by so much.
ROUNDING_MICROS = 1


class NothingToRestore(Conflict):
    """Nothing was clawed back under this reference, or not yet: events may arrive in any order. Try again later."""

    default_message = "Nothing was taken back under this reference."


def credit(
    organization: Organization,
    *,
    amount_micros: int,
    kind: EntryKind,
    reference: str,
    description: str = "",
    details: Mapping[str, object] | None = None,
) -> Entry:
    """Add money. Returns the entry, or the earlier one when this reference was credited before.

    kind: one of CREDIT_KINDS. amount_micros: more than zero. It first pays what is owed.
    Raises ReferenceReused if the earlier entry has another amount or belongs to another organization.
    """
    if kind not in CREDIT_KINDS:
        raise ValueError(f"{kind} does not bring money.")
    if amount_micros <= 0:
        raise ValueError(f"A credit must be more than zero, not {amount_micros}.")
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        return _book(
            wallet,
            kind=kind,
            reference=reference,
            amount_micros=amount_micros,
            description=description,
            details=details,
        )[0]


def claw_back(
    organization: Organization,
    *,
    amount_micros: int,
    kind: EntryKind,
    reference: str,
    description: str = "",
    details: Mapping[str, object] | None = None,
) -> Entry:
    """Take back money that was paid, all of it, even if it is spent. Returns the entry, or the earlier one.

    kind: REFUND or DISPUTE. amount_micros: more than zero; the entry has it negative.
    What is not there any more becomes a debt: less than nothing is available, and the wallet is frozen until money has
    come to pay it. A dispute freezes in any case, with the reference as its reason, until `restore` or `thaw`.
    Raises ReferenceReused if the earlier entry has another amount or belongs to another organization.
    """
    if kind not in REVERSALS:
        raise ValueError(f"{kind} takes no payment back.")
    if amount_micros <= 0:
        raise ValueError(f"What is taken back must be more than zero, not {amount_micros}.")
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        return _book(
            wallet,
            kind=kind,
            reference=reference,
            amount_micros=-amount_micros,
            description=description,
            details=details,
        )[0]


def restore(
    organization: Organization,
    *,
    kind: EntryKind,
    reference: str,
    amount_micros: int | None = None,
    description: str = "",
    details: Mapping[str, object] | None = None,
) -> Entry:
    """Give back what `claw_back` took under this kind and reference. Returns the entry, or the earlier one.

    kind: of the claw-back, REFUND or DISPUTE. The entry is of the kind that reverses it, with the same reference.
    amount_micros: exactly what was taken unless given, and then at most ROUNDING_MICROS beside it: for a caller that
        keeps many returns of one payment exact in their sum.
    Lifts the freeze of that dispute. Raises NothingToRestore, ReferenceReused if another amount was given back before.
    """
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        taken = Entry.objects.filter(wallet=wallet, kind=kind, reference=reference).first()
        if kind not in REVERSALS or taken is None:
            raise NothingToRestore
        taken_micros = -taken.amount_micros
        if amount_micros is None:
            amount_micros = taken_micros
        if abs(amount_micros - taken_micros) > ROUNDING_MICROS:
            raise ValueError(f"{taken_micros} was taken for {reference}, so {amount_micros} cannot be given back.")
        entry, is_new = _book(
            wallet,
            kind=REVERSALS[kind],
            reference=reference,
            amount_micros=amount_micros,
            description=description,
            details=details,
        )
        if is_new:
            wallets.lift_freeze(wallet, reason=reference)
        return entry


def expire(organization: Organization, *, inactive_since: datetime) -> Entry | None:
    """Take the whole balance, if nothing has happened since the moment. Returns the entry, or None if it must stay.

    It stays while work is under way, while the wallet is frozen, and when there is nothing.
    """
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        if wallet.last_activity_at > inactive_since or wallet.is_frozen or wallet.balance_micros <= 0:
            return None
        # A hold of zero counts: it is work under way.
        if wallet.held_micros or wallet.holds.open().exists():
            return None
        wallet.expired_at = timezone.now()
        wallet.save(update_fields=["expired_at"])
        return _book(
            wallet,
            kind=EntryKind.EXPIRY,
            # Activity moves with whatever brings money, so no other expiry of this wallet has this moment.
            reference=f"expiry:{wallet.pk}:{wallet.last_activity_at:%Y-%m-%dT%H:%M:%S.%f}",
            amount_micros=-wallet.balance_micros,
            description=f"Expired: no activity since {wallet.last_activity_at:%Y-%m-%d}",
            details=None,
        )[0]


def append(
    wallet_id: int,
    *,
    kind: EntryKind,
    reference: str,
    amount_micros: int,
    balance_micros: int,
    description: str,
    details: Mapping[str, object] | None,
    now: datetime,
) -> Entry:
    """Write a line of the book. For the ledger alone: the wallet is locked, its balance has the amount already."""
    return Entry.objects.create(
        wallet_id=wallet_id,
        kind=kind,
        reference=reference,
        amount_micros=amount_micros,
        balance_after_micros=balance_micros,
        description=description[:300],
        details=dict(details or {}),
        created_at=now,
    )


def _book(
    wallet: Wallet,
    *,
    kind: EntryKind,
    reference: str,
    amount_micros: int,
    description: str,
    details: Mapping[str, object] | None,
) -> tuple[Entry, bool]:
    """Change a locked wallet's balance and write the line, unless it was written before. Returns it, and if it is new.

    Raises ReferenceReused.
    """
    earlier = Entry.objects.filter(kind=kind, reference=reference).first()
    if earlier is not None:
        if earlier.wallet_id != wallet.pk or earlier.amount_micros != amount_micros:
            raise errors.ReferenceReused
        return earlier, False
    now = timezone.now()
    wallet.balance_micros += amount_micros
    if amount_micros > 0:
        wallet.last_activity_at = now
        wallet.expired_at = None
    elif kind == EntryKind.DISPUTE:
        wallets.add_freeze(wallet, reason=reference)
    # Before the balance: it may only be overdrawn while frozen.
    if wallet.available_micros < 0:
        wallets.add_freeze(wallet, reason=wallets.DEBT)
    wallets.save(wallet, "balance_micros", "last_activity_at", "expired_at", now=now)
    wallets.pay_debt(wallet)
    try:
        with transaction.atomic():
            entry = append(
                wallet.pk,
                kind=kind,
                reference=reference,
                amount_micros=amount_micros,
                balance_micros=wallet.balance_micros,
                description=description,
                details=details,
                now=now,
            )
    except IntegrityError as error:
        # Under the lock nobody else writes this wallet's book: the reference went to another's a moment ago.
        raise errors.ReferenceReused from error
    return entry, True
