"""Admits completions, keeps them alive and ends them, in the database. Synchronous; it never waits for the network.

Admission reserves money for a completion. Its end charges or releases that hold exactly once, whether its own process
or the sweeper ends it. The ledger's reference is `chat:<id>`.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import Conflict, InsufficientScope, PaymentRequired, TooManyOpen, VoxsiteError
from accounts.gate import authentication, idempotency, key_scopes, limits
from accounts.models import ApiKey, Organization
from apex import completion_sql, lost_holds
from apex.errors import NoUpstream
from apex.models import Completion, CompletionQuerySet, State
from apex.reservations import Reservation, charge_of, paid_completion_tokens, reservation_for
from apex.types import Admission, AdmissionRequest, AdmittedCompletion, CompletionResult, Estimate, StoredAnswer
from billing import charge_tags, ledger
from billing.models import Entry, Hold

logger = logging.getLogger(__name__)

RATE_SCOPES = ("requests", "completions")
SLOTS = "completions"
# Name of an address and its method, as the table of scopes has them.
CHAT = ("apex-chat-completions", "POST")
MODELS = ("apex-models", "GET")
# The most rows that one run of the sweeper releases.
SWEEP_BATCH_SIZE = 500


def check_rate_limit(keys: Sequence[str]) -> list[Admission]:
    """Charge the rate limit for GET requests, all from one API key.

    Returns for each request an error or what is left of the limit.
    """
    return _authenticate(keys[0], scopes=RATE_SCOPES[:1], count=len(keys), route=MODELS)[1]


def begin(requests: Sequence[AdmissionRequest]) -> list[Admission]:
    """Admit or refuse requests that carry the same API key.

    The checks have this order: the key, the rate limits, the request itself, the concurrency limit, the money.
    """
    caller, checked = _authenticate(requests[0].key, scopes=RATE_SCOPES, count=len(requests), route=CHAT)
    if caller is None:
        return checked
    checked = [
        acquire_slot(request, check, organization=caller.organization)
        for request, check in zip(requests, checked, strict=True)
    ]
    return _begin_checked(requests, checked, organization=caller.organization, api_key=caller.api_key)


def begin_counted(counted: Sequence[tuple[AdmissionRequest, Admission]]) -> list[Admission]:
    """Admit or refuse requests with the same API key that are counted already.

    counted: pairs of (request, what the first checks said). The key and its scopes are checked again: what was known of
    them may have been a second old.
    """
    requests, checked = [request for request, _ in counted], [check for _, check in counted]
    try:
        caller = authentication.authenticate({"X-API-Key": requests[0].key})
        key_scopes.require(caller.api_key, route=CHAT[0], method=CHAT[1])
    except VoxsiteError as error:
        return [Admission(error=error)] * len(counted)
    return _begin_checked(requests, checked, organization=caller.organization, api_key=caller.api_key)


def _begin_checked(
    requests: Sequence[AdmissionRequest],
    checked: Sequence[Admission],
    *,
    organization: Organization,
    api_key: ApiKey | None,
) -> list[Admission]:
    """Admit or refuse requests of one wallet. checked: of each, an error, or an allowance if it has its slot.

    Lock order: the Idempotency-Keys, by their names, before the wallet. A batch that had the wallet and waited for a
    key deadlocked with one that had the key and waited for the wallet.
    """
    with transaction.atomic():
        claims, admissions = _claim_keys(requests, checked, organization=organization, api_key=api_key)
        reservations = {
            position: reservation_for(requests[position])
            for position, admission in enumerate(admissions)
            if admission.error is None and admission.stored_answer is None
        }
        reserved = ledger.reserve_each(
            organization, [each.hold_request() for each in reservations.values()], api_key=api_key
        )
        for (position, reservation), hold in zip(reservations.items(), reserved, strict=True):
            admission, claim = admissions[position], claims.get(position)
            try:
                completion = completion_for(
                    requests[position], reservation, hold, organization=organization, api_key=api_key
                )
            except VoxsiteError as error:
                if claim is not None:
                    # A refused request claims nothing.
                    claim.forget()
                admissions[position] = replace(admission, error=error)
            else:
                admissions[position] = replace(admission, completion=replace(completion, claim=claim))
        completion_sql.insert_running(
            [admission.completion for admission in admissions if admission.completion is not None]
        )
    return admissions


def begin_for(organization: Organization, *, request: AdmissionRequest, api_key: ApiKey | None) -> Admission:
    """Admit a request that the site itself makes for an organization. It does not count against the rate limits.

    The admission may carry TooManyOpen. Raises PaymentRequired, NotConfigured, Conflict or the request's fault.
    """
    check = acquire_slot(request, Admission(), organization=organization)
    if check.error is not None:
        return check
    (admission,) = _begin_checked([request], [check], organization=organization, api_key=api_key)
    if admission.error is not None:
        raise admission.error
    return admission


def estimate(request: AdmissionRequest, *, organization: Organization, api_key: ApiKey | None) -> Estimate:
    """Return what a request would cost and hold if it were admitted now. Admits nothing and writes nothing.

    Raises the request's fault, and NoUpstream.
    """
    _require_no_fault(request)
    assert request.model is not None, "a request without a fault has a model"
    reservation = reservation_for(request)
    held_micros, refusal = 0, None
    completion_tokens = request.completion_tokens
    try:
        held_micros = ledger.reservable(
            organization,
            at_least_micros=reservation.min_micros,
            at_most_micros=reservation.max_micros,
            api_key=api_key,
        )
        completion_tokens = paid_completion_tokens(request, reservation, held_micros)
    except PaymentRequired as error:
        refusal = error
    all_completion_tokens = completion_tokens * request.choice_count
    rates = request.model.rates
    return Estimate(
        model=request.model.name,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=all_completion_tokens,
        cost_micros=rates.price_micros(prompt_tokens=request.prompt_tokens, completion_tokens=all_completion_tokens),
        max_cost_micros=rates.price_micros(
            prompt_tokens=request.max_prompt_tokens, completion_tokens=all_completion_tokens
        ),
        held_micros=held_micros,
        refusal=refusal,
    )


def end(results: Sequence[CompletionResult]) -> list[int]:
    """End completions of one organization: charge what was used, or release the hold.

    Returns the micro-dollars that each was charged. Idempotent: a completion that has ended stays as it is.
    """
    with transaction.atomic():
        all_charges = [charge_of(result) for result in results]
        settled = [
            lost_holds.charge_anew(result, charge) if isinstance(each, ledger.HoldLost) else each
            for result, charge, each in zip(results, all_charges, ledger.settle_each(all_charges), strict=True)
        ]
        charges = [_charged(result, each) for result, each in zip(results, settled, strict=True)]
        completion_sql.update_ended(results, charges)
        charge_tags.record(zip(settled, (result.completion.tags for result in results), strict=True))
    return [charged_micros or 0 for charged_micros in charges]


def keep_alive(completion_ids: Iterable[uuid.UUID]) -> int:
    """Write a heartbeat for completions that are being relayed. Returns how many were written.

    Those whose end is written at this moment need none. To wait for them could wait for each other, since a statement
    that ends many locks them in an order of its own.
    """
    with transaction.atomic():
        running = Completion.objects.running().filter(pk__in=list(completion_ids))
        free = running.select_for_update(no_key=True, skip_locked=True).values_list("pk", flat=True)
        return Completion.objects.filter(pk__in=list(free)).update(seen_at=Now())


def sweep() -> int:
    """Release the completions whose process has died. Returns how many were released.

    Their output was lost with the process, so the customer pays nothing (docs/decisions/0015).
    """
    released = 0
    for row in _without_heartbeat().select_related("hold")[:SWEEP_BATCH_SIZE]:
        try:
            released += _release_stale(row)
        except Exception:  # One broken wallet must not keep the money of all others held.
            logger.exception("The completion %s could not be released.", row.pk)
    return released


def fingerprint(raw: bytes) -> str:
    """Return a hash that is equal for equal request bodies, for comparison under an Idempotency-Key."""
    return hashlib.sha256(b"apex\0" + raw).hexdigest()


def _authenticate(
    key: str, *, scopes: Sequence[str], count: int, route: tuple[str, str]
) -> tuple[authentication.Caller | None, list[Admission]]:
    """Authenticate the key, charge `count` requests to its rate limits, and look at its scopes.

    Returns the caller, None for a wrong key or scope, and for each request an admission with an error or an allowance
    only.
    """
    try:
        caller = authentication.authenticate({"X-API-Key": key})
    except VoxsiteError as error:
        return None, [Admission(error=error)] * count
    spent = limits.spend_together(caller.organization, scopes=scopes, count=count)
    try:
        key_scopes.require(caller.api_key, route=route[0], method=route[1])
    except InsufficientScope as error:
        return None, [Admission(error=each if isinstance(each, VoxsiteError) else error) for each in spent]
    return caller, [
        Admission(error=each) if isinstance(each, VoxsiteError) else Admission(allowance=each) for each in spent
    ]


def acquire_slot(request: AdmissionRequest, check: Admission, *, organization: Organization) -> Admission:
    """Acquire a concurrency slot for a request that has neither an error nor a fault so far.

    Returns `check`, with TooManyOpen as its error if no slot is free.
    """
    if check.error is not None or request.fault is not None:
        return check
    limit = settings.APEX_MAX_OPEN
    if request.slot.acquire((SLOTS, organization.pk), limit=limit):
        return check
    return replace(check, error=TooManyOpen(SLOTS, limit=limit))


def _claim_keys(
    requests: Sequence[AdmissionRequest],
    checked: Sequence[Admission],
    *,
    organization: Organization,
    api_key: ApiKey | None,
) -> tuple[dict[int, idempotency.Claim], list[Admission]]:
    """Claim the Idempotency-Keys of the requests that were not refused, and look for what else refuses a request.

    Returns the claims by the positions of their requests; and for each request an admission with an error or a stored
    answer, or with neither if only a lack of funds can still refuse it.
    """
    claims: dict[int, idempotency.Claim] = {}
    admissions = list(checked)
    # In one order in all batches: two that claim the same keys in different orders would deadlock.
    for position in sorted(range(len(requests)), key=lambda each: requests[each].idempotency_key):
        request, check = requests[position], checked[position]
        if check.error is not None:
            continue
        try:
            if request.idempotency_key:
                found = _claim(request, organization=organization, api_key=api_key)
                if isinstance(found, StoredAnswer):
                    admissions[position] = replace(check, stored_answer=found)
                    continue
                claims[position] = found
            _require_no_fault(request)
        except VoxsiteError as error:
            if position in claims:
                claims.pop(position).forget()
            admissions[position] = replace(check, error=error)
    return claims, admissions


def _claim(
    request: AdmissionRequest, *, organization: Organization, api_key: ApiKey | None
) -> idempotency.Claim | StoredAnswer:
    """Claim the Idempotency-Key of a request, or return the answer to an earlier one. Raises Conflict, InvalidField."""
    found = idempotency.claim(
        organization,
        key=idempotency.key_of(api_key, request.idempotency_key),
        request_fingerprint=request.fingerprint,
        abandoned_after=timedelta(seconds=settings.APEX_TOTAL_SECONDS + settings.APEX_SILENT_SECONDS + 60),
    )
    if isinstance(found, idempotency.Claim):
        return found
    assert isinstance(found, idempotency.StoredResponse), "a completion stores its answer in the step that ends it"
    stored = StoredAnswer(**found.body)
    if not stored.text:
        raise Conflict("The answer to this Idempotency-Key was too large to be kept.", error_type="answer_not_kept")
    return stored


def needs_only_funds(request: AdmissionRequest) -> bool:
    """Return whether only a lack of funds can still refuse a request that has passed the first checks."""
    return request.fault is None and bool(settings.APEX_UPSTREAMS) and not request.idempotency_key


def _require_no_fault(request: AdmissionRequest) -> None:
    if request.fault is not None:
        raise request.fault
    if not settings.APEX_UPSTREAMS:
        raise NoUpstream


def completion_for(
    request: AdmissionRequest,
    reservation: Reservation,
    hold: Hold | VoxsiteError,
    *,
    organization: Organization,
    api_key: ApiKey | None,
) -> AdmittedCompletion:
    """Return the completion with the limit that its hold pays for. Raises `hold` if that is an error."""
    if isinstance(hold, VoxsiteError):
        raise hold
    assert request.model is not None, "a request without a fault has a model"
    return AdmittedCompletion(
        completion_id=reservation.completion_id,
        organization=organization,
        api_key=api_key,
        hold=hold,
        model=request.model,
        completion_tokens=paid_completion_tokens(request, reservation, hold.amount_micros),
        is_stream=request.is_stream,
        tags=request.tags,
    )


def _charged(result: CompletionResult, settled: Entry | VoxsiteError | None) -> int | None:
    """Return the micro-dollars that were charged, None if the completion had ended before.

    Stores the answer under the request's Idempotency-Key, or frees the key if there is none to store.
    """
    completion = result.completion
    if isinstance(settled, VoxsiteError):
        # Either this is the retry after a commit whose confirmation was lost, or the sweeper released the completion.
        logger.warning("The completion %s had ended before.", completion.completion_id)
        return None
    charged_micros = 0 if settled is None else -settled.amount_micros
    if completion.claim is not None:
        # Conflict: this request looked abandoned and another one took over its key. The charge is right all the same.
        with suppress(Conflict):
            if result.stored_answer is not None:
                completion.claim.keep(200, asdict(replace(result.stored_answer, charged_micros=charged_micros)))
            else:
                completion.claim.forget()
    return charged_micros


def _without_heartbeat() -> CompletionQuerySet:
    """Return the running completions whose last heartbeat is too old, by the clock of the database.

    The database writes the times of the heartbeats too. Clocks of hosts may differ by more than the heartbeat interval;
    with them, one host's sweeper would release what another host relays. On PostgreSQL, Now() is the time of the
    statement, so the wait for a lock before the statement makes no completion look older.
    """
    return Completion.objects.running().filter(seen_at__lt=Now() - timedelta(seconds=settings.APEX_SILENT_SECONDS))


def _release_stale(row: Completion) -> bool:
    with transaction.atomic():
        try:
            # Lock order: wallet before completion, as in `end`.
            ledger.release(row.hold)
        except ledger.HoldSettled:
            return False
        stale = _without_heartbeat().filter(pk=row.pk)
        if not stale.update(state=State.RELEASED, finish="process_died", ended_at=timezone.now()):
            # A heartbeat or the end of the completion came between the query and the lock.
            transaction.set_rollback(True)
            return False
    logger.warning("The completion %s was released: the process that relayed it is gone.", row.pk)
    return True
