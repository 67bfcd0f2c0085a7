"""Refunds: requested here by a customer or an operator, or made in Stripe's dashboard.

A refund that is requested here has two steps:

1. One transaction inserts the row (REQUESTED) and takes the money out of the ledger. It rolls back if the balance does
   not have the money. So a job that reserves at the same moment and the refund never get the same money.
2. With no transaction open, Stripe is asked to make the refund.

If the process dies between the steps, or Stripe does not answer, the row stays REQUESTED and `sweep` asks again.
Stripe's idempotency key, and the row's id in the refund's metadata, ensure that Stripe makes the refund only once.
"""

import logging
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.errors import Conflict, InvalidField, UpstreamFailed
from accounts.models import User
from billing import (
    claw_backs,
    ledger,
    money,
    refund_math,
    stripe_api,
    stripe_calls,
    stripe_mapping,
    topups,
    unmatched_events,
)
from billing.models import CREDIT_KINDS, Entry, EntryKind, Wallet
from billing.models.payments import SENTENCE_LENGTH, TopUp, TopUpState
from billing.models.reversals import Refund, RefundState

logger = logging.getLogger(__name__)

FIRST_CHECK_AFTER = timedelta(minutes=2)
NEXT_CHECK_AFTER = timedelta(minutes=15)
MAX_PER_ROUND = 100

REFUSED = "Our payment provider refused the refund. The money is back in your balance."
NOTED = "Your refund is recorded. Our payment provider is not responding; we make the refund as soon as it does."
FAILED_LATER = "The bank did not accept the refund. The money is back in your balance."
SPENT = "This money is spent, or reserved for running work."


@dataclass(frozen=True, slots=True)
class Refundable:
    """How much of a top-up may be refunded, and until when. until: None if the top-up was not paid."""

    amount_cents: int
    until: datetime | None


# --- Requests --------------------------------------------------------------------------------------------------------


def refundable(topup: TopUp, *, now: datetime | None = None) -> Refundable:
    """Return how much of a top-up its payer may have back: the unspent part, within REFUND_DAYS of the payment.

    Older money is spent before newer, and a top-up's bonus after its paid part. Zero while the wallet is frozen.
    """
    return offers([topup], wallet=ledger.wallet_of(topup.organization), now=now or timezone.now())[topup.pk]


def offers(topups: Sequence[TopUp], *, wallet: Wallet, now: datetime) -> dict[uuid.UUID, Refundable]:
    """Return `refundable` of top-ups of one wallet, by their ids. As many queries for many as for one.

    Refunds and disputes are read of each top-up, unless they were prefetched.
    """
    days = timedelta(days=settings.REFUND_DAYS)
    open_ones = [one for one in topups if one.paid_at and now <= one.paid_at + days and not wallet.is_frozen]
    later = _later_micros(open_ones, wallet=wallet)
    found = {one.pk: Refundable(0, one.paid_at + days if one.paid_at else None) for one in topups}
    return found | {one.pk: _offer(one, wallet=wallet, later_micros=later[one.pk], days=days) for one in open_ones}


def _offer(topup: TopUp, *, wallet: Wallet, later_micros: int, days: timedelta) -> Refundable:
    assert topup.paid_at is not None, "the caller has looked"
    returned_cents = claw_backs.returned_cents(topup)
    unspent_micros = refund_math.unspent_micros(
        received_micros=(topup.amount_cents + topup.bonus_cents) * money.MICROS_PER_CENT,
        clawed_micros=claw_backs.taken_micros(topup),
        available_micros=wallet.available_micros,
        later_micros=later_micros,
    )
    amount_cents = refund_math.refundable_cents(
        paid_cents=topup.amount_cents,
        bonus_cents=topup.bonus_cents,
        returned_cents=returned_cents,
        unspent_micros=unspent_micros,
    )
    return Refundable(amount_cents, topup.paid_at + days)


