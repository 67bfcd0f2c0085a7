"""Wallets, one for each organization: making and locking them, freezes, monthly limit, low-balance threshold."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts import api_keys, audit_log
from accounts.errors import InvalidField
from accounts.models import AuditAction, Organization
from billing.models import Freeze, Wallet

# The reason of the freeze that the ledger sets when the available amount is negative, and lifts when the debt is paid.
DEBT = "debt"


def wallet_of(organization: Organization) -> Wallet:
    """Return the organization's wallet. Makes it when it is first needed."""
    return Wallet.objects.get_or_create(organization=organization)[0]


def freeze(organization: Organization, *, reason: str) -> bool:
    """Admit nothing new until this reason is lifted. Returns False if the wallet was frozen for it already.

    Work that runs is still settled. reason: what the freeze is about, for example "dispute:<id>" or "operator".
    """
    if reason == DEBT:
        raise ValueError("A debt is the ledger's own reason.")
    with transaction.atomic():
        return add_freeze(locked(wallet_of(organization).pk), reason=reason)


def thaw(organization: Organization, *, reason: str) -> bool:
    """Lift one reason. Returns False if the wallet was not frozen for it. Other reasons, and a debt, keep it frozen.

    When the last reason is lifted, the time until expiry starts again: while the wallet was frozen, the customer could
    not use the balance and was not told that it would expire.
    """
    if reason == DEBT:
        raise ValueError("A debt ends when it is paid.")
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        is_lifted = lift_freeze(wallet, reason=reason)
        if is_lifted and not wallet.is_frozen:
            wallet.last_activity_at = timezone.now()
            wallet.save(update_fields=["last_activity_at"])
    return is_lifted


def has_freeze_beside_debt(wallet: Wallet) -> bool:
    """Return whether the wallet would stay frozen if its debt were paid: for a dispute, or by an operator."""
    return wallet.freezes.filter(lifted_at=None).exclude(reason=DEBT).exists()


def set_monthly_limit(organization: Organization, *, limit_micros: int | None) -> Wallet:
    """Set the maximum that the organization may spend in a calendar month. Zero stops all, None lifts the limit.

    Charges and open holds of this month already count towards it. A temporary raise ends.
    Raises InvalidField for less than zero.
    """
    if limit_micros is not None and limit_micros < 0:
        raise InvalidField("monthly_limit", "The monthly limit cannot be less than zero.")
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        before, wallet.monthly_limit_micros = wallet.monthly_limit_micros, limit_micros
        wallet.raised_limit_micros = wallet.raised_until = None
        wallet.save(update_fields=["monthly_limit_micros", "raised_limit_micros", "raised_until"])
        if before != limit_micros:
            told = f"{audit_log.dollars(before)} → {audit_log.dollars(limit_micros)} a month"
            audit_log.record(organization, AuditAction.LIMIT_SET, told)
    return wallet


def raise_monthly_limit(organization: Organization, *, limit_micros: int, until: datetime) -> Wallet:
    """Raise the monthly limit of an organization until a moment. It ends by itself. Raises InvalidField."""
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        api_keys.check_raise(wallet.monthly_limit_micros, limit_micros=limit_micros, until=until)
        wallet.raised_limit_micros, wallet.raised_until = limit_micros, until
        wallet.save(update_fields=["raised_limit_micros", "raised_until"])
        told = f"{audit_log.dollars(limit_micros)} a month until {until:%Y-%m-%d %H:%M} UTC"
        audit_log.record(organization, AuditAction.LIMIT_SET, told)
    return wallet


def set_low_balance(organization: Organization, *, threshold_micros: int | None) -> Wallet:
    """Set the available amount below which owners get a notice; None for never. Raises InvalidField."""
    if threshold_micros is not None and threshold_micros <= 0:
        raise InvalidField("low_balance", "The threshold must be more than zero.")
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        wallet.low_balance_micros = threshold_micros
        # Owners of a wallet that is below the new threshold get a notice, even if they had one for the old threshold.
        wallet.low_since = None
        save(wallet, "low_balance_micros", now=timezone.now())
    return wallet


# --- For the ledger alone --------------------------------------------------------------------------------------------


def locked(wallet_id: int) -> Wallet:
    """Lock the wallet until the transaction ends, and return it as it is now."""
    return Wallet.objects.select_for_update(no_key=True).get(pk=wallet_id)


def save(wallet: Wallet, *fields: str, now: datetime) -> None:
    """Save the fields of a locked wallet, and since when it is below its threshold."""
    is_low = wallet.low_balance_micros is not None and wallet.available_micros < wallet.low_balance_micros
    if is_low != (wallet.low_since is not None):
        wallet.low_since = now if is_low else None
    wallet.save(update_fields=[*fields, "low_since"])


def pay_debt(wallet: Wallet) -> None:
    """Lift the ledger's own freeze of a locked wallet if nothing is owed any more. Saves the wallet."""
    if wallet.is_frozen and wallet.available_micros >= 0:
        lift_freeze(wallet, reason=DEBT)


def add_freeze(wallet: Wallet, *, reason: str) -> bool:
    """Freeze a locked wallet for one more reason. Returns False if it is frozen for this reason already."""
    if not Freeze.objects.get_or_create(wallet=wallet, reason=reason, lifted_at=None)[1]:
        return False
    if wallet.frozen_at is None:
        wallet.frozen_at = timezone.now()
        wallet.save(update_fields=["frozen_at"])
    return True


def lift_freeze(wallet: Wallet, *, reason: str) -> bool:
    """Lift one reason of a locked wallet. Returns False if it was not frozen for it."""
    standing = wallet.freezes.filter(lifted_at=None)
    if not standing.filter(reason=reason).update(lifted_at=timezone.now()):
        return False
    if not standing.exists():
        wallet.frozen_at = None
        wallet.save(update_fields=["frozen_at"])
    return True
