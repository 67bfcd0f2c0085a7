"""Top-ups: start a checkout, fulfil what was paid, end what was not.

`fulfil` is the only way from a payment to the book. Webhook, success page and clock all call it with what Stripe told
them, in any order and as often as they like; the lock on the row lets one of them credit. It asks nobody: who calls
it has asked Stripe already, outside of any transaction.
"""

import logging
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from accounts.errors import InvalidField, UpstreamFailed, VoxsiteError
from accounts.models import Organization, User
from billing import ledger, money, pricing, stripe_api, stripe_calls, stripe_mapping, unmatched_events
from billing.models import EntryKind
from billing.models.payments import SENTENCE_LENGTH, AutomaticTopUp, ReplacedCard, SavedCard, TopUp, TopUpState

logger = logging.getLogger(__name__)

# Who may know the row's id in the addresses that Stripe sends the payer back to.
TOPUP_ID_PLACEHOLDER = "{TOPUP_ID}"
# The clock asks about a top-up that nobody told us of after the first, and again after the second.
FIRST_CHECK_AFTER = timedelta(minutes=2)
NEXT_CHECK_AFTER = timedelta(minutes=15)
# A process that has not written Stripe's answer after this long is dead: no answer takes longer.
STARTING_ENDS_AFTER = timedelta(minutes=15)
MAX_PER_ROUND = 100

NOT_PAID = "The payment was not made. Nothing was charged."
BANK_DECLINED = "Your bank declined the payment. Nothing was credited; try another way to pay."
INTERRUPTED = "The payment could not be started. Nothing was charged; please try again."


class TopUpUnknown(VoxsiteError):
    """Something about a payment came before the payment itself: whoever sent it should send it again."""

    default_message = "There is no paid top-up for this payment yet."


@dataclass(frozen=True, slots=True)
class Checkout:
    """A top-up that waits for its payer, and the page where they pay."""

    topup: TopUp
    url: str


# --- Starting --------------------------------------------------------------------------------------------------------


def start_checkout(
    organization: Organization, *, amount_cents: int, person: User, save_card: bool, success_url: str, cancel_url: str
) -> Checkout:
    """Begin a top-up at Stripe's pay page.

    success_url, cancel_url: where Stripe sends the payer back to; `{TOPUP_ID}` in them becomes the row's id.
    Raises InvalidField for an amount out of bounds, UpstreamFailed when Stripe does not answer as it should: the row
    is then left failed, with the reason. Waits for the network: call it outside of transactions.
    """
    check_amount(amount_cents)
    # Durable: inside a transaction that is taken back Stripe would know a top-up that we do not.
    with transaction.atomic(durable=True):
        topup = begin(organization, amount_cents=amount_cents, person=person, save_card=save_card)
    try:
        session = stripe_calls.create_checkout(
            topup,
            success_url=success_url.replace(TOPUP_ID_PLACEHOLDER, str(topup.pk)),
            cancel_url=cancel_url.replace(TOPUP_ID_PLACEHOLDER, str(topup.pk)),
        )
    except Exception as error:
        # A session that Stripe made all the same is known to nobody, so nobody pays it; if one did, it is credited.
        end(topup, state=TopUpState.FAILED, failure=error.message if isinstance(error, VoxsiteError) else INTERRUPTED)
        raise
    TopUp.objects.filter(pk=topup.pk).update(checkout_session_id=session["id"])
    TopUp.objects.filter(pk=topup.pk, state=TopUpState.STARTING).update(state=TopUpState.PENDING)
    topup.refresh_from_db()
    return Checkout(topup=topup, url=session["url"])


def check_amount(amount_cents: int) -> None:
    """Raise InvalidField unless so much may be topped up."""
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
    """Write the row of a wish to pay. It must be committed before Stripe hears of it."""
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
    """Credit a payment and its bonus, once. Returns the row as it is now, or None if the payment is nobody's.

    Does nothing about what is not paid, except to note that it is on its way. What is paid but does not fit its row
    (unknown, another amount or currency, paid twice) is kept for an operator as an unmatched event and credits nothing.
    """
    with transaction.atomic():
        topup = _locked(payment.topup_id)
        if topup is None:
            # A PaymentIntent without a name of ours belongs to a checkout, which is parked by itself, or to no top-up.
            if payment.is_paid and (payment.topup_id or payment.subject == "checkout"):
                _record_unmatched(payment, reason="unknown_topup", explanation="It names no top-up of ours.")
            return None
        if not payment.is_paid:
            if payment.is_processing and topup.is_open:
                topup.state = TopUpState.PROCESSING
                topup.save(update_fields=["state"])
            return topup
        if fault := _fault(topup, payment):
            reason, explanation = fault
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
    """End the top-up of a payment that the bank refused in the end; one that ended before stays as it is."""
    if topup := find(payment.topup_id):
        end(topup, state=TopUpState.FAILED, failure=failure)


