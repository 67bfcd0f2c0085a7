"""Entries that are not usage: payments and credits, claw-backs and their reversals, expiry."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import Conflict
from accounts.models import Organization
from billing.ledger import errors, wallets
from billing.models import CREDIT_KINDS, REVERSALS, Entry, EntryKind, Wallet

# A bonus is taken back in parts, and their sum is rounded up. So the amount that one part took and the amount that it
# gives back may differ by this much.
ROUNDING_MICROS = 1


class NothingToRestore(Conflict):
    """Nothing was clawed back under this reference, or not yet. Events may arrive in any order: try again later."""

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

    kind: one of CREDIT_KINDS. amount_micros: more than zero. A debt is paid first.
    Raises ReferenceReused if the earlier entry has another amount or belongs to another organization.
    """
    if kind not in CREDIT_KINDS:
        raise ValueError(f"{kind} does not bring money.")
    if amount_micros <= 0:
        raise ValueError(f"A credit must be more than zero, not {amount_micros}.")
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        return _post(
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
    """Take back money that was paid, even if it is spent. Returns the entry, or the earlier one.

    kind: REFUND or DISPUTE. amount_micros: more than zero; the entry has it negative.
    The part that is spent becomes a debt: the available amount is negative, and the wallet is frozen until a credit
    has paid it. A dispute always freezes the wallet, with the reference as its reason, until `restore` or `thaw`.
    Raises ReferenceReused if the earlier entry has another amount or belongs to another organization.
    """
    if kind not in REVERSALS:
        raise ValueError(f"{kind} takes no payment back.")
    if amount_micros <= 0:
        raise ValueError(f"What is taken back must be more than zero, not {amount_micros}.")
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        return _post(
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

    kind: that of the claw-back, REFUND or DISPUTE. The entry has the kind that reverses it and the same reference.
    amount_micros: by default exactly what was taken. A caller that keeps the sum of many partial returns exact may give
        an amount that differs by up to ROUNDING_MICROS.
    Lifts the freeze of that dispute.
    Raises NothingToRestore, or ReferenceReused if another amount was given back before.
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
        entry, is_new = _post(
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
    """Take the whole balance if the wallet was inactive since a moment. Returns the entry, or None if it is kept.

    The balance is kept while a hold is open, while the wallet is frozen, and if it is not positive.
    """
    with transaction.atomic():
        wallet = wallets.locked(wallets.wallet_of(organization).pk)
        if wallet.last_activity_at > inactive_since or wallet.is_frozen or wallet.balance_micros <= 0:
            return None
        # An open hold of zero is work under way too.
        if wallet.held_micros or wallet.holds.open().exists():
            return None
        wallet.expired_at = timezone.now()
        wallet.save(update_fields=["expired_at"])
        return _post(
            wallet,
            kind=EntryKind.EXPIRY,
            # A credit moves last_activity_at, so no other expiry of this wallet has this moment.
            reference=f"expiry:{wallet.pk}:{wallet.last_activity_at:%Y-%m-%dT%H:%M:%S.%f}",
            amount_micros=-wallet.balance_micros,
            description=f"Expired: no activity since {wallet.last_activity_at:%Y-%m-%d}",
            details=None,
        )[0]


def _append(
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
    """Write an entry.

    The caller holds the wallet's lock. balance_micros: the balance with the amount already in it.
    """
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


def _post(
    wallet: Wallet,
    *,
    kind: EntryKind,
    reference: str,
    amount_micros: int,
    description: str,
    details: Mapping[str, object] | None,
) -> tuple[Entry, bool]:
    """Change a locked wallet's balance and write the entry, unless it was written before.

    Returns (the entry, whether it is new). Raises ReferenceReused.
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
    # Freeze before the balance is saved: a constraint allows a debt only while the wallet is frozen.
    if wallet.available_micros < 0:
        wallets.add_freeze(wallet, reason=wallets.DEBT)
    wallets.save(wallet, "balance_micros", "last_activity_at", "expired_at", now=now)
    wallets.pay_debt(wallet)
    try:
        with transaction.atomic():
            entry = _append(
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
        # Only this transaction writes entries of this wallet: another wallet's entry took the reference a moment ago.
        raise errors.ReferenceReused from error
    return entry, True
