"""Mails to owners about disputes: one when the balance goes on hold, and one when it is free again."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet

from billing import ledger, money, notices
from billing.models import Notice
from billing.models.reversals import Dispute

NOTIFY_WITHIN = timedelta(days=2)
WITHDRAWN_NOTICE = "dispute_withdrawn"
REINSTATED_NOTICE = "dispute_reinstated"
MAX_PER_ROUND = 100


def notify_owners(*, now: datetime) -> None:
    """Mail owners about disputes of the last days. `notices` sends each mail once. Waits for the mail server."""
    for dispute in _untold("withdrawn_at", kind=WITHDRAWN_NOTICE, now=now):
        with notices.isolating_errors(WITHDRAWN_NOTICE, organization_id=dispute.topup.organization_id):
            _tell_of_hold(dispute)
    for dispute in _untold("reinstated_at", kind=REINSTATED_NOTICE, now=now):
        with notices.isolating_errors(REINSTATED_NOTICE, organization_id=dispute.topup.organization_id):
            _tell_of_end(dispute)


def _tell_of_hold(dispute: Dispute) -> None:
    topup, organization = dispute.topup, dispute.topup.organization
    assert dispute.withdrawn_at is not None, "the query selects disputes that have it"
    assert topup.paid_at is not None, "only a payment that was credited is disputed here"
    notices.send_once(
        ledger.wallet_of(organization),
        kind=WITHDRAWN_NOTICE,
        occasion_at=dispute.withdrawn_at,
        subject=f"{organization.name} is on hold: a payment is disputed",
        text=f"The payment of {_dollars(topup.amount_cents)} on {topup.paid_at:%-d %B %Y} was disputed at the "
        f"payer's bank, and the bank has withdrawn {_dollars(dispute.amount_cents)}. Until this is settled, the "
        f"balance of {organization.name} is on hold: running work continues, new work is refused. Transcripts "
        "and keys stay as they are.\n\n"
        "If the dispute is a mistake, ask the payer to withdraw it at their bank. For anything else, write to "
        f"{settings.SUPPORT_EMAIL}.",
        wanted_by="has_disputed_mail",
    )


def _tell_of_end(dispute: Dispute) -> None:
    organization = dispute.topup.organization
    assert dispute.reinstated_at is not None, "the query selects disputes that have it"
    wallet = ledger.wallet_of(organization)
    after = (
        f"The balance is still on hold for another reason. Write to {settings.SUPPORT_EMAIL} about it."
        if wallet.is_frozen
        else "New work is accepted again."
    )
    notices.send_once(
        wallet,
        kind=REINSTATED_NOTICE,
        occasion_at=dispute.reinstated_at,
        subject=f"The dispute about a payment of {organization.name} is settled",
        text=f"The bank has returned {_dollars(dispute.amount_cents)}. It is in the balance of "
        f"{organization.name} again. {after}",
        wanted_by="has_disputed_mail",
    )


def _untold(moment: str, *, kind: str, now: datetime) -> QuerySet[Dispute]:
    """Return the disputes whose money moved lately and whose owners were not told. moment: the field with the time."""
    told = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("topup__organization"),
        kind=kind,
        occasion_at=OuterRef(moment),
    )
    found = Dispute.objects.filter(~Exists(told), **{f"{moment}__gte": now - NOTIFY_WITHIN})
    return found.select_related("topup__organization").order_by(moment)[:MAX_PER_ROUND]


def _dollars(cents: int) -> str:
    return money.display_text(cents * money.MICROS_PER_CENT)