def expire(payment: stripe_mapping.StripePayment) -> None:
    """End the top-up of a checkout that nobody paid in time; one that ended before stays as it is."""
    if topup := find(payment.topup_id):
        end(topup, state=TopUpState.EXPIRED, failure=NOT_PAID)


def end(topup: TopUp, *, state: TopUpState, failure: str = "") -> TopUp:
    """End a top-up without money. One that has ended before, paid or not, stays as it is. Returns the row as it is."""
    with transaction.atomic():
        locked = _locked(str(topup.pk))
        assert locked is not None, "rows of top-ups are never deleted"
        if locked.is_open:
            _end(locked, state=state, failure=failure)
    return locked


def store_charge(charge: stripe_mapping.StripeCharge) -> None:
    """Keep the receipt of a payment, and the card if the payer asked for it. A charge that is not ours is ignored."""
    with transaction.atomic():
        topup = _locked(charge.topup_id)
        if topup is not None:
            _store_details(topup, charge.links, card=charge.card)


def store_invoice(invoice: stripe_mapping.StripeInvoice) -> None:
    """Keep the addresses of a payment's invoice once it is paid. An invoice that is not ours is ignored."""
    # The page of one that is still open asks for money, a second time.
    if not invoice.is_paid:
        return
    with transaction.atomic():
        topup = _locked(invoice.topup_id)
        if topup is not None:
            _store_details(topup, invoice.links, card=None)


# --- Asking Stripe ---------------------------------------------------------------------------------------------------


def confirm(topup: TopUp) -> TopUp:
    """Ask Stripe how an open top-up stands and act on it. Returns the row as it is then.

    A Stripe that does not answer changes nothing: its webhook or the clock will. Waits for the network.
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
    """Ask Stripe about top-ups that stay open, in case its webhooks did not reach us. Returns how many were looked at.

    Waits for the network, with no transaction open. Any number of clocks may do so at once.
    """
    now = now or timezone.now()
    due = TopUp.objects.open().filter(
        Q(checked_at__isnull=True) | Q(checked_at__lte=now - NEXT_CHECK_AFTER),
        # `automatic_topups` looks after its own.
        is_automatic=False,
        created_at__lte=now - FIRST_CHECK_AFTER,
    )
    looked_count = 0
    # Never looked at first: one that fails each time must not keep the others from their turn.
    for topup in due.order_by(F("checked_at").asc(nulls_first=True), "created_at")[:MAX_PER_ROUND]:
        TopUp.objects.filter(pk=topup.pk).update(checked_at=now)
        looked_count += 1
        try:
            if topup.checkout_session_id:
                sync_checkout(topup)
            elif topup.created_at <= now - STARTING_ENDS_AFTER:
                # Its address was never given to anybody: the session's id is written before.
                end(topup, state=TopUpState.FAILED, failure=INTERRUPTED)
        except UpstreamFailed:
            logger.warning("Stripe did not say how top-up %s stands.", topup.pk)
            break
        except Exception:  # One that cannot be fulfilled must not stop the others.
            logger.exception("Top-up %s could not be looked at.", topup.pk)
    return looked_count


def sync_checkout(topup: TopUp) -> str:
    """Ask Stripe how a checkout stands and act on it. Returns the address of its page while it can be paid there.

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

    Raises TopUpUnknown if there is none yet: refunds and disputes may overtake the payment that they are about.
    """
    topup = TopUp.objects.select_for_update(no_key=True).filter(payment_intent_id=payment_intent_id or None).first()
    if topup is None or not topup.is_paid:
        raise TopUpUnknown
    return topup


def find(topup_id: str) -> TopUp | None:
    """Return the row of an id as Stripe gave it back, or None."""
    try:
        return TopUp.objects.filter(pk=uuid.UUID(topup_id)).first()
    except ValueError:
        return None


def _locked(topup_id: str) -> TopUp | None:
    try:
        return TopUp.objects.select_for_update(no_key=True).filter(pk=uuid.UUID(topup_id)).first()
    except ValueError:
        return None


# --- Inside the lock -------------------------------------------------------------------------------------------------


def _fault(topup: TopUp, payment: stripe_mapping.StripePayment) -> tuple[str, str] | None:
    """Return (reason, explanation) if the payment is not the one that the row asks for."""
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
        # A checkout's is made by Stripe.
        topup.invoice_due_at = topup.paid_at
    topup.save(update_fields=["state", "failure", "paid_at", "ended_at", "invoice_due_at"])
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
        # The wish is granted once: a charge that is told of again must not bring back a card that was removed since.
        topup.save_card = False
        topup.save(update_fields=["save_card"])


def _save_card(organization: Organization, card: stripe_mapping.StripeCard) -> None:
    """Keep a card in the place of the one before, which the clock then has Stripe forget: here nobody may ask it."""
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
    # One that comes back is not to be forgotten any more.
    ReplacedCard.objects.filter(payment_method_id=card.payment_method_id).delete()
