"""Claw-backs: take from the ledger what refunds and disputes return to the payer, and restore what they give up.

A live refund or dispute is one whose money has left: not failed, not reinstated. The rule for each paid top-up: the
ledger has taken back what `refund_math.clawed_micros` computes from the sum of its live refunds and disputes. Each row
stores its own part (`clawed_micros`).

Example: a top-up of $200.00 brought a bonus of $10.00, so each returned dollar takes back $1.05.

1. A dispute of all $200.00 comes: $210.00 are due and nothing was taken. The dispute takes $210.00.
2. A refund of $20.00 of the same payment comes: more cannot be due than $210.00. The refund takes $0.00.
3. The bank reinstates the dispute: `restore` gives its $210.00 back. Now $21.00 are due for the refund and nothing is
   taken, so the refund takes $21.00. The customer keeps $189.00.

A share of the bonus is rounded up to a whole micro-dollar. Each reversal may therefore leave up to one micro-dollar
more taken than is due; the next claw-back of the top-up takes that much less.

Callers must hold the lock on the top-up, so that claw-backs of one payment run one after the other.
"""

from django.db.models import QuerySet, Sum

from accounts.models import Organization
from billing import ledger, money, refund_math
from billing.models import EntryKind, Freeze, Wallet
from billing.models.payments import AutomaticTopUp, TopUp
from billing.models.reversals import Dispute, Refund, RefundState

# Reference of the credit that gives expired money back: this, then the reference of the claw-back that needs it.
EXPIRED_PREFIX = "expired:"
PAYMENT_RETURNED = "Automatic top-up is off: a payment was returned."
DESCRIPTIONS = {EntryKind.REFUND: "Refund", EntryKind.DISPUTE: "Disputed payment"}


def returned_cents(topup: TopUp) -> int:
    """Return the sum of a top-up's live refunds and disputes. It may exceed what was paid."""
    return _sum(topup, "amount_cents")


def taken_micros(topup: TopUp) -> int:
    """Return what the ledger has taken back for a top-up's live refunds and disputes."""
    return _sum(topup, "clawed_micros")


def taken_of_all(topups: QuerySet[TopUp]) -> list[tuple[TopUp, int]]:
    """Return the parts of `taken_micros` of many top-ups, each with its top-up, with two queries."""
    refunds = Refund.objects.filter(topup__in=topups).exclude(state=RefundState.FAILED)
    disputes = _live(Dispute.objects.filter(topup__in=topups))
    return [(row.topup, row.clawed_micros) for rows in (refunds, disputes) for row in rows.select_related("topup")]


def returned_topups(wallet_id: int) -> dict[TopUp, int]:
    """Return the top-ups of a wallet with live refunds or disputes, and of each `returned_cents`. Two queries."""
    returned: dict[TopUp, int] = {}
    refunds = Refund.objects.exclude(state=RefundState.FAILED)
    for rows in (refunds, _live(Dispute.objects.all())):
        for row in rows.filter(topup__organization__wallet=wallet_id).select_related("topup"):
            returned[row.topup] = returned.get(row.topup, 0) + row.amount_cents
    return returned


def take(topup: TopUp, cause: Refund | Dispute) -> None:
    """Take back what is due for a top-up and not taken yet; nothing if nothing is due.

    cause: the live, saved refund or dispute that the amount is added to.
    """
    missing_micros = refund_math.clawed_micros(
        paid_cents=topup.amount_cents, bonus_cents=topup.bonus_cents, returned_cents=returned_cents(topup)
    ) - taken_micros(topup)
    if missing_micros <= 0:
        return
    cause.takes_count += 1
    cause.clawed_micros += missing_micros
    cause.save(update_fields=["takes_count", "clawed_micros"])
    reference = references(cause)[-1]
    wallet = ledger.wallet_of(topup.organization)
    _give_back_expired(topup, needed_micros=missing_micros, reference=reference)
    ledger.claw_back(
        topup.organization,
        amount_micros=missing_micros,
        kind=kind_of(cause),
        reference=reference,
        description=DESCRIPTIONS[kind_of(cause)] + (", with its share of the bonus" if topup.bonus_cents else ""),
        details={"topup": str(topup.pk), "amount_cents": cause.amount_cents},
    )
    is_late = isinstance(cause, Dispute) and cause.takes_count > 1
    if is_late and not Freeze.objects.filter(wallet=wallet, reason=cause.reference, lifted_at=None).exists():
        # The case is closed: this share came due because another return of the payment failed.
        ledger.thaw(topup.organization, reason=reference)
    _turn_automatic_off_if_low(topup.organization)


