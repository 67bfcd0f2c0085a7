"""Mails to owners about automatic top-ups: a declined card, a reached cap, a charge that went through late."""

from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from billing import automatic_topups, ledger, money, months, notices
from billing.models import Notice
from billing.models.payments import AutomaticTopUp, TopUp, TopUpState

NOTIFY_WITHIN = timedelta(days=2)
DECLINED_NOTICE = "automatic_topup_declined"
CAPPED_NOTICE = "automatic_topup_capped"
LATE_NOTICE = "automatic_topup_late"


def notify_owners(*, now: datetime | None = None, max_count: int = automatic_topups.MAX_PER_ROUND) -> None:
    """Mail owners about declines, reached caps and late charges. `notices` sends each mail once.

    A separate periodic duty, so that `automatic_topups.run` never waits for a mail server.
    """
    now = now or timezone.now()
    for topup in _declined(now=now, max_count=max_count):
        with notices.isolating_errors(DECLINED_NOTICE, organization_id=topup.organization_id):
            _tell_of_decline(topup)
    for topup_settings in _capped(now=now, max_count=max_count):
        with notices.isolating_errors(CAPPED_NOTICE, organization_id=topup_settings.organization_id):
            _tell_of_cap(topup_settings, now=now)
    for topup in _late(now=now, max_count=max_count):
        with notices.isolating_errors(LATE_NOTICE, organization_id=topup.organization_id):
            _tell_of_late_charge(topup, now=now)


def _declined(*, now: datetime, max_count: int) -> QuerySet[TopUp]:
    already_sent = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), kind=DECLINED_NOTICE, occasion_at=OuterRef("created_at")
    )
    declined = TopUp.objects.filter(
        ~Exists(already_sent), is_automatic=True, state=TopUpState.FAILED, ended_at__gte=now - NOTIFY_WITHIN
    )
    return declined.select_related("organization").order_by("ended_at")[:max_count]


def _capped(*, now: datetime, max_count: int) -> QuerySet[AutomaticTopUp]:
    already_sent = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), kind=CAPPED_NOTICE, occasion_at=months.start_of_month(now)
    )
    capped = AutomaticTopUp.objects.filter(~Exists(already_sent), is_on=True, retry_at=automatic_topups.next_month(now))
    return capped.select_related("organization").order_by("organization_id")[:max_count]


def _late(*, now: datetime, max_count: int) -> QuerySet[TopUp]:
    """Return automatic top-ups that were paid after they had been reported as failed or given up."""
    of_topup = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), occasion_at=OuterRef("created_at")
    )
    late = TopUp.objects.filter(
        Exists(of_topup.filter(kind=DECLINED_NOTICE))
        | Q(paid_at__gte=F("created_at") + automatic_topups.RETRY_CHARGE_WITHIN),
        ~Exists(of_topup.filter(kind=LATE_NOTICE)),
        is_automatic=True,
        paid_at__gte=now - NOTIFY_WITHIN,
    )
    return late.select_related("organization").order_by("paid_at")[:max_count]


def _tell_of_decline(topup: TopUp) -> None:
    topup_settings = automatic_topups.settings_of(topup.organization)
    amount = money.display_text(topup.amount_cents * money.MICROS_PER_CENT)
    after = "We will try again later." if topup_settings.is_on else topup_settings.turned_off_reason
    notices.send_once(
        ledger.wallet_of(topup.organization),
        kind=DECLINED_NOTICE,
        occasion_at=topup.created_at,
        subject=f"Automatic top-up of {topup.organization.name} failed",
        text=f"We could not charge {amount} to the saved card of {topup.organization.name}.\n\n"
        f"{topup.failure} {after} You can top up yourself on the billing page, with this or another card.",
    )


def _tell_of_cap(topup_settings: AutomaticTopUp, *, now: datetime) -> None:
    organization = topup_settings.organization
    target_cents, cap = topup_settings.target_cents, _dollars(topup_settings.monthly_cap_cents)
    goal = f"of {_dollars(topup_settings.amount_cents)}" if target_cents is None else f"to {_dollars(target_cents)}"
    notices.send_once(
        ledger.wallet_of(organization),
        kind=CAPPED_NOTICE,
        occasion_at=months.start_of_month(now),
        subject=f"Automatic top-up of {organization.name} has reached its monthly cap",
        text=f"The balance of {organization.name} is low, and another automatic top-up {goal} would go "
        f"over its cap of {cap} for this month. You can raise the cap or top up yourself on the billing page.",
    )


def _tell_of_late_charge(topup: TopUp, *, now: datetime) -> None:
    """Mail owners about an automatic top-up that was paid late.

    From then on it counts toward the monthly cap. Another top-up may have been made in its place, so the month's sum
    can exceed the cap.
    """
    cap_cents = automatic_topups.settings_of(topup.organization).monthly_cap_cents
    sum_cents = automatic_topups.this_month_cents(topup.organization, now=now)
    amount, cap, total = (
        money.display_text(cents * money.MICROS_PER_CENT) for cents in (topup.amount_cents, cap_cents, sum_cents)
    )
    is_over = sum_cents > cap_cents
    standing = f"more than the cap of {cap}, so there will be no more" if is_over else f"and the cap is {cap}"
    notices.send_once(
        ledger.wallet_of(topup.organization),
        kind=LATE_NOTICE,
        occasion_at=topup.created_at,
        subject=f"Automatic top-up of {topup.organization.name} was charged after all",
        text=f"A delayed charge of {amount} to the saved card of {topup.organization.name} went through. It was "
        f"started on {topup.created_at:%Y-%m-%d}, and {amount} is now in your balance.\n\n"
        f"Automatic top-ups of this month now come to {total}, {standing}. Unspent credit is refundable for "
        f"{settings.REFUND_DAYS} days: see Payments on the billing page.",
    )


def _dollars(cents: int) -> str:
    return money.display_text(cents * money.MICROS_PER_CENT)
