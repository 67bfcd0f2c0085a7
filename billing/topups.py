"""Top-ups: start a checkout, fulfil what was paid, end what was not.

`fulfil` is the only way from a payment to the ledger. The webhook, the success page and a periodic duty all call it
with what Stripe reported, in any order and any number of times; the lock on the row lets exactly one call credit the
payment. `fulfil` does not call Stripe: its callers have done that before, outside transactions.
"""

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.dispatch import Signal
from django.utils import timezone

from accounts.errors import InvalidField, UpstreamFailed, VoxsiteError
from accounts.models import Organization, User
from billing import ledger, money, pricing, stripe_api, stripe_calls, stripe_mapping, unmatched_events
from billing.models import EntryKind
from billing.models.payments import SENTENCE_LENGTH, AutomaticTopUp, ReplacedCard, SavedCard, TopUp, TopUpState

logger = logging.getLogger(__name__)

# Stands for the row's id in the addresses to which Stripe sends the payer back.
TOPUP_ID_PLACEHOLDER = "{TOPUP_ID}"
# `sweep` asks Stripe about an open top-up after the first interval, then again after each of the second.
FIRST_CHECK_AFTER = timedelta(minutes=2)
NEXT_CHECK_AFTER = timedelta(minutes=15)
# No answer of Stripe takes longer: a process that has not stored it by then is dead.
STARTING_ENDS_AFTER = timedelta(minutes=15)
MAX_PER_ROUND = 100
# Sent once, inside the transaction that credits a payment. Argument: topup.
topup_completed = Signal()

NOT_PAID = "The payment was not made. Nothing was charged."
BANK_DECLINED = "Your bank declined the payment. Nothing was credited; try another way to pay."
INTERRUPTED = "The payment could not be started. Nothing was charged; please try again."


class TopUpUnknown(VoxsiteError):
    """A refund or dispute arrived before its payment. The webhook answers 500, so that Stripe sends it again."""

    default_message = "There is no paid top-up for this payment yet."


@dataclass(frozen=True, slots=True)
class Checkout:
    """A top-up that waits for its payer, and the address of Stripe's pay page."""

    topup: TopUp
    url: str


# --- Starting --------------------------------------------------------------------------------------------------------


def start_checkout(
    organization: Organization, *, amount_cents: int, person: User, save_card: bool, success_url: str, cancel_url: str
) -> Checkout:
    """Create a top-up and its Checkout Session at Stripe.

    success_url, cancel_url: where Stripe sends the payer back to; `{TOPUP_ID}` in them becomes the row's id.
    Raises InvalidField for an amount out of bounds. Raises UpstreamFailed if Stripe fails; the row is then FAILED, with
    the reason. Waits for the network: call it outside transactions.
    """
    check_amount(amount_cents)
    # Durable: if an outer transaction rolled back, Stripe would know a top-up that has no row here.
    with transaction.atomic(durable=True):
        topup = begin(organization, amount_cents=amount_cents, person=person, save_card=save_card)
    try:
        session = stripe_calls.create_checkout(
            topup,
            success_url=success_url.replace(TOPUP_ID_PLACEHOLDER, str(topup.pk)),
            cancel_url=cancel_url.replace(TOPUP_ID_PLACEHOLDER, str(topup.pk)),
        )
    except Exception as error:
        # Stripe may have created the session all the same. Nobody knows its address; a payment would still be credited.
        end(topup, state=TopUpState.FAILED, failure=error.message if isinstance(error, VoxsiteError) else INTERRUPTED)
        raise
    TopUp.objects.filter(pk=topup.pk).update(checkout_session_id=session["id"])
    TopUp.objects.filter(pk=topup.pk, state=TopUpState.STARTING).update(state=TopUpState.PENDING)
    topup.refresh_from_db()
    return Checkout(topup=topup, url=session["url"])


def check_amount(amount_cents: int) -> None:
    """Raise InvalidField if the amount is out of bounds for a top-up."""
    if not pricing.MIN_TOPUP_CENTS <= amount_cents <= pricing.MAX_TOPUP_CENTS:
        smallest, largest = (
            money.display_text(cents * money.MICROS_PER_CENT)
            for cents in (pricing.MIN_TOPUP_CENTS, pricing.MAX_TOPUP_CENTS)
        )
        raise InvalidField("amount_cents", f"Choose an amount from {smallest} to {largest}.")


