"""The life of a completion in the database: admitted, seen alive, ended. Synchronous; no network waits in here.

Each completion holds money when it begins and is charged or released when it ends, once, whoever ends it: the ledger
knows it by `chat:<id>`.
"""

import hashlib
import logging
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models.functions import Now
from django.utils import timezone

from accounts.errors import Conflict, VoxsiteError
from accounts.gate import authentication, idempotency, limits
from accounts.models import ApiKey, Organization
from apex import completion_sql
from apex.errors import NoUpstream, TooManyOpen
from apex.models import Completion, CompletionQuerySet, State, reference_of
from apex.types import Begun, Kept, Order, Outcome, Ticket
from billing import ledger
from billing.models import Entry, Hold

logger = logging.getLogger(__name__)

RATE_SCOPES = ("requests", "completions")
# A balance that does not pay for at least so much of an answer is not worth beginning with.
LEAST_COMPLETION_TOKENS = 16
# Rows that one round of the sweeper ends.
SWEPT_AT_ONCE = 500


def look(keys: Sequence[str]) -> list[Begun]:
    """Count requests that order nothing, all with the same key."""
    return _known(keys[0], scopes=RATE_SCOPES[:1], count=len(keys))[1]


def begin(orders: Sequence[Order]) -> list[Begun]:
    """Admit or refuse orders that carry the same key: who asks, how often, what for, and who pays, in this order."""
    caller, looks = _known(orders[0].key, scopes=RATE_SCOPES, count=len(orders))
    if caller is None:
        return looks
    organization, api_key = caller.organization, caller.api_key
    looks = [_seated(order, look, organization=organization) for order, look in zip(orders, looks, strict=True)]
    begun: list[Begun] = []
    with transaction.atomic():
        wishes = {
            position: _wish(order)
            for position, (order, look) in enumerate(zip(orders, looks, strict=True))
            if _wants_money_only(order, look)
        }
        reserved = ledger.reserve_each(organization, _wanted(wishes.values()), api_key=api_key)
        holds = dict(zip(wishes, reserved, strict=True))
        for position, (order, look) in enumerate(zip(orders, looks, strict=True)):
            try:
                if look.error is not None:
                    one = look
                elif position in wishes:
                    wish, hold = wishes[position], holds[position]
                    one = Begun(ticket=_ticket(order, wish, hold, organization=organization, api_key=api_key))
                else:
                    one = _begin_one(order, organization=organization, api_key=api_key)
            except VoxsiteError as error:
                one = Begun(error=error)
            begun.append(replace(one, allowance=look.allowance))
        pairs = zip(orders, begun, strict=True)
        completion_sql.write_begun([(one.ticket, order.is_stream) for order, one in pairs if one.ticket is not None])
    return begun


def begin_for(organization: Organization, *, order: Order, api_key: ApiKey | None) -> Begun:
    """Admit the site's own order in an organization's name, past the rate limits.

    What comes back may hold TooManyOpen. Raises PaymentRequired, NotConfigured, Conflict or what is wrong with the
    order.
    """
    refused = _seated(order, Begun(), organization=organization)
    if refused.error is not None:
        return refused
    with transaction.atomic():
        begun = _begin_one(order, organization=organization, api_key=api_key)
        if begun.ticket is not None:
            completion_sql.write_begun([(begun.ticket, order.is_stream)])
    return begun


def end(outcomes: Sequence[Outcome]) -> list[int]:
    """End completions of one organization: charge what was used, or release. Returns what each was charged.

    Calling it again for the same outcome changes nothing.
    """
    with transaction.atomic():
        settled = ledger.settle_each([_charge_of(outcome) for outcome in outcomes])
        charges = [_charged(outcome, each) for outcome, each in zip(outcomes, settled, strict=True)]
        completion_sql.write_ends(outcomes, charges)
    return [charged_micros or 0 for charged_micros in charges]


