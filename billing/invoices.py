"""Invoices of automatic top-ups: a periodic duty creates them at Stripe after the payment was credited.

Stripe creates an invoice for each Checkout, but none for a charge of a saved card. So this module creates one
afterwards and attaches the payment to it (docs/decisions/0019):

    no invoice → draft without lines → draft with one line → open (finalized, numbered) → paid (payment attached)

Each step first reads the state that the step before left at Stripe. If a process dies between two steps, the next one
continues there. Nothing here charges a card or writes to the ledger. At worst the payer has the credit and no invoice.
"""

import logging
from datetime import datetime, timedelta

from django.utils import timezone

from accounts.errors import UpstreamFailed
from billing import stripe_api, stripe_calls, stripe_mapping, unmatched_events
from billing.models.payments import TopUp

logger = logging.getLogger(__name__)

# Longer than one attempt takes if Stripe answers each call just before its time-out.
NEXT_TRY_AFTER = timedelta(minutes=15)
MAX_PER_ROUND = 100
# Stripe may accept a step and show its effect later. This long after the payment it will not any more.
GIVE_UP_AFTER = timedelta(days=1)
# Three steps and a final check; twice that, because another process may work on the same invoice.
MAX_STEPS = 8


def make_due(*, now: datetime | None = None) -> int:
    """Continue all invoices that are due. Returns how many top-ups were worked on.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    now = now or timezone.now()
    attempted_count = 0
    for topup in TopUp.objects.without_invoice(now=now).select_related("organization")[:MAX_PER_ROUND]:
        # Claim the top-up: of two processes one changes the row. The same UPDATE schedules the next attempt, counted
        # from the present, because the round may have lasted long.
        mine = TopUp.objects.filter(pk=topup.pk, invoice_due_at=topup.invoice_due_at)
        if not mine.update(invoice_due_at=max(now, timezone.now()) + NEXT_TRY_AFTER):
            continue
        attempted_count += 1
        try:
            _make(topup)
        except UpstreamFailed:
            logger.warning("Stripe did not answer about the invoice of top-up %s.", topup.pk)
            # Wait for a silent Stripe once per round, not once per invoice.
            break
        except Exception:  # An error of one invoice must not stop the others.
            logger.exception("The invoice of top-up %s could not be made.", topup.pk)
    return attempted_count


def _make(topup: TopUp) -> None:
    """Take an invoice through its remaining steps. Raises UpstreamFailed if Stripe does not answer."""
    try:
        invoice = _find_or_create(topup)
        for _ in range(MAX_STEPS):
            if reason := _mismatch(topup, invoice):
                _give_up(topup, invoice, reason=reason)
                return
            if invoice.is_paid:
                _store_links(topup, invoice)
                return
            before, refusal = invoice, ""
            try:
                invoice = _take_next_step(topup, invoice)
            except (stripe_api.StripeRefused, stripe_api.StripeMissing, stripe_api.CardDeclined) as error:
                # Stripe also refuses a step that was done before, so read the present state.
                invoice, refusal = _retrieve(topup), _refusal(error)
            if (before.status, before.has_lines) != (invoice.status, invoice.has_lines):
                continue
            if refusal or _is_old(topup):
                _give_up(topup, invoice, reason=refusal or "Stripe takes the next step, and nothing comes of it.")
            return
    except stripe_api.StripeMissing:
        # A person deleted the draft in Stripe's dashboard.
        _give_up(topup, None, reason="Stripe does not know it any more.")
    except stripe_api.StripeRefused as error:
        # Stripe refused to create the invoice: for example, the customer was deleted.
        _give_up(topup, None, reason=_refusal(error))


def _find_or_create(topup: TopUp) -> stripe_mapping.StripeInvoice:
    """Return the invoice of a top-up; create it if there is none."""
    if topup.invoice_id:
        return _retrieve(topup)
    # An earlier attempt may have created an invoice and lost the answer. The idempotency key may have expired since, so
    # search for it.
    if topup.invoice_due_at != topup.paid_at:
        topup.invoice_id = stripe_calls.find_invoice(topup)
    if topup.invoice_id:
        invoice = _retrieve(topup)
    else:
        invoice = stripe_mapping.invoice(stripe_calls.create_invoice(topup))
        topup.invoice_id = invoice.stripe_id
    topup.save(update_fields=["invoice_id"])
    return invoice


def _mismatch(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> str:
    """Return why the invoice cannot document this payment, as a sentence; empty if it can or does."""
    if invoice.currency != topup.currency:
        return f"It is in {invoice.currency}, the payment in {topup.currency}."
    if invoice.status not in {"draft", "open", "paid"}:
        return f"It is {invoice.status}."
    if invoice.balance_cents:
        # Stripe would apply the customer's balance to the invoice, so that its amount due would differ from the
        # payment. With less due, Stripe would credit the rest to the customer; with more due, the invoice would stay
        # open.
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


def _take_next_step(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> stripe_mapping.StripeInvoice:
    if invoice.status == "open":
        return stripe_mapping.invoice(stripe_calls.pay_invoice_with_charge(topup))
    if invoice.has_lines:
        return stripe_mapping.invoice(stripe_calls.finalize_invoice(topup))
    return stripe_mapping.invoice(stripe_calls.add_invoice_line(topup))


def _retrieve(topup: TopUp) -> stripe_mapping.StripeInvoice:
    return stripe_mapping.invoice(stripe_calls.retrieve_invoice(topup.invoice_id))


def _store_links(topup: TopUp, invoice: stripe_mapping.StripeInvoice) -> None:
    TopUp.objects.filter(pk=topup.pk).update(
        invoice_url=invoice.links.invoice_url, invoice_pdf_url=invoice.links.invoice_pdf_url, invoice_due_at=None
    )


def _give_up(topup: TopUp, invoice: stripe_mapping.StripeInvoice | None, *, reason: str) -> None:
    """Leave the invoice to an operator as an unmatched event. Void an open one first, so that nobody pays it."""
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