def begin(
    organization: Organization,
    *,
    amount_cents: int,
    person: User | None,
    save_card: bool = False,
    is_automatic: bool = False,
    payment_method_id: str = "",
) -> TopUp:
    """Insert the row of a top-up. The caller must commit it before calling Stripe."""
    return TopUp.objects.create(
        organization=organization,
        person=person,
        amount_cents=amount_cents,
        bonus_cents=pricing.bonus_cents(amount_cents),
        save_card=save_card,
        is_automatic=is_automatic,
        payment_method_id=payment_method_id,
    )


# --- Fulfilling ------------------------------------------------------------------------------------------------------


def fulfil(payment: stripe_mapping.StripePayment) -> TopUp | None:
    """Credit a payment and its bonus, once. Returns the row as it is then, or None if the payment has none.

    A payment that the bank has not confirmed only sets the state PROCESSING. A paid one that does not match its row
    (no row, other amount or currency, paid twice) credits nothing and is recorded as an unmatched event.
    """
    with transaction.atomic():
        topup = _locked(payment.topup_id)
        if topup is None:
            # Ignore a PaymentIntent without the id of a top-up. It belongs to a checkout, whose own event arrives here,
            # or to no top-up at all.
            if payment.is_paid and (payment.topup_id or payment.subject == "checkout"):
                _record_unmatched(payment, reason="unknown_topup", explanation="It names no top-up of this site.")
            return None
        if not payment.is_paid:
            if payment.is_processing and topup.is_open:
                topup.state = TopUpState.PROCESSING
                topup.save(update_fields=["state"])
            return topup
        if mismatch := _mismatch(topup, payment):
            reason, explanation = mismatch
            _record_unmatched(payment, reason=reason, explanation=explanation, topup=topup)
            if topup.is_open:
                _end(topup, state=TopUpState.UNDER_REVIEW)
            return topup
        _store_stripe_ids(topup, payment)
        _store_details(topup, payment.links, card=payment.card)
        if not topup.is_paid:
            _credit(topup)
    return topup


def fail(payment: stripe_mapping.StripePayment, *, failure: str = BANK_DECLINED) -> None:
    """End the top-up of a payment that the bank declined. Does nothing if it has ended before."""
    if topup := find(payment.topup_id):
        end(topup, state=TopUpState.FAILED, failure=failure)


def expire(payment: stripe_mapping.StripePayment) -> None:
    """End the top-up of a checkout that nobody paid in time. Does nothing if it has ended before."""
    if topup := find(payment.topup_id):
        end(topup, state=TopUpState.EXPIRED, failure=NOT_PAID)


def end(topup: TopUp, *, state: TopUpState, failure: str = "") -> TopUp:
    """End a top-up without a payment. Does nothing if it has ended before. Returns the row as it is then."""
    with transaction.atomic():
        locked = _locked(str(topup.pk))
        assert locked is not None, "rows of top-ups are never deleted"
        if locked.is_open:
            _end(locked, state=state, failure=failure)
    return locked


def store_charge(charge: stripe_mapping.StripeCharge) -> None:
    """Store the link to a payment's receipt, and the card if the payer asked for it. Ignores a charge of no top-up."""
    with transaction.atomic():
        topup = _locked(charge.topup_id)
        if topup is not None:
            _store_details(topup, charge.links, card=charge.card)


def store_invoice(invoice: stripe_mapping.StripeInvoice) -> None:
    """Store the links to a payment's invoice once it is paid. Ignores an invoice of no top-up."""
    # The page of an open invoice would ask for the money a second time.
    if not invoice.is_paid:
        return
    with transaction.atomic():
        topup = _locked(invoice.topup_id)
        if topup is not None:
            _store_details(topup, invoice.links, card=None)


# --- Asking Stripe ---------------------------------------------------------------------------------------------------