def keep_alive(completion_ids: Iterable[uuid.UUID]) -> int:
    """Say that these are still being relayed; return how many of them run."""
    return Completion.objects.running().filter(pk__in=list(completion_ids)).update(seen_at=Now())


def sweep() -> int:
    """Release what processes that died were relaying; return how many.

    What was produced died with the process, so its customer pays nothing (docs/decisions/0015).
    """
    released = 0
    for row in _silent().select_related("hold")[:SWEPT_AT_ONCE]:
        try:
            released += _release_stale(row)
        except Exception:  # One broken wallet must not keep the money of all others held.
            logger.exception("The completion %s could not be released.", row.pk)
    return released


def fingerprint(raw: bytes) -> str:
    """Return what makes two requests the same for an Idempotency-Key."""
    return hashlib.sha256(b"apex\0" + raw).hexdigest()


def _known(key: str, *, scopes: Sequence[str], count: int) -> tuple[authentication.Caller | None, list[Begun]]:
    """Return who asks so often with this key, None if nobody may, and what each request may be told of it."""
    try:
        caller = authentication.authenticate({"X-API-Key": key})
    except VoxsiteError as error:
        return None, [Begun(error=error)] * count
    spent = limits.spend_together(caller.organization, scopes=scopes, count=count)
    return caller, [Begun(error=each) if isinstance(each, VoxsiteError) else Begun(allowance=each) for each in spent]


def _seated(order: Order, look: Begun, *, organization: Organization) -> Begun:
    """Give an order its place among those that its organization has open, or refuse it."""
    most = settings.APEX_MAX_OPEN
    if look.error is not None or order.fault is not None or order.seat.take(organization.pk, most=most):
        return look
    return replace(look, error=TooManyOpen(most=most))


def _begin_one(order: Order, *, organization: Organization, api_key: ApiKey | None) -> Begun:
    if not order.idempotency_key:
        return Begun(ticket=_admit(order, organization=organization, api_key=api_key))
    # One step with the hold: when this is refused, nothing is claimed.
    with transaction.atomic():
        claim = idempotency.claim(
            organization,
            key=order.idempotency_key,
            request_fingerprint=order.fingerprint,
            abandoned_after=timedelta(seconds=settings.APEX_TOTAL_SECONDS + settings.APEX_SILENT_SECONDS + 60),
        )
        if isinstance(claim, idempotency.Claim):
            return Begun(ticket=replace(_admit(order, organization=organization, api_key=api_key), claim=claim))
    kept = Kept(**claim.body)
    if not kept.text:
        raise Conflict("The answer to this Idempotency-Key was too large to be kept.", error_type="answer_not_kept")
    return Begun(kept=kept)


@dataclass(frozen=True, slots=True)
class _Wish:
    """What an order asks of the ledger."""

    completion_id: uuid.UUID
    at_least_micros: int
    at_most_micros: int

    @property
    def reference(self) -> str:
        return reference_of(self.completion_id)


def _wanted(wishes: Iterable[_Wish]) -> list[ledger.HoldRequest]:
    return [ledger.HoldRequest(wish.at_least_micros, wish.at_most_micros, wish.reference) for wish in wishes]


def _wants_money_only(order: Order, look: Begun) -> bool:
    """Tell whether nothing but money can still refuse it."""
    may = look.error is None and order.fault is None and bool(settings.APEX_UPSTREAMS)
    return may and not order.idempotency_key


def _wish(order: Order) -> _Wish:
    assert order.model is not None, "an order without a fault has a model"
    rates = order.model.rates

    def price(completion_tokens: int) -> int:
        return rates.price_micros(
            prompt_tokens=order.prompt_tokens, completion_tokens=completion_tokens * order.choice_count
        )

    return _Wish(
        completion_id=uuid.uuid4(),
        at_least_micros=price(min(LEAST_COMPLETION_TOKENS, order.completion_tokens)),
        at_most_micros=price(order.completion_tokens),
    )


