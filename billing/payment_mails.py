"""Mails to owners about money that came and money that went back: one for each payment and for each refund."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from billing import ledger, money, notices
from billing.models import Notice
from billing.models.payments import TopUp
from billing.models.reversals import Refund, RefundState

# A site to which this duty comes for the first time tells of no older payments.
NOTIFY_WITHIN = timedelta(days=1)
PAID_NOTICE = "payment_received"
REFUNDED_NOTICE = "payment_refunded"
MAX_PER_ROUND = 100


def notify_owners(*, now: datetime) -> None:
    """Mail owners about payments and refunds of the last day. `notices` sends each mail once.

    Waits for the mail server. A refund is told when Stripe has sent it off. Of one that failed the billing page tells.
    """
    for topup in _untold_payments(now=now):
        with notices.isolating_errors(PAID_NOTICE, organization_id=topup.organization_id):
            _tell_of_payment(topup)
    for refund in _untold_refunds(now=now):
        with notices.isolating_errors(REFUNDED_NOTICE, organization_id=refund.topup.organization_id):
            _tell_of_refund(refund)


def _untold_payments(*, now: datetime) -> QuerySet[TopUp]:
    told = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), kind=PAID_NOTICE, occasion_at=OuterRef("paid_at")
    )
    paid = TopUp.objects.filter(~Exists(told), paid_at__gte=now - NOTIFY_WITHIN).select_related("organization")
    return paid.order_by("paid_at")[:MAX_PER_ROUND]


def _untold_refunds(*, now: datetime) -> QuerySet[Refund]:
    told = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("topup__organization"), kind=REFUNDED_NOTICE, occasion_at=OuterRef("ended_at")
    )
    refunded = Refund.objects.filter(~Exists(told), state=RefundState.SUCCEEDED, ended_at__gte=now - NOTIFY_WITHIN)
    return refunded.select_related("topup__organization").order_by("ended_at")[:MAX_PER_ROUND]


def _tell_of_payment(topup: TopUp) -> None:
    assert topup.paid_at is not None, "the query selects payments"
    name, amount = topup.organization.name, _dollars(topup.amount_cents)
    bonus = f", with a bonus of {_dollars(topup.bonus_cents)}" if topup.bonus_cents else ""
    how = "by automatic top-up" if topup.is_automatic else "by a top-up"
    notices.send_once(
        ledger.wallet_of(topup.organization),
        kind=PAID_NOTICE,
        occasion_at=topup.paid_at,
        subject=f"{amount} paid for {name}",
        text=f"{name} paid {amount} {how} on {topup.paid_at:%-d %B %Y}. It is in the balance{bonus}. Receipt and "
        f"invoice are under Payments.\n\nUnspent credit is refundable for {settings.REFUND_DAYS} days.",
        wanted_by="has_paid_mail",
    )


def _tell_of_refund(refund: Refund) -> None:
    topup, organization = refund.topup, refund.topup.organization
    assert refund.ended_at is not None, "the query selects refunds that have ended"
    assert topup.paid_at is not None, "only a payment is refunded"
    amount = _dollars(refund.amount_cents)
    notices.send_once(
        ledger.wallet_of(organization),
        kind=REFUNDED_NOTICE,
        occasion_at=refund.ended_at,
        subject=f"{amount} refunded to {organization.name}",
        text=f"{amount} of the payment of {_dollars(topup.amount_cents)} on {topup.paid_at:%-d %B %Y} go back to the "
        "payment method that was used. It can take 5 to 10 days to arrive. What it had brought is no longer in the "
        f"balance of {organization.name}.",
        wanted_by="has_refunded_mail",
    )


def _dollars(cents: int) -> str:
    return money.display_text(cents * money.MICROS_PER_CENT)
