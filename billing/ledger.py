"""The only writer of wallets, entries and holds.

Every verb is atomic, may be called inside a wider transaction, and has an idempotency key: the `reference` of the
business fact ("topup:<id>", "job:<id>"). Each changes one wallet and takes its locks in one order, wallet before hold,
so verbs on one organization cannot block each other for good; a transaction that changes two organizations' wallets
must itself take them in the order of their ids.

The lock is PostgreSQL's `FOR NO KEY UPDATE`: a plain `FOR UPDATE` also waits for those who merely insert a row that
points to the wallet, and two transactions that both did so before would wait for each other. SQLite has no row locks:
`transaction_mode` IMMEDIATE (settings) lets one writer in at a time, which serves as well.
"""

from collections.abc import Mapping

from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.utils import timezone

from accounts.errors import Conflict, PaymentRequired
from accounts.models import Organization
from billing import money
from billing.models import INCOMING_KINDS, Entry, EntryKind, Hold, HoldState, Wallet


class ReferenceReused(Conflict):
    """The reference was used before for something else: another amount or another organization."""

    default_message = "This reference was used before for something else."


class HoldReleased(Conflict):
    """The hold was given back, so nothing can be charged against it."""

    default_message = "The amount that was set aside has been given back."


class HoldSettled(Conflict):
    """The hold was charged, so it can neither be given back nor charged otherwise."""

    default_message = "The amount that was set aside has been charged."


def wallet_of(organization: Organization) -> Wallet:
    """Return the organization's wallet, made on first need."""
    return Wallet.objects.get_or_create(organization=organization)[0]


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

    kind: one of INCOMING_KINDS. amount_micros: more than zero.
    Raises ReferenceReused if the earlier entry has another amount or belongs to another organization.
    """
    if kind not in INCOMING_KINDS:
        raise ValueError(f"{kind} does not bring money.")
    if amount_micros <= 0:
        raise ValueError(f"A credit must be more than zero, not {amount_micros}.")
    with transaction.atomic():
        wallet = _locked(wallet_of(organization).pk)
        try:
            # The inner savepoint keeps the wider transaction usable when the reference exists.
            with transaction.atomic():
                wallet.balance_micros += amount_micros
                wallet.save(update_fields=["balance_micros"])
                return _append(
                    wallet,
                    kind=kind,
                    reference=reference,
                    amount_micros=amount_micros,
                    description=description,
                    details=details,
                )
        except IntegrityError:
            earlier = Entry.objects.filter(kind=kind, reference=reference).first()
            if earlier is None:
                raise
        if earlier.wallet_id != wallet.pk or earlier.amount_micros != amount_micros:
            raise ReferenceReused
        return earlier


def reserve(organization: Organization, *, amount_micros: int, reference: str) -> Hold:
    """Set money aside for work that is about to begin. Returns the hold, or the open one made earlier.

    amount_micros: zero is allowed, and admits even an empty wallet.
    Raises PaymentRequired when less is available, HoldSettled or HoldReleased when the work of this reference has
    ended, ReferenceReused when its open hold is smaller or another organization's.
    """
    if amount_micros < 0:
        raise ValueError(f"A hold cannot be negative: {amount_micros}.")
    with transaction.atomic():
        wallet = wallet_of(organization)
        try:
            with transaction.atomic():
                _set_aside(wallet.pk, amount_micros)
                return Hold.objects.create(wallet=wallet, reference=reference, amount_micros=amount_micros)
        except (IntegrityError, PaymentRequired):
            # Perhaps the same was asked before, even a moment ago, and it is that hold which has the money.
            earlier = Hold.objects.filter(reference=reference).first()
            if earlier is None:
                raise
        _must_be_open(earlier)
        # More than asked is right: the hold was extended since.
        if earlier.wallet_id != wallet.pk or earlier.amount_micros < amount_micros:
            raise ReferenceReused
        return earlier


def extend(hold: Hold, *, to_micros: int) -> Hold:
    """Let a hold grow to an amount; one that is as large already stays as it is.

    Raises PaymentRequired (for the difference, the hold staying as it was), HoldSettled, HoldReleased.
    """
    with transaction.atomic():
        _lock(hold)
        _must_be_open(hold)
        difference_micros = to_micros - hold.amount_micros
        if difference_micros > 0:
            _set_aside(hold.wallet_id, difference_micros)
            hold.amount_micros = to_micros
            hold.save(update_fields=["amount_micros"])
    return hold


def extend_as_far_as_possible(hold: Hold, *, to_micros: int) -> Hold:
    """Let a hold grow to an amount, or to all that is available if that is less.

    Raises HoldSettled, HoldReleased.
    """
    with transaction.atomic():
        # Under the wallet's lock what is available cannot change between the look and the deed.
        wallet = _lock(hold)
        return extend(hold, to_micros=min(to_micros, hold.amount_micros + max(0, wallet.available_micros)))


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
    details: what usage charts need, JSON values: api_key_id, model, duration_ms ...
    Returns the usage entry, whose reference is the hold's, or None if the price is zero or the same was settled before.
    Raises HoldReleased if the hold was given back, HoldSettled if it was settled with another amount.
    Locks the wallet; call it outside network waits.
    """
    if actual_micros < 0:
        raise ValueError(f"A price cannot be negative: {actual_micros}.")
    with transaction.atomic():
        wallet = _lock(hold)
        charged_micros = min(actual_micros, hold.amount_micros)
        if hold.state == HoldState.SETTLED:
            if _settled_micros(hold) != charged_micros:
                raise HoldSettled
            return None
        _must_be_open(hold)
        _close(hold, wallet=wallet, state=HoldState.SETTLED, charged_micros=charged_micros)
        if charged_micros == 0:
            return None
        if charged_micros < actual_micros:
            details = {**(details or {}), "uncut_micros": actual_micros}
        return _append(
            wallet,
            kind=EntryKind.USAGE,
            reference=hold.reference,
            amount_micros=-charged_micros,
            description=description,
            details=details,
        )


