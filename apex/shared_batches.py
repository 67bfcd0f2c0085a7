"""Admits and ends completions of several organizations, each batch in one statement (docs/decisions/0053).

What does not fit the usual case is `Deferred` to `completions`, which handles every case in batches of one key or
organization. PostgreSQL only. Synchronous; it never waits for the network, and no organization waits for another's
lock.
"""

import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.db import connection

from accounts.errors import InsufficientScope, RateLimited, VoxsiteError
from accounts.gate import caller_cache, key_scopes, limits
from accounts.gate.authentication import Caller
from apex import completion_sql, completions, reservations
from apex.types import Admission, AdmissionRequest, AdmittedCompletion, CompletionResult
from billing import ledger

logger = logging.getLogger(__name__)

# An organization that has reached a limit makes the statement of a whole batch fail. So its requests go alone for a
# while: at most one batch in this time fails because of it.
ALONE_SECONDS = 10.0
# Organizations whose room below the rate limits is remembered.
MAX_ROOM = 10_000

# Admissions and ends of this process take turns: a wallet that one of them has locked would be skipped by the other.
_turn = threading.Lock()
# Until when each organization's requests go alone, by time.monotonic().
_alone_until: dict[uuid.UUID, float] = {}
# How many requests of each organization the rate limits will hardly refuse, as far as this process knows.
_room: dict[uuid.UUID, int] = {}


@dataclass(frozen=True, slots=True)
class Deferred:
    """An admission request that passed the first checks: it is counted, and has its slot.

    check: what they said, with the allowance.
    """

    check: Admission
    organization_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class _Candidate:
    position: int
    request: AdmissionRequest
    caller: Caller
    reservation: reservations.Reservation


def is_available() -> bool:
    """Tell whether this database can do it."""
    return ledger.can_take_many_wallets()


def begin(
    requests: Sequence[AdmissionRequest], *, max_caller_age_seconds: float = caller_cache.MAX_AGE_SECONDS
) -> list[Admission | Deferred]:
    """Admit or refuse requests with any API keys. The checks have the order of `completions.begin`.

    max_caller_age_seconds: how old what is known of a key may be.
    """
    batch = _Batch(requests, *_callers(requests, max_caller_age_seconds=max_caller_age_seconds))
    if not batch.counts:
        return batch.results()
    with limits.Counting(batch.counts, scopes=completions.RATE_SCOPES) as counting:
        # While Redis counts: the connection is needed next, unless all requests are refused. It may be waited for, and
        # a connection to Redis with it, but of each process only one batch does that at a time.
        connection.ensure_connection()
        if all(_room.get(organization_id, 0) > count for organization_id, count in batch.counts.items()):
            # Redis will hardly refuse one. What it refuses all the same is taken back.
            batch.hold_money()
            batch.refuse_by(counting.results())
            batch.take_back()
        else:
            batch.refuse_by(counting.results())
            batch.hold_money()
    return batch.results()


def end(results: Sequence[CompletionResult]) -> list[int | None]:
    """End completions of any organizations. Returns the micro-dollars that each was charged.

    None stands for a completion that is left to `completions.end`.
    """
    usual = [result for result in results if _is_usual(result)]
    charges = [reservations.charge_of(result) for result in usual]
    done: dict[uuid.UUID, int] = {}
    if usual:
        companion = completion_sql.update_companion(usual, charges)
        with _turn:
            are_charged = ledger.settle_for_each(charges, companion=companion)
        done = {
            result.completion.completion_id: charge.actual_micros
            for result, charge, is_charged in zip(usual, charges, are_charged, strict=True)
            if is_charged
        }
    return [done.get(result.completion.completion_id) for result in results]


def _is_usual(result: CompletionResult) -> bool:
    """Tell whether an end is one charge and one row. A charge with tags has rows beside it."""
    completion = result.completion
    return result.billed is not None and completion.claim is None and not completion.tags


def go_alone(organization_id: uuid.UUID) -> None:
    """Keep the requests of an organization out of shared batches for a while, because it has reached a limit."""
    now = time.monotonic()
    for other_id, until in list(_alone_until.items()):
        if until < now:
            _alone_until.pop(other_id, None)
    _alone_until[organization_id] = now + ALONE_SECONDS


def _callers(
    requests: Sequence[AdmissionRequest], *, max_caller_age_seconds: float
) -> tuple[dict[str, Caller], dict[str, VoxsiteError]]:
    """Return the callers by their keys, and why keys are refused. One without the scope is in both: it is counted."""
    callers: dict[str, Caller] = {}
    refused: dict[str, VoxsiteError] = {}
    for key in {request.key: None for request in requests}:
        try:
            callers[key] = caller_cache.authenticate(key, max_age_seconds=max_caller_age_seconds)
            _require_scope(callers[key])
        except InsufficientScope:
            # What is known may be a second old, and the scope given meanwhile.
            try:
                callers[key] = caller_cache.authenticate_anew(key)
                _require_scope(callers[key])
            except VoxsiteError as error:
                refused[key] = error
        except VoxsiteError as error:
            refused[key] = error
    return callers, refused


