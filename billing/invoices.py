"""Invoices of automatic top-ups: when the money is in the book, the clock has Stripe make the paper for it.

A Checkout makes its invoice by itself, a charge of a saved card makes none. So one is made afterwards, and the payment
that was made is attached to it (docs/decisions/0019). Nothing here charges anybody or writes to the book: whatever goes
wrong, the payer has their money and at worst no paper. Stripe is asked for one step after the other, and each looks at
what the one before left: a process that dies between any two is followed by one that goes on where it stopped.
"""

import logging
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.errors import UpstreamFailed
from billing import stripe_api, stripe_calls, stripe_mapping, unmatched_events
from billing.models.payments import TopUp

logger = logging.getLogger(__name__)

# Longer than all questions of one try take with a Stripe that answers each in the last moment.
NEXT_TRY_AFTER = timedelta(minutes=15)
MAX_PER_ROUND = 100
# Stripe may take a step and show what comes of it later. After so long since the payment nothing will.
GIVE_UP_AFTER = timedelta(days=1)
# A line, its number, its payment, and the look at the end; as many again if another process is at it.
MAX_STEPS = 8


def make_due(*, now: datetime | None = None) -> int:
    """Go on with all invoices that are due. Returns how many top-ups were looked at.

    Waits for the network, with no transaction open. Any number of clocks may do so at once.
    """
    now = now or timezone.now()
    looked_count = 0
    for topup in TopUp.objects.without_invoice(now=now).select_related("organization")[:MAX_PER_ROUND]:
        # One clock takes it, and the next try is due whatever becomes of this one. The round may have lasted by now.
        mine = TopUp.objects.filter(pk=topup.pk, invoice_due_at=topup.invoice_due_at)
        if not mine.update(invoice_due_at=max(now, timezone.now()) + NEXT_TRY_AFTER):
            continue
        looked_count += 1
        try:
            _make(topup)
        except UpstreamFailed:
            logger.warning("Stripe did not answer about the invoice of top-up %s.", topup.pk)
            # A silent Stripe must not be waited for as often as there are invoices.
            break
        except Exception:  # One that cannot be made must not stop the others.
            logger.exception("The invoice of top-up %s could not be made.", topup.pk)
    return looked_count


def _make(topup: TopUp) -> None:
    """Bring an invoice to its end, from wherever it stands. Raises UpstreamFailed if Stripe does not answer."""
    try:
        invoice = _begun(topup)
        for _ in range(MAX_STEPS):
            if reason := _fault(topup, invoice):
                _give_up(topup, invoice, reason=reason)
                return
            if invoice.is_paid:
                _keep(topup, invoice)
                return
            before, refusal = invoice, ""
            try:
                invoice = _after_next_step(topup, invoice)
            except (stripe_api.StripeRefused, stripe_api.StripeMissing, stripe_api.CardDeclined) as error:
                # Perhaps because it is done already. What is missing may be the payment.
                invoice, refusal = _as_it_is(topup), _refusal(error)
            if (before.status, before.has_lines) != (invoice.status, invoice.has_lines):
                continue
            if refusal or _is_old(topup):
                _give_up(topup, invoice, reason=refusal or "Stripe takes the next step, and nothing comes of it.")
            return
    except stripe_api.StripeMissing:
        # Somebody deleted the draft.
        _give_up(topup, None, reason="Stripe does not know it any more.")
    except stripe_api.StripeRefused as error:
        # To begin one: for example for a customer that was deleted.
        _give_up(topup, None, reason=_refusal(error))


def _begun(topup: TopUp) -> stripe_mapping.StripeInvoice:
    """Return the invoice of a top-up, made if there is none yet."""
    if topup.invoice_id:
        return _as_it_is(topup)
    # An earlier try may have made one whose name was lost: Stripe forgets idempotency keys, but no invoice.
    if topup.invoice_due_at != topup.paid_at:
        topup.invoice_id = stripe_calls.find_invoice(topup)
    if topup.invoice_id:
        invoice = _as_it_is(topup)
    else:
        invoice = stripe_mapping.invoice(stripe_calls.create_invoice(topup))
        topup.invoice_id = invoice.stripe_id
    topup.save(update_fields=["invoice_id"])
    return invoice


def _fault(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> str:
    """Return why this invoice cannot become the one of this payment; nothing if it can, or is."""
    if invoice.currency != topup.currency:
        return f"It is in {invoice.currency}, the payment in {topup.currency}."
    if invoice.status not in {"draft", "open", "paid"}:
        return f"It is {invoice.status}."
    if invoice.balance_cents:
        # It would be set off against the invoice, which then would not be about what was paid: less, and Stripe
        # credits the rest to the customer; more, and the invoice stays open and asks for it.
        return f"The customer has a balance of {invoice.balance_cents} cents at Stripe."
    if invoice.status == "draft" and not invoice.has_lines:
        return ""
    if invoice.total_cents != topup.amount_cents:
        return f"It is about {invoice.total_cents} cents, the payment about {topup.amount_cents}."
    if invoice.status == "open" and invoice.remaining_cents != topup.amount_cents:
        return f"{invoice.remaining_cents} cents of it are to pay, and {topup.amount_cents} were paid."
    if invoice.is_paid and invoice.paid_with_cents != {topup.payment_intent_id: topup.amount_cents}:
        return f"It was paid with {', '.join(invoice.paid_with_cents) or 'nothing'}, not with this payment alone."
    return ""


def _after_next_step(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> stripe_mapping.StripeInvoice:
    if invoice.status == "open":
        return stripe_mapping.invoice(stripe_calls.pay_invoice_with_charge(topup))
    if invoice.has_lines:
        return stripe_mapping.invoice(stripe_calls.finalize_invoice(topup))
    return stripe_mapping.invoice(stripe_calls.add_invoice_line(topup))


def _as_it_is(topup: TopUp) -> stripe_mapping.StripeInvoice:
    return stripe_mapping.invoice(stripe_calls.retrieve_invoice(topup.invoice_id))


def _keep(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> None:
    TopUp.objects.filter(pk=topup.pk).update(
        invoice_url=invoice.links.invoice_url, invoice_pdf_url=invoice.links.invoice_pdf_url, invoice_due_at=None
    )


def _give_up(topup: TopUp, invoice: stripe_mapping.StripeInvoice | None, *, reason: str) -> None:
    """Leave it to an operator. What is open is voided first, so that nobody pays it."""
    if invoice is not None and invoice.status == "open":
        try:
            stripe_calls.void_invoice(topup)
        except stripe_api.StripeRefused:
            reason += " It is still open, and could not be voided."
    unmatched_events.record(
        subject="invoice",
        stripe_id=topup.invoice_id or topup.payment_intent_id,
        reason="no_invoice",
        explanation=f"Automatic top-up {topup.pk} has no invoice. {reason}",
        topup=topup,
    )
    TopUp.objects.filter(pk=topup.pk).update(invoice_due_at=None)


def _is_old(topup: TopUp) -> bool:
    return topup.paid_at is not None and topup.paid_at <= timezone.now() - GIVE_UP_AFTER


def _refusal(error: stripe_api.StripeRefused | stripe_api.StripeMissing | stripe_api.CardDeclined) -> str:
    if isinstance(error, stripe_api.StripeMissing):
        code = "missing"
    else:
        code = error.code if isinstance(error, stripe_api.CardDeclined) else error.stripe_code
    return f"Stripe refused the next step ({code or 'it gave no code'})."
