"""Promises: money is set aside before work begins, charged when it succeeds, given back when it does not."""

from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing import months
from billing.ledger import errors, fast_path, monthly_spend, wallets
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet


def reserve(organization: Organization, *, amount_micros: int, reference: str, api_key: ApiKey | None = None) -> Hold:
    """Set money aside for work that is about to begin. Returns the hold, or the open one made earlier.

    amount_micros: zero is allowed, and admits even an empty wallet. api_key: who asks; its monthly limit counts, and
        the charge will name it.
    Raises PaymentRequired when less is available, its kinds WalletFrozen and SpendLimitReached, HoldSettled or
    HoldReleased when the work of this reference has ended, ReferenceReused when its open hold is smaller or another
    organization's.
    """
    return reserve_up_to(
        organization,
        at_least_micros=amount_micros,
        at_most_micros=amount_micros,
        reference=reference,
        api_key=api_key,
    )


def reserve_up_to(
    organization: Organization,
    *,
    at_least_micros: int,
    at_most_micros: int,
    reference: str,
    api_key: ApiKey | None = None,
) -> Hold:
    """Set aside as much as the balance and the limits allow between two amounts. Returns the hold, as `reserve`.

    Raises as `reserve`, for want of at_least_micros.
    """
    validate_request(organization, at_least_micros=at_least_micros, at_most_micros=at_most_micros, api_key=api_key)
    now = timezone.now()
    hold = build_hold(reference, amount_micros=at_most_micros, api_key=api_key, now=now)
    try:
        try:
            fast_path.reserve([hold], organization_id=organization.pk)
        except (IntegrityError, fast_path.FastPathUnavailable):
            hold.pk, hold.wallet_id = None, wallets.wallet_of(organization).pk
            with transaction.atomic():
                hold.amount_micros = _reserve_locked(
                    hold, at_least_micros=at_least_micros, at_most_micros=at_most_micros, now=now
                )
                hold.save(force_insert=True)
    except (IntegrityError, PaymentRequired):
        # Perhaps the same was asked before, even a moment ago, and it is that hold which has the money.
        earlier = Hold.objects.filter(reference=reference).first()
        if earlier is None:
            raise
        _must_be_open(earlier)
        # More than asked is right: the hold was extended since.
        if earlier.wallet_id != hold.wallet_id or earlier.amount_micros < at_least_micros:
            raise errors.ReferenceReused from None
        return earlier
    return hold


def require(organization: Organization, *, amount_micros: int) -> None:
    """Raise PaymentRequired when less than that is available: before work that a hold can only follow.

    Promises nothing and locks nothing; `reserve` decides, and it alone knows the limits.
    """
    wallet = Wallet.objects.of(organization).first() or Wallet()
    if wallet.is_frozen:
        raise _frozen(wallet, required_micros=amount_micros)
    if wallet.available_micros < amount_micros:
        raise errors.shortfall(required_micros=amount_micros, available_micros=wallet.available_micros)


def extend(hold: Hold, *, to_micros: int) -> Hold:
    """Let a hold grow to an amount; one that is as large already stays as it is.

    Raises PaymentRequired and its kinds (for the difference, the hold staying as it was), HoldSettled, HoldReleased.
    """
    with transaction.atomic():
        _lock(hold)
        _must_be_open(hold)
        difference_micros = to_micros - hold.amount_micros
        if difference_micros > 0:
            _reserve_locked(
                hold, at_least_micros=difference_micros, at_most_micros=difference_micros, now=timezone.now()
            )
            hold.amount_micros = to_micros
            hold.save(update_fields=["amount_micros"])
    return hold


def extend_as_far_as_possible(hold: Hold, *, to_micros: int) -> Hold:
    """Let a hold grow to an amount, or as far as the balance and the limits allow if that is less.

    Raises HoldSettled, HoldReleased.
    """
    with transaction.atomic():
        wallet = _lock(hold)
        _must_be_open(hold)
        difference_micros = to_micros - hold.amount_micros
        # A frozen wallet lets nothing grow, but what runs may end.
        if difference_micros > 0 and not wallet.is_frozen:
            hold.amount_micros += _reserve_locked(
                hold, at_least_micros=0, at_most_micros=difference_micros, now=timezone.now()
            )
            hold.save(update_fields=["amount_micros"])
    return hold