def request(topup: TopUp, *, person: User, amount_cents: int | None = None, token: uuid.UUID | None = None) -> Refund:
    """Refund the unspent part of a top-up to its payer.

    amount_cents: None for all of the unspent part.
    token: identifies the form. A second call with the same token returns the refund of the first.
    Raises Conflict if nothing can be refunded, InvalidField if amount_cents is more than can be, UpstreamFailed if
    Stripe refuses or does not answer. After a refusal the money is back on the balance. Without an answer it stays
    taken, and `sweep` asks again.
    Waits for the network: call it outside transactions.
    """
    with transaction.atomic(durable=True):
        topup = TopUp.objects.select_for_update(no_key=True).get(pk=topup.pk)
        if token and (earlier := _earlier(topup, token=token)):
            return earlier
        most = refundable(topup)
        if most.amount_cents == 0:
            raise Conflict(_why_nothing(topup, until=most.until))
        if amount_cents is None:
            amount_cents = most.amount_cents
        if not 0 < amount_cents <= most.amount_cents:
            shown = money.display_text(most.amount_cents * money.MICROS_PER_CENT)
            raise InvalidField("amount_cents", f"Up to {shown} of this payment can be refunded.")
        refund = _take_from_ledger(topup, person=person, amount_cents=amount_cents, token=token)
    return _send(refund)


def start(topup: TopUp, *, person: User, amount_cents: int, token: uuid.UUID | None = None) -> Refund:
    """Refund an amount that an operator chose, however old the top-up is, if the balance has the money.

    token: as for `request`.
    Raises Conflict if the balance does not have it or the top-up was not paid, InvalidField if the amount is more than
    is left of the payment, UpstreamFailed as `request` does. Waits for the network: call it outside transactions.
    """
    with transaction.atomic(durable=True):
        topup = TopUp.objects.select_for_update(no_key=True).get(pk=topup.pk)
        if token and (earlier := _earlier(topup, token=token)):
            return earlier
        if not topup.is_paid:
            raise Conflict("This top-up was not paid.")
        if not 0 < amount_cents <= left_cents(topup):
            left = money.display_text(left_cents(topup) * money.MICROS_PER_CENT)
            raise InvalidField("amount_cents", f"{left} of this payment can be refunded.")
        refund = _take_from_ledger(topup, person=person, amount_cents=amount_cents, token=token)
    return _send(refund)


def _earlier(topup: TopUp, *, token: uuid.UUID) -> Refund | None:
    """Return the earlier refund with this token, or None. Raises Conflict if it is of another payment."""
    earlier = Refund.objects.filter(pk=token).first()
    if earlier is not None and earlier.topup_id != topup.pk:
        raise Conflict("This form was sent for another payment. Open the page of the refund again.")
    return earlier


def left_cents(topup: TopUp) -> int:
    """Return how much of a top-up was not returned, spent or not; 0 if it was not paid."""
    return max(0, topup.amount_cents - claw_backs.returned_cents(topup)) if topup.is_paid else 0