def release(hold: Hold) -> bool:
    """Give a hold back. Returns False if it was given back before. Raises HoldSettled if it was charged."""
    with transaction.atomic():
        wallet = _lock(hold)
        if hold.state == HoldState.RELEASED:
            return False
        _must_be_open(hold)
        _close(hold, wallet=wallet, state=HoldState.RELEASED, charged_micros=0)
    return True


def verify(wallet: Wallet) -> list[str]:
    """Return one sentence for each way in which the wallet disagrees with its book; none if all is well."""
    faults = []
    with transaction.atomic():
        wallet = _locked(wallet.pk)
        balance_micros = 0
        for entry in wallet.entries.order_by("id").iterator():
            balance_micros += entry.amount_micros
            if entry.balance_after_micros != balance_micros:
                faults.append(
                    f"Entry {entry.pk} says {entry.balance_after_micros} after it; the sum is {balance_micros}."
                )
        held_micros = wallet.holds.open().aggregate(sum=Sum("amount_micros"))["sum"] or 0
    if wallet.balance_micros != balance_micros:
        faults.append(f"The balance is {wallet.balance_micros}; the entries sum to {balance_micros}.")
    if wallet.held_micros != held_micros:
        faults.append(f"Held is {wallet.held_micros}; the open holds sum to {held_micros}.")
    if wallet.available_micros < 0:
        faults.append(f"More is held than there is: {wallet.held_micros} of {wallet.balance_micros}.")
    return faults


def _set_aside(wallet_id: int, amount_micros: int) -> None:
    """Admit or refuse in one conditional UPDATE: there is no moment between the question and the deed."""
    enough = Wallet.objects.filter(pk=wallet_id, balance_micros__gte=F("held_micros") + amount_micros)
    if enough.update(held_micros=F("held_micros") + amount_micros):
        return
    # Money may have come since; under the lock the refusal names figures that are true together.
    wallet = _locked(wallet_id)
    if wallet.available_micros < amount_micros:
        raise _shortfall(required_micros=amount_micros, available_micros=wallet.available_micros)
    wallet.held_micros += amount_micros
    wallet.save(update_fields=["held_micros"])


def _shortfall(*, required_micros: int, available_micros: int) -> PaymentRequired:
    return PaymentRequired(
        f"This needs {money.display_text(required_micros)}, and {money.display_text(available_micros)} is available: "
        f"{money.display_text(required_micros - available_micros)} is missing. Add funds and try again.",
        required_cents=money.cents_up(required_micros),
        available_cents=money.cents_down(available_micros),
        required_micros=required_micros,
        available_micros=available_micros,
    )


def _locked(wallet_id: int) -> Wallet:
    return Wallet.objects.select_for_update(no_key=True).get(pk=wallet_id)


def _lock(hold: Hold) -> Wallet:
    """Lock the hold's wallet and then the hold, which is read again in place."""
    wallet = _locked(hold.wallet_id)
    hold.refresh_from_db(from_queryset=Hold.objects.select_for_update(no_key=True))
    return wallet


def _close(hold: Hold, *, wallet: Wallet, state: HoldState, charged_micros: int) -> None:
    hold.state = state
    hold.closed_at = timezone.now()
    hold.save(update_fields=["state", "closed_at"])
    wallet.held_micros -= hold.amount_micros
    wallet.balance_micros -= charged_micros
    wallet.save(update_fields=["held_micros", "balance_micros"])


def _append(
    wallet: Wallet,
    *,
    kind: EntryKind,
    reference: str,
    amount_micros: int,
    description: str,
    details: Mapping[str, object] | None,
) -> Entry:
    return Entry.objects.create(
        wallet=wallet,
        kind=kind,
        reference=reference,
        amount_micros=amount_micros,
        balance_after_micros=wallet.balance_micros,
        description=description[:300],
        details=dict(details or {}),
    )


def _settled_micros(hold: Hold) -> int:
    entry = Entry.objects.filter(kind=EntryKind.USAGE, reference=hold.reference).first()
    return -entry.amount_micros if entry else 0


def _must_be_open(hold: Hold) -> None:
    if hold.state == HoldState.SETTLED:
        raise HoldSettled
    if hold.state == HoldState.RELEASED:
        raise HoldReleased
