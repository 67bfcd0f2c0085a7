"""Many holds or charges of one wallet in one call, for work that is batched before it is written.

Each verb tries the fast path for all of them together. If that is not available it does one after another by the verbs
of `holds`, which handle every case. A refusal is the result of its own item and stops no other.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing.ledger import errors, fast_path, holds
from billing.models import Entry, Hold

Refusal = PaymentRequired | errors.ReferenceReused | errors.HoldReleased | errors.HoldSettled | errors.HoldLost
REFUSALS = (PaymentRequired, errors.ReferenceReused, errors.HoldReleased, errors.HoldSettled, errors.HoldLost)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A hold that is asked for. The fields are those of `reserve_up_to`."""

    at_least_micros: int
    at_most_micros: int
    reference: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A hold that ends. The fields are those of `settle`; a price of zero releases the hold."""

    hold: Hold
    actual_micros: int
    description: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def reserve_each(
    organization: Organization, requests: Sequence[HoldRequest], *, api_key: ApiKey | None = None
) -> list[Hold | Refusal]:
    """Reserve money for each request. Returns for each its hold, or why it was refused.

    If the balance and the limits cover at_most_micros of all requests, each gets that. Else they are served one after
    another, each as by `reserve_up_to`.
    """
    for request in requests:
        holds.validate_request(
            organization,
            at_least_micros=request.at_least_micros,
            at_most_micros=request.at_most_micros,
            api_key=api_key,
        )
    # For one alone, `reserve_up_to` tries the fast path.
    if len(requests) > 1:
        now = timezone.now()
        together = [
            holds.build_hold(request.reference, amount_micros=request.at_most_micros, api_key=api_key, now=now)
            for request in requests
        ]
        try:
            fast_path.reserve(together, organization_id=organization.pk)
        except (IntegrityError, fast_path.FastPathUnavailable):
            pass
        else:
            return list(together)
    return [_reserve_one(organization, request, api_key=api_key) for request in requests]


def settle_each(charges: Sequence[Charge]) -> list[Entry | Refusal | None]:
    """End holds of one wallet, each for the price of its work or for as much of it as the balance covers.

    Returns for each charge one of:
    * its usage entry,
    * None if nothing could be charged and the hold was released,
    * HoldReleased or HoldSettled if it had ended before, also if it was settled for this same price,
    * HoldLost if a crash of the database server has lost it.

    All are written together if
    * all holds are of one month and one key, and
    * each price is more than zero and at most its hold.
    Else they are settled one after another.
    """
    if len({charge.hold.wallet_id for charge in charges}) > 1:
        # One after another they would lock several wallets, in any order.
        raise ValueError("These holds are not of one wallet.")
    if any(charge.actual_micros < 0 for charge in charges):
        raise ValueError("A price cannot be negative.")
    is_within_holds = all(0 < charge.actual_micros <= charge.hold.amount_micros for charge in charges)
    if is_within_holds and len({(charge.hold.api_key_id, charge.hold.month) for charge in charges}) == 1:
        now = timezone.now()
        pairs = [
            (
                charge.hold,
                holds.build_usage_entry(
                    charge.hold,
                    actual_micros=charge.actual_micros,
                    description=charge.description,
                    details=charge.details,
                    now=now,
                ),
            )
            for charge in charges
        ]
        try:
            fast_path.settle(pairs, now=now)
        except (IntegrityError, fast_path.FastPathUnavailable):
            pass
        else:
            return [entry for _, entry in pairs]
    return [_settle_one(charge) for charge in charges]


def _reserve_one(organization: Organization, request: HoldRequest, *, api_key: ApiKey | None) -> Hold | Refusal:
    try:
        return holds.reserve_up_to(
            organization,
            at_least_micros=request.at_least_micros,
            at_most_micros=request.at_most_micros,
            reference=request.reference,
            api_key=api_key,
        )
    except REFUSALS as refusal:
        return refusal


def _settle_one(charge: Charge) -> Entry | Refusal | None:
    # A copy: if the transaction around this is rolled back and tried again, the caller's hold must not say that it was
    # extended.
    hold = copy.copy(charge.hold)
    # One transaction: if the charge is refused, the hold is not extended either.
    try:
        with transaction.atomic():
            if charge.actual_micros > hold.amount_micros:
                holds.extend_as_far_as_possible(hold, to_micros=charge.actual_micros)
            entry = None
            if min(charge.actual_micros, hold.amount_micros) > 0:
                entry = holds.settle(
                    hold,
                    actual_micros=charge.actual_micros,
                    description=charge.description,
                    details=charge.details,
                )
            # Without an entry, either nothing could be charged or the hold had been settled before.
            if entry is None and not holds.release(hold):
                raise errors.HoldReleased
            return entry
    except REFUSALS as refusal:
        return refusal