def _admit(order: Order, *, organization: Organization, api_key: ApiKey | None) -> Ticket:
    if order.fault is not None:
        raise order.fault
    if not settings.APEX_UPSTREAMS:
        raise NoUpstream
    wish = _wish(order)
    hold = ledger.reserve_up_to(
        organization,
        at_least_micros=wish.at_least_micros,
        at_most_micros=wish.at_most_micros,
        reference=wish.reference,
        api_key=api_key,
    )
    return _ticket(order, wish, hold, organization=organization, api_key=api_key)


def _ticket(
    order: Order,
    wish: _Wish,
    hold: Hold | VoxsiteError,
    *,
    organization: Organization,
    api_key: ApiKey | None,
) -> Ticket:
    if isinstance(hold, VoxsiteError):
        raise hold
    assert order.model is not None, "an order without a fault has a model"
    completion_tokens = order.completion_tokens
    if hold.amount_micros < wish.at_most_micros:
        paid_for = order.model.rates.completion_tokens_for(hold.amount_micros, prompt_tokens=order.prompt_tokens)
        # At least one: half a micro-dollar is lost to rounding.
        completion_tokens = max(1, min(completion_tokens, paid_for // order.choice_count))
    return Ticket(
        completion_id=wish.completion_id,
        organization=organization,
        api_key=api_key,
        hold=hold,
        model=order.model,
        completion_tokens=completion_tokens,
    )


def _charge_of(outcome: Outcome) -> ledger.Charge:
    ticket, measure = outcome.ticket, outcome.measure
    if measure is None:
        return ledger.Charge(ticket.hold, 0)
    price_micros = ticket.model.rates.price_micros(
        prompt_tokens=measure.usage.prompt_tokens, completion_tokens=measure.usage.completion_tokens
    )
    details = {
        "model": ticket.model.name,
        "prompt_tokens": measure.usage.prompt_tokens,
        "completion_tokens": measure.usage.completion_tokens,
        "counted_by": measure.source.value,
        "finish": outcome.finish[:40],
        "latency_ms": outcome.latency_ms,
    }
    return ledger.Charge(ticket.hold, price_micros, f"Chat, {ticket.model.name}", details)


def _charged(outcome: Outcome, settled: Entry | VoxsiteError | None) -> int | None:
    """Return what one was charged, None if it had ended before, and keep its answer for who asks again."""
    ticket = outcome.ticket
    if isinstance(settled, VoxsiteError):
        # This is the second try after a broken commit, or the sweeper took us for dead.
        logger.warning("The completion %s had ended before.", ticket.completion_id)
        return None
    charged_micros = 0 if settled is None else -settled.amount_micros
    if ticket.claim is not None:
        # Another try can have taken the key over only after this one was taken for dead; the money is right anyway.
        with suppress(Conflict):
            if outcome.kept is not None:
                ticket.claim.keep(200, asdict(replace(outcome.kept, charged_micros=charged_micros)))
            else:
                ticket.claim.forget()
    return charged_micros


def _silent() -> CompletionQuerySet:
    """Return what nobody gave a sign of for too long: by the clock of the database, which wrote those signs.

    Hosts may differ by more than the time between two signs, and then the sweeper of one would release what another
    relays. On PostgreSQL it is the time of the statement, so waiting for a lock before it makes nobody look older.
    """
    return Completion.objects.running().filter(seen_at__lt=Now() - timedelta(seconds=settings.APEX_SILENT_SECONDS))


def _release_stale(row: Completion) -> bool:
    with transaction.atomic():
        try:
            # Wallet before completion, the order in which `end` takes them.
            ledger.release(row.hold)
        except ledger.HoldSettled:
            return False
        ours = _silent().filter(pk=row.pk)
        if not ours.update(state=State.RELEASED, finish="process_died", ended_at=timezone.now()):
            # It was seen, or ended, between the search and the lock.
            transaction.set_rollback(True)
            return False
    logger.warning("The completion %s was released: the process that relayed it is gone.", row.pk)
    return True