def sweep(*, now: datetime | None = None) -> int:
    """Finish requested refunds that Stripe has not answered. Returns how many were checked.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    now = now or timezone.now()
    due = Refund.objects.filter(
        Q(checked_at__isnull=True) | Q(checked_at__lte=now - NEXT_CHECK_AFTER),
        state=RefundState.REQUESTED,
        created_at__lte=now - FIRST_CHECK_AFTER,
    )
    checked_count = 0
    for refund in due.select_related("topup").order_by(F("checked_at").asc(nulls_first=True), "created_at")[
        :MAX_PER_ROUND
    ]:
        Refund.objects.filter(pk=refund.pk).update(checked_at=now)
        checked_count += 1
        try:
            # If Stripe made the refund and its answer was lost, the metadata finds it, even after the idempotency key
            # has expired (24 hours or more: docs.stripe.com/api/idempotent_requests, read 2026-11-20).
            if not _record_if_made(refund):
                _send(refund)
        except UpstreamFailed:
            logger.warning("Stripe did not take refund %s.", refund.pk)
            # Wait for a silent Stripe once per round, not once per refund. The next round begins with the others.
            break
        except Exception:  # An error of one refund must not stop the others.
            logger.exception("Refund %s could not be finished.", refund.pk)
    return checked_count


# --- Reports from Stripe ---------------------------------------------------------------------------------------------


def record(reported: stripe_mapping.StripeRefund) -> Refund | None:
    """Update the refund's row and the ledger to what Stripe reports. Idempotent; late and repeated reports are safe.

    Returns the row, or None if the refund was recorded as an unmatched event.
    Raises TopUpUnknown if its payment has not been credited yet.
    """
    with transaction.atomic():
        try:
            topup = topups.paid_with(reported.payment_intent_id)
        except topups.TopUpUnknown:
            # An operator refunded an unmatched payment. Answering with an error would make Stripe repeat the event for
            # three days.
            if unmatched_events.record_about_unmatched_payment(
                payment_intent_id=reported.payment_intent_id, subject="refund", stripe_id=reported.stripe_id
            ):
                return None
            raise
        refund = _matching_row(topup, reported)
        if mismatch := _mismatch(topup, refund, reported):
            reason, explanation = mismatch
            unmatched_events.record(
                subject="refund", stripe_id=reported.stripe_id, reason=reason, explanation=explanation, topup=topup
            )
            return None
        if refund is None:
            return _record_new(topup, reported)
        if refund.stripe_id is None:
            refund.stripe_id = reported.stripe_id
            refund.save(update_fields=["stripe_id"])
        if refund.state == RefundState.FAILED:
            # FAILED is final: events of earlier states may arrive later.
            return refund
        if reported.has_failed:
            _give_back(refund, failure=FAILED_LATER)
        elif reported.status == "succeeded":
            # Once: Stripe reports it several times, and owners are told of each end (`payment_mails`).
            if refund.state != RefundState.SUCCEEDED:
                refund.state, refund.ended_at = RefundState.SUCCEEDED, timezone.now()
                refund.save(update_fields=["state", "ended_at"])
        elif refund.state == RefundState.REQUESTED:
            refund.state = RefundState.PENDING
            refund.save(update_fields=["state"])
    return refund


def _record_new(topup: TopUp, reported: stripe_mapping.StripeRefund) -> Refund:
    """Insert the row of a refund that was made in Stripe's dashboard, and claw its money back."""
    refund = Refund(
        topup=topup,
        stripe_id=reported.stripe_id,
        reference=f"refund:{reported.stripe_id}",
        amount_cents=reported.amount_cents,
        state=RefundState.SUCCEEDED if reported.status == "succeeded" else RefundState.PENDING,
        ended_at=timezone.now() if reported.status == "succeeded" else None,
    )
    if reported.has_failed:
        # The first report says that it failed: nothing was taken, so nothing is restored.
        refund.state, refund.failure, refund.ended_at = RefundState.FAILED, FAILED_LATER, timezone.now()
    refund.save(force_insert=True)
    if refund.is_live:
        claw_backs.take(topup, refund)
        if claw_backs.returned_cents(topup) > topup.amount_cents:
            unmatched_events.record_excess_return(topup, subject="refund", stripe_id=reported.stripe_id)
    return refund


def _matching_row(topup: TopUp, reported: stripe_mapping.StripeRefund) -> Refund | None:
    known = topup.refunds.filter(stripe_id=reported.stripe_id).first()
    if known is not None or not reported.refund_id:
        return known
    try:
        # A refund that was given up here and that Stripe made all the same is treated as made in the dashboard.
        return topup.refunds.filter(
            pk=uuid.UUID(reported.refund_id), stripe_id=None, state=RefundState.REQUESTED
        ).first()
    except ValueError:
        return None


def _mismatch(topup: TopUp, refund: Refund | None, reported: stripe_mapping.StripeRefund) -> tuple[str, str] | None:
    if reported.currency.lower() != topup.currency:
        return "wrong_currency", f"Refunded in {reported.currency}, paid in {topup.currency}."
    if refund is not None and refund.amount_cents != reported.amount_cents:
        return "wrong_amount", f"Refunded {reported.amount_cents} cents, known as {refund.amount_cents}."
    return None


# --- Calls to Stripe -------------------------------------------------------------------------------------------------


def _take_from_ledger(topup: TopUp, *, person: User, amount_cents: int, token: uuid.UUID | None) -> Refund:
    """Insert a refund's row and take its money out of the ledger.

    Call it inside a transaction. Raises Conflict, for the caller to roll back, if the balance does not have the money.
    """
    refund = Refund(id=token or uuid.uuid4(), topup=topup, person=person, amount_cents=amount_cents)
    refund.reference = f"refund:{refund.pk}"
    refund.save(force_insert=True)
    claw_backs.take(topup, refund)
    # `claw_backs.take` has locked the wallet, so nothing changes between its write and this check.
    wallet = Wallet.objects.of(topup.organization).get()
    if wallet.available_micros < 0:
        raise Conflict(SPENT)
    return refund


