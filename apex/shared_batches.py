"""Admits and ends completions of several organizations, each batch in one statement (docs/decisions/0053).

What does not fit the usual case is `Deferred` to `completions`, which handles every case in batches of one key or
organization. PostgreSQL only. Synchronous; it never waits for the network, and no organization waits for another's
lock.
"""

import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.db import connection

from accounts.errors import InsufficientScope, RateLimited, VoxsiteError
from accounts.gate import caller_cache, key_scopes, limits
from accounts.gate.authentication import Caller
from apex import completion_sql, completions, reservations
from apex.types import Admission, AdmissionRequest, CompletionResult
from billing import ledger

# An organization that has reached a limit makes the statement of a whole batch fail. So its requests go alone for a
# while: at most one batch in this time fails because of it.
ALONE_SECONDS = 10.0

# Admissions and ends of this process take turns: a wallet that one of them has locked would be skipped by the other.
_turn = threading.Lock()
# Until when each organization's requests go alone, by time.monotonic().
_alone_until: dict[uuid.UUID, float] = {}


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
    check: Admission
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
    results, callers = _check(requests, max_caller_age_seconds=max_caller_age_seconds)
    candidates = _candidates(requests, results)
    groups: dict[uuid.UUID, list[_Candidate]] = {}
    for candidate in candidates:
        caller = callers[candidate.request.key]
        if caller.api_key.is_token:
            # Its holds count for one limit more than the statement knows.
            continue
        group = groups.setdefault(caller.organization.pk, [])
        # A second key of an organization waits for its own batch: a statement changes a wallet once.
        if not group or group[0].request.key == candidate.request.key:
            group.append(candidate)
    if not groups:
        return results
    wanted = [
        ledger.HoldGroup(
            organization=callers[group[0].request.key].organization,
            api_key=callers[group[0].request.key].api_key,
            requests=[each.reservation.hold_request() for each in group],
        )
        for group in groups.values()
    ]
    companion = completion_sql.insert_companion(
        [
            (each.reservation.completion_id, callers[each.request.key].api_key, each.request)
            for group in groups.values()
            for each in group
        ]
    )
    with _turn:
        held = ledger.reserve_for_each(wanted, companion=companion)
    for group, holds in zip(groups.values(), held, strict=True):
        caller = callers[group[0].request.key]
        for candidate, hold in zip(group, holds or (), strict=holds is not None):
            completion = completions.completion_for(
                candidate.request,
                candidate.reservation,
                hold,
                organization=caller.organization,
                api_key=caller.api_key,
            )
            results[candidate.position] = replace(candidate.check, completion=completion)
    return results


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


def _check(
    requests: Sequence[AdmissionRequest], *, max_caller_age_seconds: float
) -> tuple[list[Admission | Deferred], dict[str, Caller]]:
    """Check keys, rate limits and scopes, and take slots.

    Returns for each request an admission with an error, or Deferred if nothing refuses it so far; and the callers by
    their keys.
    """
    positions: dict[str, list[int]] = {}
    for position, request in enumerate(requests):
        positions.setdefault(request.key, []).append(position)
    callers: dict[str, Caller] = {}
    refused: dict[str, VoxsiteError] = {}
    counts: dict[uuid.UUID, int] = {}
    for key, of_key in positions.items():
        try:
            callers[key] = caller_cache.authenticate(key, max_age_seconds=max_caller_age_seconds)
        except VoxsiteError as error:
            refused[key] = error
        else:
            organization_id = callers[key].organization.pk
            counts[organization_id] = counts.get(organization_id, 0) + len(of_key)
    spent = {organization_id: iter(each) for organization_id, each in _spent(counts).items()}
    for key, caller in list(callers.items()):
        try:
            _require_scope(caller)
        except InsufficientScope:
            # What is known may be a second old, and the scope given meanwhile.
            try:
                callers[key] = caller_cache.authenticate_anew(key)
                _require_scope(callers[key])
            except VoxsiteError as error:
                refused[key] = error
    results: list[Admission | Deferred] = []
    for request in requests:
        known = callers.get(request.key)
        allowance = None if known is None else next(spent[known.organization.pk])
        if isinstance(allowance, VoxsiteError):
            results.append(Admission(error=allowance))
        elif known is None or request.key in refused:
            results.append(Admission(error=refused[request.key]))
        else:
            check = completions.acquire_slot(request, Admission(allowance=allowance), organization=known.organization)
            results.append(check if check.error is not None else Deferred(check, known.organization.pk))
    return results, callers


def _spent(counts: Mapping[uuid.UUID, int]) -> dict[uuid.UUID, list[limits.Allowance | RateLimited]]:
    """Count requests of organizations against the rate limits. Returns what `limits.spend_for_each` does."""
    if not counts:
        return {}
    with limits.Counting(counts, scopes=completions.RATE_SCOPES) as counting:
        # While Redis counts: the connection is needed next, unless all requests are refused. It may be waited for, and
        # a connection to Redis with it, but of each process only one batch does that at a time.
        connection.ensure_connection()
        return counting.results()


def _require_scope(caller: Caller) -> None:
    key_scopes.require(caller.api_key, route=completions.CHAT[0], method=completions.CHAT[1])


def _candidates(requests: Sequence[AdmissionRequest], results: Sequence[Admission | Deferred]) -> list[_Candidate]:
    """Return the requests that only a lack of funds can still refuse."""
    now = time.monotonic()
    return [
        _Candidate(position, request, result.check, reservations.reservation_for(request))
        for position, (request, result) in enumerate(zip(requests, results, strict=True))
        if isinstance(result, Deferred)
        and completions.needs_only_funds(request, result.check)
        and _alone_until.get(result.organization_id, 0.0) < now
    ]
