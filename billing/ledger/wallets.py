"""The one row of each organization: made, locked, written; frozen and thawed; its own limit and threshold."""

from datetime import datetime

from django.db import transaction
from django.utils import timezone

from accounts.errors import InvalidField
from accounts.models import Organization
from billing.models import Freeze, Wallet

# The freeze that the ledger sets when less than nothing is available, and lifts when the debt is paid.
DEBT = "debt"


def wallet_of(organization: Organization) -> Wallet:
    """Return the organization's wallet, made on first need."""
    return Wallet.objects.get_or_create(organization=organization)[0]


def freeze(organization: Organization, *, reason: str) -> bool:
    """Admit nothing new until this reason is lifted. Returns False if it was frozen for this reason already.

    What runs is still settled. reason: what it is about, for example "dispute:<id>" or "operator".
    """
    if reason == DEBT:
        raise ValueError("A debt is the ledger's own reason.")
    with transaction.atomic():
        return add_freeze(locked(wallet_of(organization).pk), reason=reason)


def thaw(organization: Organization, *, reason: str) -> bool:
    """Lift one reason. Returns False if it was not frozen for it. Other reasons, and a debt, keep it frozen.

    Once none is left, the time until expiry begins anew: nobody could use the balance, nor was told that it would end.
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
    """Set the most that the organization may spend in a calendar month; zero stops all, None lifts the limit.

    What was spent and what is held this month counts. Raises InvalidField for less than zero.
    """
    if limit_micros is not None and limit_micros < 0:
        raise InvalidField("monthly_limit", "The monthly limit cannot be less than zero.")
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        wallet.monthly_limit_micros = limit_micros
        wallet.save(update_fields=["monthly_limit_micros"])
    return wallet


def set_low_balance(organization: Organization, *, threshold_micros: int | None) -> Wallet:
    """Set below which amount the owners are told that little is left; None for never. Raises InvalidField."""
    if threshold_micros is not None and threshold_micros <= 0:
        raise InvalidField("low_balance", "The threshold must be more than zero.")
    with transaction.atomic():
        wallet = locked(wallet_of(organization).pk)
        wallet.low_balance_micros = threshold_micros
        # Another threshold is another question: who is below it is told, also if they were told of the last one.
        wallet.low_since = None
        save(wallet, "low_balance_micros", now=timezone.now())
    return wallet


# --- For the ledger alone --------------------------------------------------------------------------------------------


def locked(wallet_id: int) -> Wallet:
    """Return the wallet as it is now, kept so until the transaction ends."""
    return Wallet.objects.select_for_update(no_key=True).get(pk=wallet_id)


def save(wallet: Wallet, *fields: str, now: datetime) -> None:
    """Write the fields of a locked wallet, and whether little is left in it."""
    is_low = wallet.low_balance_micros is not None and wallet.available_micros < wallet.low_balance_micros
    if is_low != (wallet.low_since is not None):
        wallet.low_since = now if is_low else None
    wallet.save(update_fields=[*fields, "low_since"])


def pay_debt(wallet: Wallet) -> None:
    """Lift the ledger's own freeze of a locked wallet once nothing is owed any more. Saved by itself."""
    if wallet.is_frozen and wallet.available_micros >= 0:
        lift_freeze(wallet, reason=DEBT)


def add_freeze(wallet: Wallet, *, reason: str) -> bool:
    """Freeze a locked wallet for one more reason. Returns False if it is frozen for this one already."""
    if not Freeze.objects.get_or_create(wallet=wallet, reason=reason, lifted_at=None)[1]:
        return False
    if wallet.frozen_at is None:
        wallet.frozen_at = timezone.now()
        wallet.save(update_fields=["frozen_at"])
    return True


def lift_freeze(wallet: Wallet, *, reason: str) -> bool:
    """Lift one reason of a locked wallet. Returns False if there was none."""
    standing = wallet.freezes.filter(lifted_at=None)
    if not standing.filter(reason=reason).update(lifted_at=timezone.now()):
        return False
    if not standing.exists():
        wallet.frozen_at = None
        wallet.save(update_fields=["frozen_at"])
    return True
