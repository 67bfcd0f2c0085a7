"""Many holds or charges of one wallet at once: for work that is gathered before it is written.

Each verb does all in one step when that is the usual case, and else one by one, by the verbs of `holds`, which know
every case. So what they mean is said there. A refusal of one is its result and stops no other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.errors import PaymentRequired
from accounts.models import ApiKey, Organization
from billing.ledger import errors, fast_path, holds
from billing.models import Entry, Hold

Refusal = PaymentRequired | errors.ReferenceReused | errors.HoldReleased | errors.HoldSettled
REFUSALS = (PaymentRequired, errors.ReferenceReused, errors.HoldReleased, errors.HoldSettled)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A hold that is asked for. As the arguments of `reserve_up_to`."""

    at_least_micros: int
    at_most_micros: int
    reference: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A hold that ends. As the arguments of `settle`; a price of zero gives the hold back."""

    hold: Hold
    actual_micros: int
    description: str = ""
    details: Mapping[str, object] = field(default_factory=dict)


def reserve_each(
    organization: Organization, requests: Sequence[HoldRequest], *, api_key: ApiKey | None = None
) -> list[Hold | Refusal]:
    """Set money aside for each, as `reserve_up_to`. Returns for each its hold or why it was refused.

    The most of all if there is so much, else one after another, as much as each can have.
    """
    made = _build_holds(organization, requests, api_key=api_key)
    if len(made) > 1:
        try:
            fast_path.reserve(made, organization_id=organization.pk)
        except (IntegrityError, fast_path.FastPathUnavailable):
            pass
        else:
            return list(made)
    return [_reserve_one(organization, each, api_key=api_key) for each in requests]


def reserve_at_once(
    organization: Organization, requests: Sequence[HoldRequest], *, api_key: ApiKey | None = None
) -> list[Hold]:
    """Set the most aside for all, all or none, in a transaction of the caller, who undoes it when this fails.

    Raises FastPathUnavailable: then `reserve_each` knows how much each can have.
    """
    assert connection.in_atomic_block, "what fails here is undone by the caller's transaction"
    made = _build_holds(organization, requests, api_key=api_key)
    try:
        fast_path.reserve(made, organization_id=organization.pk, savepoint=False)
    except IntegrityError as error:
        raise fast_path.FastPathUnavailable from error
    return made


def settle_each(charges: Sequence[Charge]) -> list[Entry | Refusal | None]:
    """End holds of one wallet, each for the price of its work or as much of it as the balance bears.

    Returns for each its entry, None if nothing was charged and it was given back, or HoldReleased or HoldSettled if it
    had ended before, also with this very price. All at once if each is of one month and one key, costs something and
    not more than its hold; else one after another.
    """
    if len({each.hold.wallet_id for each in charges}) > 1:
        # One after another they would be locked in any order.
        raise ValueError("These holds are not of one wallet.")
    if any(each.actual_micros < 0 for each in charges):
        raise ValueError("A price cannot be negative.")
    is_usual = all(0 < each.actual_micros <= each.hold.amount_micros for each in charges)
    if is_usual and len({(each.hold.api_key_id, each.hold.month) for each in charges}) == 1:
        now = timezone.now()
        pairs = [
            (
                each.hold,
                holds.build_usage_entry(
                    each.hold,
                    actual_micros=each.actual_micros,
                    description=each.description,
                    details=each.details,
                    now=now,
                ),
            )
            for each in charges
        ]
        try:
            fast_path.settle(pairs, now=now)
        except (IntegrityError, fast_path.FastPathUnavailable):
            pass
        else:
            return [entry for _, entry in pairs]
    return [_settle_one(each) for each in charges]


def _build_holds(organization: Organization, requests: Sequence[HoldRequest], *, api_key: ApiKey | None) -> list[Hold]:
    """Return holds of the most of each, not written yet."""
    for each in requests:
        holds.validate_request(
            organization,
            at_least_micros=each.at_least_micros,
            at_most_micros=each.at_most_micros,
            api_key=api_key,
        )
    now = timezone.now()
    return [
        holds.build_hold(each.reference, amount_micros=each.at_most_micros, api_key=api_key, now=now)
        for each in requests
    ]


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
    # One step: a hold that was extended for its charge is charged.
    try:
        with transaction.atomic():
            if charge.actual_micros > charge.hold.amount_micros:
                holds.extend_as_far_as_possible(charge.hold, to_micros=charge.actual_micros)
            entry = None
            if min(charge.actual_micros, charge.hold.amount_micros) > 0:
                entry = holds.settle(
                    charge.hold,
                    actual_micros=charge.actual_micros,
                    description=charge.description,
                    details=charge.details,
                )
            # Nothing could be charged, or it was charged before.
            if entry is None and not holds.release(charge.hold):
                raise errors.HoldReleased
            return entry
    except REFUSALS as refusal:
        return refusal
