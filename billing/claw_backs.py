"""Keeps the book in step with what of a top-up has gone back, by refunds and disputes alike.

Of each paid top-up the book has lost what `returns.clawed_micros` gives for the sum of its live refunds and disputes.
Each takes what is missing to that when it comes, and when it is reversed gives back exactly what it took; what others
that still live should have taken in its place, they take then. A rounding of one micro-dollar for each reversal may
stay with us until the next one takes.

The caller has locked the top-up: two that return parts of one payment go one after the other.
"""

from django.db.models import QuerySet, Sum

from billing import ledger, refund_math
from billing.models import EntryKind, Wallet
from billing.models.payments import Dispute, Refund, RefundState, TopUp

# Of the references of expired money that is given back, before the reference of what it is given back for.
EXPIRED_PREFIX = "expired:"
DESCRIPTIONS = {EntryKind.REFUND: "Refund", EntryKind.DISPUTE: "Disputed payment"}


def returned_cents(topup: TopUp) -> int:
    """Return how much of a top-up is on its way back to the payer or there; may be more than was paid."""
    return _sum(topup, "amount_cents")


def taken_micros(topup: TopUp) -> int:
    """Return what the book has lost by the refunds and disputes of a top-up that live."""
    return _sum(topup, "clawed_micros")


def taken_micros_of_all(topups: QuerySet[TopUp]) -> int:
    """Return the same for any number of top-ups together, in two questions."""
    refunds = Refund.objects.filter(topup__in=topups).exclude(state=RefundState.FAILED)
    disputes = _live(Dispute.objects.filter(topup__in=topups))
    return sum(rows.aggregate(sum=Sum("clawed_micros"))["sum"] or 0 for rows in (refunds, disputes))


def take(topup: TopUp, returned: Refund | Dispute) -> None:
    """Take from the book what is missing, if anything is. returned: a live refund or dispute, saved."""
    missing_micros = refund_math.clawed_micros(
        paid_cents=topup.amount_cents, bonus_cents=topup.bonus_cents, returned_cents=returned_cents(topup)
    ) - taken_micros(topup)
    if missing_micros <= 0:
        return
    returned.takes_count += 1
    returned.clawed_micros += missing_micros
    returned.save(update_fields=["takes_count", "clawed_micros"])
    reference = references(returned)[-1]
    _give_back_expired(topup, needed_micros=missing_micros, reference=reference)
    ledger.claw_back(
        topup.organization,
        amount_micros=missing_micros,
        kind=kind_of(returned),
        reference=reference,
        description=DESCRIPTIONS[kind_of(returned)] + (", with its share of the bonus" if topup.bonus_cents else ""),
        details={"topup": str(topup.pk), "amount_cents": returned.amount_cents},
    )


def restore(topup: TopUp, returned: Refund | Dispute) -> None:
    """Give the book back what was taken. returned: a refund or dispute that lives no more, saved."""
    for reference in references(returned):
        ledger.restore(topup.organization, kind=kind_of(returned), reference=reference)
    # While more had gone back than was paid, others took nothing, or less: now they do.
    others: list[Refund | Dispute | None] = [
        topup.refunds.exclude(state=RefundState.FAILED).first(),
        _live_disputes(topup).first(),
    ]
    for other in others:
        if other is not None:
            take(topup, other)


def references(returned: Refund | Dispute) -> list[str]:
    """Return the references of the entries by which the book lost money to it, oldest first."""
    return [
        returned.reference if number == 1 else f"{returned.reference}:{number}"
        for number in range(1, returned.takes_count + 1)
    ]


def kind_of(returned: Refund | Dispute) -> EntryKind:
    """Return the kind of those entries."""
    return EntryKind.REFUND if isinstance(returned, Refund) else EntryKind.DISPUTE


def _sum(topup: TopUp, field: str) -> int:
    live = (topup.refunds.exclude(state=RefundState.FAILED), _live_disputes(topup))
    return sum(rows.aggregate(sum=Sum(field))["sum"] or 0 for rows in live)


def _live_disputes(topup: TopUp) -> QuerySet[Dispute]:
    return _live(topup.disputes.all())


def _live(disputes: QuerySet[Dispute]) -> QuerySet[Dispute]:
    return disputes.filter(withdrawn_at__isnull=False, reinstated_at__isnull=True)


def _give_back_expired(topup: TopUp, *, needed_micros: int, reference: str) -> None:
    """Give back money that has expired since the top-up, as far as taking so much would leave a debt.

    Nobody shall owe for a refund what the book has taken already.
    """
    # Locked here and not only by the verbs below: between this look and the claw-back, work could be admitted on money
    # that is about to go (a debt in spite of what expired), or the rest expire.
    wallet = Wallet.objects.select_for_update(no_key=True).get(pk=ledger.wallet_of(topup.organization).pk)
    posted = wallet.entries.filter(kind=EntryKind.PAYMENT, reference=topup.reference).first()
    missing_micros = needed_micros - max(0, wallet.available_micros)
    if posted is None or missing_micros <= 0:
        return
    since = wallet.entries.filter(id__gt=posted.pk)
    expired = since.filter(kind=EntryKind.EXPIRY)
    given = since.filter(kind=EntryKind.CREDIT, reference__startswith=EXPIRED_PREFIX)
    left_micros = -sum(rows.aggregate(sum=Sum("amount_micros"))["sum"] or 0 for rows in (expired, given))
    if left_micros > 0:
        ledger.credit(
            topup.organization,
            amount_micros=min(missing_micros, left_micros),
            kind=EntryKind.CREDIT,
            reference=f"{EXPIRED_PREFIX}{reference}",
            description="Expired money, given back for a refund",
        )
