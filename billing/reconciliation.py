"""Checks that payments and the ledger agree: paid top-ups are credited, returned money is clawed back.

Reads only. `apps` registers it with `ledger.faults`.
"""

import uuid
from collections.abc import Iterator, Sequence

from django.db import transaction
from django.db.models import Q, Sum

from billing import claw_backs, money, refund_math
from billing.models import Entry, EntryKind
from billing.models.payments import TopUp, TopUpState
from billing.models.reversals import Dispute, Refund

BATCH_SIZE = 500


def faults() -> Iterator[str]:
    """Yield one sentence for each top-up, refund, dispute or payment entry whose rows and ledger entries disagree."""
    last_id = None
    while batch := _batch_after(last_id):
        yield from _unposted(batch)
        last_id = batch[-1].pk
    touched = TopUp.objects.filter(Q(refunds__isnull=False) | Q(disputes__isnull=False)).distinct()
    for topup in touched.order_by("pk").iterator():
        yield from _wrong_claw_backs(topup)
    yield from _payments_without_topup()


def _batch_after(last_id: object) -> list[TopUp]:
    rows = TopUp.objects.order_by("pk")
    return list((rows if last_id is None else rows.filter(pk__gt=last_id))[:BATCH_SIZE])


def _unposted(batch: Sequence[TopUp]) -> Iterator[str]:
    posted = {
        (kind, reference): (wallet__organization, amount_micros)
        for kind, reference, wallet__organization, amount_micros in Entry.objects.filter(
            kind__in=[EntryKind.PAYMENT, EntryKind.BONUS], reference__in=[topup.reference for topup in batch]
        ).values_list("kind", "reference", "wallet__organization", "amount_micros")
    }
    for topup in batch:
        for kind, cents in ((EntryKind.PAYMENT, topup.amount_cents), (EntryKind.BONUS, topup.bonus_cents)):
            wanted = (topup.organization_id, cents * money.MICROS_PER_CENT) if topup.is_paid and cents else None
            found = posted.get((kind.value, topup.reference))
            if found != wanted and not topup.is_paid:
                # It may have been paid after the row was read and before the ledger was.
                topup.refresh_from_db()
                wanted = (topup.organization_id, cents * money.MICROS_PER_CENT) if topup.is_paid and cents else None
            if found != wanted:
                yield f"Top-up {topup.pk} is {topup.state}: its {kind} should be {wanted} in the ledger and is {found}."


def _wrong_claw_backs(topup: TopUp) -> Iterator[str]:
    if not any(_claw_back_faults(topup)):
        return
    # A refund may have come between two of the queries. Check again under the top-up's lock, which excludes that.
    with transaction.atomic():
        found = list(_claw_back_faults(TopUp.objects.select_for_update(no_key=True).get(pk=topup.pk)))
    yield from found


def _claw_back_faults(topup: TopUp) -> Iterator[str]:
    wanted_micros = refund_math.clawed_micros(
        paid_cents=topup.amount_cents,
        bonus_cents=topup.bonus_cents,
        returned_cents=claw_backs.returned_cents(topup),
    )
    causes: list[Refund | Dispute] = [*topup.refunds.all(), *topup.disputes.all()]
    # Each reversal may leave one micro-dollar too much taken (`claw_backs`).
    rounding_micros = sum(not cause.is_live for cause in causes)
    taken_micros = claw_backs.taken_micros(topup)
    if not wanted_micros <= taken_micros <= wanted_micros + rounding_micros:
        yield f"Of top-up {topup.pk} the ledger should take back {wanted_micros}; its rows say {taken_micros}."
    for cause in causes:
        entries = Entry.objects.filter(
            kind__in=[kind for kind in EntryKind if kind.value.startswith(claw_backs.kind_of(cause).value)],
            reference__in=claw_backs.references(cause),
        )
        booked_micros = -(entries.aggregate(sum=Sum("amount_micros"))["sum"] or 0)
        claimed_micros = cause.clawed_micros if cause.is_live else 0
        if booked_micros != claimed_micros:
            yield f"The {cause} took {claimed_micros}; the ledger has {booked_micros} for it."


def _payments_without_topup() -> Iterator[str]:
    payments = Entry.objects.filter(kind=EntryKind.PAYMENT, reference__startswith="topup:").order_by("id")
    last_id = 0
    while batch := list(payments.filter(id__gt=last_id)[:BATCH_SIZE]):
        named = [topup_id for entry in batch if (topup_id := _topup_id(entry))]
        paid = {topup.reference for topup in TopUp.objects.filter(state=TopUpState.PAID, pk__in=named)}
        for entry in batch:
            if entry.reference not in paid:
                yield f"Entry {entry.pk} is a payment for {entry.reference}, which is no paid top-up."
        last_id = batch[-1].pk


def _topup_id(entry: Entry) -> uuid.UUID | None:
    try:
        return uuid.UUID(entry.reference.removeprefix("topup:"))
    except ValueError:
        return None