def settle(
    hold: Hold,
    *,
    actual_micros: int,
    description: str = "",
    details: Mapping[str, object] | None = None,
) -> Entry | None:
    """Replace a hold by the amount really used.

    actual_micros: final price; more than the hold is cut to the hold (`extend` it first), and the full price is then
        kept in the entry's details as "uncut_micros".
    details: what usage charts need, JSON values: model, duration_ms ... "api_key_id" is the hold's unless given.
    Returns the usage entry, whose reference is the hold's, or None if the price is zero or the same was settled before.
    Raises HoldReleased if the hold was given back, HoldSettled if it was settled with another amount.
    Locks the wallet; call it outside network waits.
    """
    if actual_micros < 0:
        raise ValueError(f"A price cannot be negative: {actual_micros}.")
    now = timezone.now()
    charged_micros = min(actual_micros, hold.amount_micros)
    if charged_micros == 0:
        return _settle_under_lock(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    entry = build_usage_entry(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    try:
        fast_path.settle([(hold, entry)], now=now)
    except (IntegrityError, fast_path.FastPathUnavailable):
        return _settle_under_lock(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    return entry


def release(hold: Hold) -> bool:
    """Give a hold back. Returns False if it was given back before. Raises HoldSettled if it was charged."""
    with transaction.atomic():
        wallet = _lock(hold)
        if hold.state == HoldState.RELEASED:
            return False
        _must_be_open(hold)
        _close(hold, wallet=wallet, state=HoldState.RELEASED, charged_micros=None, now=timezone.now())
    return True


def _settle_under_lock(
    hold: Hold,
    *,
    actual_micros: int,
    description: str,
    details: Mapping[str, object] | None,
    now: datetime,
) -> Entry | None:
    """Settle whatever state the hold and the wallet are in. As `settle`."""
    with transaction.atomic():
        wallet = _lock(hold)
        charged_micros = min(actual_micros, hold.amount_micros)
        if hold.state == HoldState.SETTLED:
            if hold.charged_micros != charged_micros:
                raise errors.HoldSettled
            return None
        _must_be_open(hold)
        wallet.last_activity_at = now
        _close(hold, wallet=wallet, state=HoldState.SETTLED, charged_micros=charged_micros, now=now)
        if charged_micros == 0:
            return None
        entry = build_usage_entry(hold, actual_micros=actual_micros, description=description, details=details, now=now)
        entry.balance_after_micros = wallet.balance_micros
        entry.save(force_insert=True)
        return entry


def validate_request(
    organization: Organization, *, at_least_micros: int, at_most_micros: int, api_key: ApiKey | None
) -> None:
    """Raise ValueError for a hold that nobody may ask for. For the ledger alone."""
    if not 0 <= at_least_micros <= at_most_micros:
        raise ValueError(f"A hold cannot be negative, nor its bounds crossed: {at_least_micros} to {at_most_micros}.")
    if api_key is not None and api_key.organization_id != organization.pk:
        raise ValueError("The key belongs to another organization.")


def build_hold(reference: str, *, amount_micros: int, api_key: ApiKey | None, now: datetime) -> Hold:
    """Return a hold, not written yet and without its wallet. For the ledger alone."""
    return Hold(
        reference=reference, amount_micros=amount_micros, api_key=api_key, month=months.month_of(now), created_at=now
    )


def build_usage_entry(
    hold: Hold,
    *,
    actual_micros: int,
    description: str,
    details: Mapping[str, object] | None,
    now: datetime,
) -> Entry:
    """Return the line of a charge, not written yet and without its balance. For the ledger alone."""
    charged_micros = min(actual_micros, hold.amount_micros)
    details = dict(details or {})
    if hold.api_key_id is not None:
        details.setdefault("api_key_id", str(hold.api_key_id))
    if charged_micros < actual_micros:
        details["uncut_micros"] = actual_micros
    return Entry(
        wallet_id=hold.wallet_id,
        kind=EntryKind.USAGE,
        reference=hold.reference,
        amount_micros=-charged_micros,
        description=description[:300],
        details=details,
        created_at=now,
    )


def _frozen(wallet: Wallet, *, required_micros: int) -> errors.WalletFrozen:
    return errors.frozen(
        required_micros=required_micros,
        debt_micros=max(0, -wallet.available_micros),
        is_debt_alone=not wallets.has_freeze_beside_debt(wallet),
    )


def _reserve_locked(hold: Hold, *, at_least_micros: int, at_most_micros: int, now: datetime) -> int:
    """Set aside under the lock, where a refusal names figures that are true together. Returns how much.

    Raises PaymentRequired, WalletFrozen, SpendLimitReached.
    """
    wallet = wallets.locked(hold.wallet_id)
    if wallet.is_frozen:
        raise _frozen(wallet, required_micros=at_least_micros)
    if wallet.available_micros < at_least_micros:
        raise errors.shortfall(required_micros=at_least_micros, available_micros=wallet.available_micros)
    amount_micros = min(at_most_micros, wallet.available_micros)
    for headroom in monthly_spend.limit_headrooms(wallet, api_key_id=hold.api_key_id, month=hold.month):
        if headroom.left_micros < at_least_micros:
            raise errors.limit_reached(
                limit=headroom.limit,
                limit_micros=headroom.limit_micros,
                left_micros=headroom.left_micros,
                required_micros=at_least_micros,
                month=hold.month,
            )
        amount_micros = min(amount_micros, headroom.left_micros)
    monthly_spend.adjust(wallet, api_key_id=hold.api_key_id, month=hold.month, by_micros=amount_micros)
    wallet.held_micros += amount_micros
    wallet.last_activity_at = now
    wallets.save(wallet, "held_micros", "last_activity_at", now=now)
    return amount_micros


def _lock(hold: Hold) -> Wallet:
    """Lock the hold's wallet and then the hold, which is read again in place."""
    wallet = wallets.locked(hold.wallet_id)
    hold.refresh_from_db(from_queryset=Hold.objects.select_for_update(no_key=True))
    assert hold.wallet_id == wallet.pk, "a hold never changes its wallet"
    return wallet


def _close(hold: Hold, *, wallet: Wallet, state: HoldState, charged_micros: int | None, now: datetime) -> None:
    hold.state = state
    hold.charged_micros = charged_micros
    hold.closed_at = now
    hold.save(update_fields=["state", "charged_micros", "closed_at"])
    monthly_spend.adjust(
        wallet, api_key_id=hold.api_key_id, month=hold.month, by_micros=(charged_micros or 0) - hold.amount_micros
    )
    wallet.held_micros -= hold.amount_micros
    wallet.balance_micros -= charged_micros or 0
    wallets.save(wallet, "held_micros", "balance_micros", "last_activity_at", now=now)
    wallets.pay_debt(wallet)


def _must_be_open(hold: Hold) -> None:
    if hold.state == HoldState.SETTLED:
        raise errors.HoldSettled
    if hold.state == HoldState.RELEASED:
        raise errors.HoldReleased