def _send(refund: Refund) -> Refund:
    """Ask Stripe to make a refund whose money was taken, and act on the answer. Raises UpstreamFailed."""
    topup = refund.topup
    try:
        made = stripe_calls.create_refund(
            payment_intent_id=topup.payment_intent_id, amount_cents=refund.amount_cents, refund_id=str(refund.pk)
        )
    except stripe_api.StripeFailed as error:
        raise UpstreamFailed(NOTED) from error
    except (stripe_api.StripeRefused, stripe_api.StripeMissing) as error:
        # Stripe also refuses if an earlier call has made the refund and its answer was lost.
        if not _record_if_made(refund):
            _give_up(refund)
            raise UpstreamFailed(REFUSED) from error
    else:
        record(stripe_mapping.refund(made))
    refund.refresh_from_db()
    return refund


def _record_if_made(refund: Refund) -> bool:
    """Record the refund if Stripe has one with the row's id in its metadata. Returns whether it has."""
    try:
        made_refunds = stripe_calls.list_refunds(payment_intent_id=refund.topup.payment_intent_id)
    except (stripe_api.StripeRefused, stripe_api.StripeMissing):
        # Stripe does not know the payment, so it has no refund of it.
        return False
    for made in made_refunds:
        reported = stripe_mapping.refund(made)
        if reported.refund_id == str(refund.pk):
            record(reported)
            return True
    return False


def _give_up(refund: Refund) -> None:
    with transaction.atomic():
        TopUp.objects.select_for_update(no_key=True).get(pk=refund.topup_id)
        refund.refresh_from_db()
        # A webhook may have changed the row since.
        if refund.state == RefundState.REQUESTED:
            _give_back(refund, failure=REFUSED)


# --- Inside the lock -------------------------------------------------------------------------------------------------


def _give_back(refund: Refund, *, failure: str) -> None:
    refund.state = RefundState.FAILED
    refund.failure = failure[:SENTENCE_LENGTH]
    refund.ended_at = timezone.now()
    refund.save(update_fields=["state", "failure", "ended_at"])
    claw_backs.restore(refund.topup, refund)


def _later_micros(topups: Sequence[TopUp], *, wallet: Wallet) -> dict[uuid.UUID, int]:
    """Return the money that came in after each paid top-up, less what was taken back of it, by the top-up's id."""
    references = [topup.reference for topup in topups]
    posted = dict(Entry.objects.filter(kind=EntryKind.PAYMENT, reference__in=references).values_list("reference", "pk"))
    if not posted:
        return dict.fromkeys([topup.pk for topup in topups], 0)
    came = wallet.entries.filter(kind__in=CREDIT_KINDS, id__gt=min(posted.values()))
    entries = list(came.values_list("pk", "reference", "amount_micros"))
    first = min(topup.paid_at for topup in topups if topup.paid_at)
    later = TopUp.objects.filter(organization=wallet.organization_id, state=TopUpState.PAID, paid_at__gte=first)
    taken = claw_backs.taken_of_all(later)
    found = dict.fromkeys([topup.pk for topup in topups], 0)
    for topup in topups:
        if topup.reference not in posted:
            continue
        after, own = posted[topup.reference], topup.reference
        came_micros = sum(micros for pk, reference, micros in entries if pk > after and reference != own)
        paid_at = topup.paid_at
        found[topup.pk] = came_micros - sum(
            micros for one, micros in taken if one.pk != topup.pk and one.paid_at and paid_at and one.paid_at >= paid_at
        )
    return found


def _why_nothing(topup: TopUp, *, until: datetime | None) -> str:
    if until is None:
        return "This top-up was not paid."
    if timezone.now() > until:
        return f"Refunds are possible for {settings.REFUND_DAYS} days after the payment."
    if ledger.wallet_of(topup.organization).is_frozen:
        return (
            "Refunds wait until the open dispute or debt of your organization is settled. "
            f"Please contact {settings.SUPPORT_EMAIL}."
        )
    return SPENT