class _Batch:
    """The requests of one batch on their way through the checks."""

    def __init__(
        self, requests: Sequence[AdmissionRequest], callers: Mapping[str, Caller], refused: Mapping[str, VoxsiteError]
    ) -> None:
        self._requests, self._callers = requests, callers
        # By their positions: why requests are refused, what was held for them, and what is left of their limits.
        self._errors = {
            position: refused[request.key] for position, request in enumerate(requests) if request.key in refused
        }
        self._completions: dict[int, AdmittedCompletion] = {}
        self._allowances: dict[int, limits.Allowance] = {}
        self.counts: dict[uuid.UUID, int] = {}
        for request in requests:
            if request.key in callers:
                organization_id = callers[request.key].organization.pk
                self.counts[organization_id] = self.counts.get(organization_id, 0) + 1

    def refuse_by(self, spent: Mapping[uuid.UUID, Sequence[limits.Allowance | RateLimited]]) -> None:
        """Note what the rate limits say. Their refusal comes before all others but that of a wrong key.

        spent: what `limits.spend_for_each` returns for `counts`.
        """
        each_of = {organization_id: iter(each) for organization_id, each in spent.items()}
        for position, request in enumerate(self._requests):
            if request.key not in self._callers:
                continue
            allowance = next(each_of[self._callers[request.key].organization.pk])
            if isinstance(allowance, RateLimited):
                self._errors[position] = allowance
            else:
                self._allowances[position] = allowance
        _note_room(spent)

    def hold_money(self) -> None:
        """Take slots for all requests that nothing refuses so far, and hold money for those of the usual case."""
        groups: dict[uuid.UUID, list[_Candidate]] = {}
        now = time.monotonic()
        for position, request in enumerate(self._requests):
            if position in self._errors:
                continue
            caller = self._callers[request.key]
            organization_id = caller.organization.pk
            error = completions.acquire_slot(request, Admission(), organization=caller.organization).error
            if error is not None:
                self._errors[position] = error
            elif (
                # A token's holds count for one limit more than the statement knows.
                not caller.api_key.is_token
                and completions.needs_only_funds(request)
                and _alone_until.get(organization_id, 0.0) < now
            ):
                group = groups.setdefault(organization_id, [])
                # A second key of an organization waits for its own batch: a statement changes a wallet once.
                if not group or group[0].request.key == request.key:
                    group.append(_Candidate(position, request, caller, reservations.reservation_for(request)))
        if groups:
            self._hold(list(groups.values()))

    def _hold(self, groups: Sequence[Sequence[_Candidate]]) -> None:
        wanted = [
            ledger.HoldGroup(
                organization=group[0].caller.organization,
                api_key=group[0].caller.api_key,
                requests=[each.reservation.hold_request() for each in group],
            )
            for group in groups
        ]
        companion = completion_sql.insert_companion(
            [(each.reservation.completion_id, each.caller.api_key, each.request) for group in groups for each in group]
        )
        with _turn:
            held = ledger.reserve_for_each(wanted, companion=companion)
        for group, holds in zip(groups, held, strict=True):
            for candidate, hold in zip(group, holds or (), strict=holds is not None):
                self._completions[candidate.position] = completions.completion_for(
                    candidate.request,
                    candidate.reservation,
                    hold,
                    organization=candidate.caller.organization,
                    api_key=candidate.caller.api_key,
                )

    def take_back(self) -> None:
        """Give back the slots and the money of requests that were refused after they had them."""
        for position in self._errors:
            self._requests[position].slot.release()
        refused = [self._completions.pop(position) for position in self._errors if position in self._completions]
        for completion in refused:
            try:
                completions.end([CompletionResult(completion, billed=None, finish=RateLimited.default_type)])
            except Exception:  # The others of the batch must not be admitted twice.
                logger.exception("The sweeper will release the completion %s.", completion.completion_id)

    def results(self) -> list[Admission | Deferred]:
        """Return for each request its admission, with an error or a completion, or Deferred."""
        return [self._result(position, request) for position, request in enumerate(self._requests)]

    def _result(self, position: int, request: AdmissionRequest) -> Admission | Deferred:
        error, completion = self._errors.get(position), self._completions.get(position)
        if error is not None:
            # That of a limit brings its own allowance.
            allowance = None if isinstance(error, RateLimited) else self._allowances.get(position)
            return Admission(error=error, allowance=allowance)
        allowance = self._allowances[position]
        if completion is not None:
            return Admission(completion=completion, allowance=allowance)
        return Deferred(Admission(allowance=allowance), self._callers[request.key].organization.pk)


def _note_room(spent: Mapping[uuid.UUID, Sequence[limits.Allowance | RateLimited]]) -> None:
    """Remember how many requests of each organization the limits will hardly refuse: half of what was left."""
    if len(_room) > MAX_ROOM:
        _room.clear()
    for organization_id, each in spent.items():
        last = each[-1]
        _room[organization_id] = 0 if isinstance(last, RateLimited) else last.remaining // 2


def _require_scope(caller: Caller) -> None:
    key_scopes.require(caller.api_key, route=completions.CHAT[0], method=completions.CHAT[1])