def confirm(topup: TopUp) -> TopUp:
    """Ask Stripe for the state of an open checkout and act on it. Returns the row as it is then.

    Changes nothing if Stripe does not answer: the webhook or `sweep` does it later. Waits for the network.
    """
    if not topup.is_open or not topup.checkout_session_id:
        return topup
    try:
        sync_checkout(topup)
    except UpstreamFailed:
        logger.warning("Stripe did not say how top-up %s stands.", topup.pk)
    topup.refresh_from_db()
    return topup


def sweep(*, now: datetime | None = None) -> int:
    """Ask Stripe about top-ups that stay open, in case a webhook was lost. Returns how many were checked.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    now = now or timezone.now()
    due = TopUp.objects.open().filter(
        Q(checked_at__isnull=True) | Q(checked_at__lte=now - NEXT_CHECK_AFTER),
        # `automatic_topups` checks the automatic ones.
        is_automatic=False,
        created_at__lte=now - FIRST_CHECK_AFTER,
    )
    checked_count = 0
    # Unchecked ones first: one that fails each time must not starve the others.
    for topup in due.order_by(F("checked_at").asc(nulls_first=True), "created_at")[:MAX_PER_ROUND]:
        TopUp.objects.filter(pk=topup.pk).update(checked_at=now)
        checked_count += 1
        try:
            if topup.checkout_session_id:
                sync_checkout(topup)
            elif topup.created_at <= now - STARTING_ENDS_AFTER:
                # The payer never got the address: the session's id is stored before the redirect.
                end(topup, state=TopUpState.FAILED, failure=INTERRUPTED)
        except UpstreamFailed:
            logger.warning("Stripe did not say how top-up %s stands.", topup.pk)
            break
        except Exception:  # An error of one top-up must not stop the others.
            logger.exception("Top-up %s could not be checked.", topup.pk)
    return checked_count


def sync_checkout(topup: TopUp) -> str:
    """Ask Stripe for the state of a checkout and act on it. Returns the address of its pay page, empty if closed.

    Raises UpstreamFailed. Waits for the network.
    """
    try:
        session = stripe_calls.retrieve_checkout(topup.checkout_session_id)
    except stripe_api.StripeMissing:
        end(topup, state=TopUpState.FAILED, failure=NOT_PAID)
        return ""
    payment = stripe_mapping.payment_of_checkout(session)
    if payment.is_paid or payment.is_processing:
        fulfil(payment)
    elif payment.is_closed:
        expire(payment)
    return payment.page_url


# --- Finding ---------------------------------------------------------------------------------------------------------


def paid_with(payment_intent_id: str) -> TopUp:
    """Return the paid top-up of a PaymentIntent, locked. Call it inside a transaction.

    Raises TopUpUnknown if there is none yet: the event of a refund or dispute may arrive before that of the payment.
    """
    topup = TopUp.objects.select_for_update(no_key=True).filter(payment_intent_id=payment_intent_id or None).first()
    if topup is None or not topup.is_paid:
        raise TopUpUnknown
    return topup


def find(topup_id: str) -> TopUp | None:
    """Return the top-up with the id that Stripe reported, or None."""
    try:
        return TopUp.objects.filter(pk=uuid.UUID(topup_id)).first()
    except ValueError:
        return None


def has_paid(organization: Organization) -> bool:
    """Tell whether the organization has ever bought credit."""
    return TopUp.objects.of(organization).filter(state=TopUpState.PAID).exists()


def _locked(topup_id: str) -> TopUp | None:
    try:
        return TopUp.objects.select_for_update(no_key=True).filter(pk=uuid.UUID(topup_id)).first()
    except ValueError:
        return None


# --- Inside the lock -------------------------------------------------------------------------------------------------


def _mismatch(topup: TopUp, payment: stripe_mapping.StripePayment) -> tuple[str, str] | None:
    """Return (reason, explanation) if the payment does not match the row, else None."""
    if payment.currency.lower() != topup.currency:
        return "wrong_currency", f"Paid in {payment.currency or 'no currency'}, asked for {topup.currency}."
    if payment.amount_cents != topup.amount_cents:
        return "wrong_amount", f"Paid {payment.amount_cents} cents, asked for {topup.amount_cents}."
    for name, known, told in (
        ("session", topup.checkout_session_id, payment.checkout_session_id),
        ("payment", topup.payment_intent_id, payment.payment_intent_id),
    ):
        if known and told and known != told:
            return f"other_{name}", f"The top-up belongs to {known}; this is {told}."
    return None


def _record_unmatched(
    payment: stripe_mapping.StripePayment, *, reason: str, explanation: str, topup: TopUp | None = None
) -> None:
    unmatched_events.record(
        subject=payment.subject,
        stripe_id=payment.stripe_id,
        reason=reason,
        explanation=explanation,
        topup=topup,
        details={
            "topup_id": payment.topup_id[:100],
            "amount_cents": payment.amount_cents,
            "currency": payment.currency,
            "payment_intent": payment.payment_intent_id,
        },
    )


def _credit(topup: TopUp) -> None:
    ledger.credit(
        topup.organization,
        amount_micros=topup.amount_cents * money.MICROS_PER_CENT,
        kind=EntryKind.PAYMENT,
        reference=topup.reference,
        description="Automatic top-up" if topup.is_automatic else "Top-up",
    )
    if topup.bonus_cents:
        ledger.credit(
            topup.organization,
            amount_micros=topup.bonus_cents * money.MICROS_PER_CENT,
            kind=EntryKind.BONUS,
            reference=topup.reference,
            description="Bonus",
        )
    topup.state = TopUpState.PAID
    topup.failure = ""
    topup.paid_at = topup.ended_at = timezone.now()
    if topup.is_automatic:
        # Stripe creates the invoice of a checkout.
        topup.invoice_due_at = topup.paid_at
    topup.save(update_fields=["state", "failure", "paid_at", "ended_at", "invoice_due_at"])
    topup_completed.send(sender=TopUp, topup=topup)
    if topup.is_automatic:
        AutomaticTopUp.objects.filter(organization=topup.organization).update(declines_count=0, retry_at=None)


def _end(topup: TopUp, *, state: TopUpState, failure: str = "") -> None:
    topup.state = state
    topup.failure = failure[:SENTENCE_LENGTH]
    topup.ended_at = timezone.now()
    topup.save(update_fields=["state", "failure", "ended_at"])


def _store_stripe_ids(topup: TopUp, payment: stripe_mapping.StripePayment) -> None:
    topup.checkout_session_id = topup.checkout_session_id or payment.checkout_session_id
    topup.payment_intent_id = topup.payment_intent_id or payment.payment_intent_id
    topup.save(update_fields=["checkout_session_id", "payment_intent_id"])


def _store_details(topup: TopUp, links: stripe_mapping.ReceiptLinks, *, card: stripe_mapping.StripeCard | None) -> None:
    topup.receipt_url = links.receipt_url or topup.receipt_url
    topup.invoice_url = links.invoice_url or topup.invoice_url
    topup.invoice_pdf_url = links.invoice_pdf_url or topup.invoice_pdf_url
    topup.save(update_fields=["receipt_url", "invoice_url", "invoice_pdf_url"])
    if topup.save_card and card is not None:
        _save_card(topup.organization, card)
        # Save it once: when the charge is reported again, a card that was removed since must not come back.
        topup.save_card = False
        topup.save(update_fields=["save_card"])


def _save_card(organization: Organization, card: stripe_mapping.StripeCard) -> None:
    """Replace the saved card. `saved_cards.forget_replaced` later detaches the old one at Stripe.

    It cannot be detached here: this runs inside a transaction, where Stripe must not be called.
    """
    before = SavedCard.objects.select_for_update().filter(organization=organization).first()
    SavedCard.objects.update_or_create(
        organization=organization,
        defaults={
            "payment_method_id": card.payment_method_id,
            "brand": card.brand,
            "last4": card.last4,
            "expires_month": card.expires_month,
            "expires_year": card.expires_year,
        },
    )
    if before is not None and before.payment_method_id != card.payment_method_id:
        ReplacedCard.objects.get_or_create(payment_method_id=before.payment_method_id)
    # A replaced card that is saved again must not be detached.
    ReplacedCard.objects.filter(payment_method_id=card.payment_method_id).delete()
