"""Holds: money is reserved before work begins, charged when the work succeeds, released when it does not.

This module has the rule of admission for every case, under the wallet's lock. `reserve` and `settle` try the fast path
first, which has the usual case of the same rule in SQL.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing import months
from billing.ledger import errors, fast_path, monthly_spend, token_spend, wallets
from billing.ledger.monthly_spend import LimitHeadroom
from billing.models import Entry, EntryKind, Hold, HoldState, Wallet

MAX_DESCRIPTION_LENGTH = 300


def reserve(organization: Organization, *, amount_micros: int, reference: str, api_key: ApiKey | None = None) -> Hold:
    """Reserve money for work that is about to begin. Returns the hold, or the open one made earlier.

    amount_micros: zero is allowed, and admits even an empty wallet.
    api_key: the key that asks. Its monthly limit applies, and the charge will name it. Of a token, the limit of its key
        applies besides its own, and the charge names that key.
    A token is told of its own limit only, and else that the site cannot pay.
    Raises PaymentRequired if less is available, its subclasses WalletFrozen and SpendLimitReached, HoldSettled or
    HoldReleased if the work of this reference has ended, ReferenceReused if its open hold is smaller or belongs to
    another organization.
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
    """Reserve as much as the balance and the limits allow between two amounts. Returns the hold, as `reserve`.

    Raises as `reserve`, if not even at_least_micros can be reserved.
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
        # The same may have been asked before, even a moment ago: then that earlier hold has the money.
        earlier = Hold.objects.filter(reference=reference).first()
        if earlier is None:
            raise
        _require_open(earlier)
        # A larger hold is fine: it was extended since.
        if earlier.wallet_id != hold.wallet_id or earlier.amount_micros < at_least_micros:
            raise errors.ReferenceReused from None
        return earlier
    return hold


def reservable(
    organization: Organization, *, at_least_micros: int, at_most_micros: int, api_key: ApiKey | None = None
) -> int:
    """Return how much `reserve_up_to` would reserve now, in micro-dollars. Reserves nothing and writes nothing.

    Raises PaymentRequired, WalletFrozen and SpendLimitReached as `reserve_up_to`: it runs that verb and takes it back,
    so the two cannot differ. The wallet is locked meanwhile; call it outside network waits.
    """
    with transaction.atomic():
        hold = reserve_up_to(
            organization,
            at_least_micros=at_least_micros,
            at_most_micros=at_most_micros,
            reference=f"estimate:{uuid.uuid4()}",
            api_key=api_key,
        )
        transaction.set_rollback(True)
    return hold.amount_micros


def require(organization: Organization, *, amount_micros: int, api_key: ApiKey | None = None) -> None:
    """Raise PaymentRequired if less than this amount is available, and SpendLimitReached if less is left of a token.

    For work that comes before a hold can be made, such as storing an upload of unknown length. It reserves nothing,
    locks nothing and looks at no monthly limit: `reserve` decides.
    """
    is_token = api_key is not None and api_key.is_token
    if api_key is not None and is_token:
        month = months.month_of(timezone.now())
        _require_headroom(token_spend.headroom(api_key.pk), required_micros=amount_micros, month=month)
    with _hidden_from_tokens(is_token=is_token):
        _require_available(Wallet.objects.of(organization).first() or Wallet(), required_micros=amount_micros)


def extend(hold: Hold, *, to_micros: int) -> Hold:
    """Raise an open hold to an amount. For work whose length nobody knows when it begins.

    to_micros: the hold's new total, not the difference. A hold that is as large already stays as it is, so a repeated
        or late call changes nothing.
    Returns the same object, with its amount as the database has it.
    Raises PaymentRequired, WalletFrozen or SpendLimitReached if the difference cannot be reserved: the hold then keeps
    its amount and its work may still be settled. Raises HoldSettled or HoldReleased if the work has ended.
    The extension counts for the month in which the hold was made. It is activity, so it postpones expiry.
    Locks the wallet; call it outside network waits.
    """
    with transaction.atomic():
        _lock(hold)
        _require_open(hold)
        difference_micros = to_micros - hold.amount_micros
        if difference_micros > 0:
            _reserve_locked(
                hold, at_least_micros=difference_micros, at_most_micros=difference_micros, now=timezone.now()
            )
            hold.amount_micros = to_micros
            hold.save(update_fields=["amount_micros"])
    return hold


def extend_as_far_as_possible(hold: Hold, *, to_micros: int) -> Hold:
    """Raise an open hold to an amount, or as far as the balance and the limits allow. Returns it, as `extend`.

    In a frozen wallet the hold keeps its amount.
    Raises HoldSettled or HoldReleased if the work has ended.
    """
    with transaction.atomic():
        wallet = _lock(hold)
        _require_open(hold)
        difference_micros = to_micros - hold.amount_micros
        # A frozen wallet admits nothing new, but work that runs may end.
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

    actual_micros: the final price. More than the hold is cut to the hold (`extend` it first); the entry's details then
        keep the full price as "uncut_micros".
    details: what usage charts need, JSON values: model, duration_ms ... "api_key_id" is the hold's unless given.
    Returns the usage entry, with the hold's reference. Returns None if the price is zero, or if the hold was settled
    for the same amount before.
    Raises HoldReleased if the hold was released, HoldSettled if it was settled for another amount.
    Locks the wallet; call it outside network waits.
    """
    if actual_micros < 0:
        raise ValueError(f"A price cannot be negative: {actual_micros}.")
    now = timezone.now()
    charged_micros = min(actual_micros, hold.amount_micros)
    if charged_micros == 0:
        return _settle_locked(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    entry = build_usage_entry(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    try:
        fast_path.settle([(hold, entry)], now=now)
    except (IntegrityError, fast_path.FastPathUnavailable):
        return _settle_locked(hold, actual_micros=actual_micros, description=description, details=details, now=now)
    return entry


def release(hold: Hold) -> bool:
    """Give the money of a hold back. Returns False if it was released before. Raises HoldSettled if it was charged."""
    with transaction.atomic():
        wallet = _lock(hold)
        if hold.state == HoldState.RELEASED:
            return False
        _require_open(hold)
        _close(hold, wallet=wallet, state=HoldState.RELEASED, charged_micros=None, now=timezone.now())
    return True


def _settle_locked(
    hold: Hold,
    *,
    actual_micros: int,
    description: str,
    details: Mapping[str, object] | None,
    now: datetime,
) -> Entry | None:
    """Settle in any state of the hold and the wallet. As `settle`."""
    with transaction.atomic():
        wallet = _lock(hold)
        charged_micros = min(actual_micros, hold.amount_micros)
        if hold.state == HoldState.SETTLED:
            if hold.charged_micros != charged_micros:
                raise errors.HoldSettled
            return None
        _require_open(hold)
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
    """Raise ValueError for a hold that no caller may ask for. For the ledger alone."""
    if not 0 <= at_least_micros <= at_most_micros:
        raise ValueError(f"A hold cannot be negative, nor its bounds crossed: {at_least_micros} to {at_most_micros}.")
    if api_key is not None and api_key.organization_id != organization.pk:
        raise ValueError("The key belongs to another organization.")


def build_hold(reference: str, *, amount_micros: int, api_key: ApiKey | None, now: datetime) -> Hold:
    """Return a hold that is not written yet and has no wallet yet. For the ledger alone."""
    return Hold(
        reference=reference,
        amount_micros=amount_micros,
        api_key_id=api_key.charged_key_id if api_key is not None else None,
        token_id=api_key.pk if api_key is not None and api_key.is_token else None,
        month=months.month_of(now),
        created_at=now,
    )


def build_usage_entry(
    hold: Hold,
    *,
    actual_micros: int,
    description: str,
    details: Mapping[str, object] | None,
    now: datetime,
) -> Entry:
    """Return the entry of a charge, not written yet and without the balance after it. For the ledger alone."""
    charged_micros = min(actual_micros, hold.amount_micros)
    details = usage_details(hold, details)
    if charged_micros < actual_micros:
        details["uncut_micros"] = actual_micros
    return Entry(
        wallet_id=hold.wallet_id,
        kind=EntryKind.USAGE,
        reference=hold.reference,
        amount_micros=-charged_micros,
        description=description[:MAX_DESCRIPTION_LENGTH],
        details=details,
        created_at=now,
    )


def usage_details(hold: Hold, details: Mapping[str, object] | None) -> dict[str, object]:
    """Return the details of a charge, with the key of its hold unless they name one. For the ledger alone."""
    filled = dict(details or {})
    if hold.api_key_id is not None:
        filled.setdefault("api_key_id", str(hold.api_key_id))
    if hold.token_id is not None:
        filled["token_id"] = str(hold.token_id)
    return filled


@contextmanager
def _hidden_from_tokens(*, is_token: bool) -> Iterator[None]:
    """Turn every PaymentRequired of the block into one that says nothing of the wallet, if a token asks."""
    try:
        yield
    except PaymentRequired:
        if not is_token:
            raise
        raise errors.hidden_from_token() from None


def _require_available(wallet: Wallet, *, required_micros: int) -> None:
    if wallet.is_frozen:
        raise errors.frozen(
            required_micros=required_micros,
            debt_micros=max(0, -wallet.available_micros),
            is_debt_alone=not wallets.has_freeze_beside_debt(wallet),
        )
    if wallet.available_micros < required_micros:
        raise errors.shortfall(required_micros=required_micros, available_micros=wallet.available_micros)


def _require_headroom(headroom: LimitHeadroom, *, required_micros: int, month: date) -> None:
    if headroom.left_micros < required_micros:
        raise errors.limit_reached(
            limit=headroom.limit,
            limit_micros=headroom.limit_micros,
            left_micros=headroom.left_micros,
            required_micros=required_micros,
            month=month,
        )


def _reserve_locked(hold: Hold, *, at_least_micros: int, at_most_micros: int, now: datetime) -> int:
    """Lock the hold's wallet and reserve as much as it allows between two amounts. Returns how much.

    Under the lock, the figures that a refusal names are all of one moment.
    Raises PaymentRequired, WalletFrozen, SpendLimitReached.
    """
    wallet = wallets.locked(hold.wallet_id)
    # First, so that a token learns nothing about sums beyond its own limit.
    for headroom in token_spend.limit_headrooms(hold):
        _require_headroom(headroom, required_micros=at_least_micros, month=hold.month)
        at_most_micros = min(at_most_micros, headroom.left_micros)
    with _hidden_from_tokens(is_token=hold.token_id is not None):
        _require_available(wallet, required_micros=at_least_micros)
        amount_micros = min(at_most_micros, wallet.available_micros)
        for headroom in monthly_spend.limit_headrooms(wallet, api_key_id=hold.api_key_id, month=hold.month):
            _require_headroom(headroom, required_micros=at_least_micros, month=hold.month)
            amount_micros = min(amount_micros, headroom.left_micros)
    monthly_spend.adjust(wallet, api_key_id=hold.api_key_id, month=hold.month, by_micros=amount_micros)
    token_spend.adjust(hold, by_micros=amount_micros)
    wallet.held_micros += amount_micros
    wallet.last_activity_at = now
    wallets.save(wallet, "held_micros", "last_activity_at", now=now)
    return amount_micros


def _lock(hold: Hold) -> Wallet:
    """Lock the hold's wallet, then the hold, and read the hold again in place. Raises HoldLost."""
    wallet = wallets.locked(hold.wallet_id)
    # After a crash of the server, the number of a lost hold may be another hold's.
    same = Hold.objects.select_for_update(no_key=True).filter(reference=hold.reference)
    try:
        hold.refresh_from_db(from_queryset=same)
    except Hold.DoesNotExist as error:
        raise errors.HoldLost from error
    assert hold.wallet_id == wallet.pk, "a hold never changes its wallet"
    return wallet


def _close(hold: Hold, *, wallet: Wallet, state: HoldState, charged_micros: int | None, now: datetime) -> None:
    hold.state = state
    hold.charged_micros = charged_micros
    hold.closed_at = now
    hold.save(update_fields=["state", "charged_micros", "closed_at"])
    by_micros = (charged_micros or 0) - hold.amount_micros
    monthly_spend.adjust(wallet, api_key_id=hold.api_key_id, month=hold.month, by_micros=by_micros)
    token_spend.adjust(hold, by_micros=by_micros)
    wallet.held_micros -= hold.amount_micros
    wallet.balance_micros -= charged_micros or 0
    wallets.save(wallet, "held_micros", "balance_micros", "last_activity_at", now=now)
    wallets.pay_debt(wallet)


def _require_open(hold: Hold) -> None:
    if hold.state == HoldState.SETTLED:
        raise errors.HoldSettled
    if hold.state == HoldState.RELEASED:
        raise errors.HoldReleased