def restore(topup: TopUp, cause: Refund | Dispute) -> None:
    """Give back exactly what a refund or dispute took, then let the live ones take what is still due.

    cause: the saved refund or dispute, which is no longer live.
    """
    for reference in references(cause):
        ledger.restore(topup.organization, kind=kind_of(cause), reference=reference)
    # Others may have taken less, or nothing, while more was returned than paid (step 3 of the example).
    others: list[Refund | Dispute | None] = [
        topup.refunds.exclude(state=RefundState.FAILED).first(),
        _live_disputes(topup).first(),
    ]
    for other in others:
        if other is not None:
            take(topup, other)


def _turn_automatic_off_if_low(organization: Organization) -> None:
    """Keep automatic top-up from charging the card again for the money that was just given back."""
    settings = AutomaticTopUp.objects.of(organization).filter(is_on=True).first()
    # The wallet is locked since the entry was written.
    available_micros = Wallet.objects.of(organization).get().available_micros
    if settings is not None and available_micros < settings.threshold_cents * money.MICROS_PER_CENT:
        AutomaticTopUp.objects.of(organization).turn_off(reason=PAYMENT_RETURNED)


def references(cause: Refund | Dispute) -> list[str]:
    """Return the references of the ledger entries that took money for a refund or dispute, oldest first."""
    return [
        cause.reference if number == 1 else f"{cause.reference}:{number}" for number in range(1, cause.takes_count + 1)
    ]


def kind_of(cause: Refund | Dispute) -> EntryKind:
    """Return the kind of those entries."""
    return EntryKind.REFUND if isinstance(cause, Refund) else EntryKind.DISPUTE


def _sum(topup: TopUp, field: str) -> int:
    # Added up here and not by the database: a page that shows these rows has read them.
    refunds = [row for row in topup.refunds.all() if row.state != RefundState.FAILED]
    disputes = [row for row in topup.disputes.all() if row.withdrawn_at is not None and row.reinstated_at is None]
    return sum(getattr(row, field) for row in (*refunds, *disputes))


def _live_disputes(topup: TopUp) -> QuerySet[Dispute]:
    return _live(topup.disputes.all())


def _live(disputes: QuerySet[Dispute]) -> QuerySet[Dispute]:
    return disputes.filter(withdrawn_at__isnull=False, reinstated_at__isnull=True)


def _give_back_expired(topup: TopUp, *, needed_micros: int, reference: str) -> None:
    """Credit money that expired after the top-up, up to what the claw-back would otherwise leave as a debt.

    Without this a customer would owe, for a refund, money that the expiry has already taken.
    """
    # Lock the wallet here, before `ledger.credit` and `ledger.claw_back` do. Otherwise, between this check and the
    # claw-back, new work could be admitted on the money (which leaves a debt) or the rest of it could expire.
    wallet = Wallet.objects.select_for_update(no_key=True).get(pk=ledger.wallet_of(topup.organization).pk)
    posted = wallet.entries.filter(kind=EntryKind.PAYMENT, reference=topup.reference).first()
    missing_micros = needed_micros - max(0, wallet.available_micros)
    if posted is None or missing_micros <= 0:
        return
    since = wallet.entries.filter(id__gt=posted.pk)
    expired = since.filter(kind=EntryKind.EXPIRY)
    given_back = since.filter(kind=EntryKind.CREDIT, reference__startswith=EXPIRED_PREFIX)
    left_micros = -sum(rows.aggregate(sum=Sum("amount_micros"))["sum"] or 0 for rows in (expired, given_back))
    if left_micros > 0:
        ledger.credit(
            topup.organization,
            amount_micros=min(missing_micros, left_micros),
            kind=EntryKind.CREDIT,
            reference=f"{EXPIRED_PREFIX}{reference}",
            description="Expired money, given back for a refund",
        )
