"""Automatic top-up: when little is left, the clock charges the card that a payer asked us to keep.

Never inside a money transaction, and never more than one at a time, up to the month's cap. A decline is told to the
owners and tried again later, then turned off. The top-up that it makes goes through `topups.fulfil` like any other.
"""

import logging
from datetime import datetime, timedelta

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, Sum
from django.utils import timezone

from accounts.errors import Conflict, InvalidField, UpstreamFailed
from accounts.models import Organization, User
from billing import ledger, money, months, notices, stripe_api, stripe_calls, stripe_mapping, topups
from billing.models import Notice
from billing.models.payments import OPEN_TOPUP_STATES, AutomaticTopUp, SavedCard, TopUp, TopUpState

logger = logging.getLogger(__name__)

MIN_THRESHOLD_CENTS = 100
MAX_THRESHOLD_CENTS = 100_000
MAX_MONTHLY_CAP_CENTS = 10_000_000
# How long to wait after the first and second decline in a row; after the third it is turned off.
WAITS_AFTER_DECLINE = (timedelta(hours=1), timedelta(days=1))
NEXT_CHECK_AFTER = timedelta(minutes=2)
# Stripe keeps idempotency keys for 24 hours at least: later, the same call could charge a second time.
RETRY_CHARGE_WITHIN = timedelta(hours=20)
NOTIFY_WITHIN = timedelta(days=2)
MAX_PER_ROUND = 100
DECLINED_NOTICE = "automatic_topup_declined"
CAPPED_NOTICE = "automatic_topup_capped"
LATE_NOTICE = "automatic_topup_late"

DECLINED = "Your bank declined the card."
NEEDS_PAYER = "Your bank wants you to confirm the payment."
CARD_UNUSABLE = "The saved card cannot be used any more."
CARD_REMOVED = "The saved card was removed."
NO_ANSWER = "Our payment provider did not answer."
THREE_DECLINES = "Automatic top-up is off: the card was declined three times in a row."


# --- Settings --------------------------------------------------------------------------------------------------------


def settings_of(organization: Organization) -> AutomaticTopUp:
    """Return the organization's settings, or unsaved defaults that are off."""
    return AutomaticTopUp.objects.filter(organization=organization).first() or AutomaticTopUp(organization=organization)


def turn_on(
    organization: Organization, *, person: User, threshold_cents: int, amount_cents: int, monthly_cap_cents: int
) -> AutomaticTopUp:
    """Let the clock top up from now on; earlier declines are forgotten.

    Raises InvalidField for amounts out of bounds, Conflict without a saved card.
    """
    topups.check_amount(amount_cents)
    if not MIN_THRESHOLD_CENTS <= threshold_cents <= MAX_THRESHOLD_CENTS:
        raise InvalidField("threshold_cents", "Choose a balance from $1.00 to $1,000.00.")
    if not amount_cents <= monthly_cap_cents <= MAX_MONTHLY_CAP_CENTS:
        raise InvalidField("monthly_cap_cents", "The monthly cap must be at least one top-up, and at most $100,000.00.")
    with transaction.atomic():
        if not SavedCard.objects.of(organization).exists():
            raise Conflict("Save a card first: choose so when you top up.")
        return AutomaticTopUp.objects.update_or_create(
            organization=organization,
            defaults={
                "is_on": True,
                "threshold_cents": threshold_cents,
                "amount_cents": amount_cents,
                "monthly_cap_cents": monthly_cap_cents,
                "declines_count": 0,
                "retry_at": None,
                "turned_off_reason": "",
                "person": person,
                "updated_at": timezone.now(),
            },
        )[0]


def turn_off(organization: Organization, *, reason: str = "") -> None:
    """Stop the clock from topping up. A charge that is under way is still finished."""
    AutomaticTopUp.objects.filter(organization=organization).update(
        is_on=False, turned_off_reason=reason, updated_at=timezone.now()
    )


# --- The clock -------------------------------------------------------------------------------------------------------


def run(*, now: datetime | None = None) -> int:
    """Finish what was begun, then top up who is below their threshold. Returns how many charges were begun.

    Waits for the network, with no transaction open. Any number of clocks may do so at once.
    """
    now = now or timezone.now()
    begun_count = 0
    if _finish_open(now=now):
        for wish in _due(now=now):
            topup = _begin(wish, now=now)
            if topup is not None:
                begun_count += 1
                if not _try(topup, now=now):
                    break
    return begun_count


def record_failure(payment: stripe_mapping.StripePayment) -> None:
    """Note that a charge of ours, which looked good at first, was declined. Other payments may still be tried again."""
    topup = topups.find(payment.topup_id)
    if topup is not None and topup.is_automatic:
        _decline(topup, failure=DECLINED, now=timezone.now())


def _due(*, now: datetime) -> list[AutomaticTopUp]:
    under_way = TopUp.objects.open().filter(organization=OuterRef("organization"), is_automatic=True)
    available = F("organization__wallet__balance_micros") - F("organization__wallet__held_micros")
    return list(
        AutomaticTopUp.objects.filter(
            Q(retry_at__isnull=True) | Q(retry_at__lte=now),
            # Those whose answer is awaited must not take the places of the others.
            ~Exists(under_way),
            is_on=True,
            organization__wallet__frozen_at__isnull=True,
            organization__saved_card__isnull=False,
        )
        .annotate(available_micros=available)
        .filter(available_micros__lt=F("threshold_cents") * money.MICROS_PER_CENT)
        .order_by("organization_id")[:MAX_PER_ROUND]
    )


def _begin(wish: AutomaticTopUp, *, now: datetime) -> TopUp | None:
    """Write the row of an automatic top-up, if it is still wanted. Returns it committed, or None."""
    try:
        with transaction.atomic(durable=True):
            # All that begin one lock this row first, so none begins while we look.
            wish = AutomaticTopUp.objects.select_for_update(no_key=True).get(pk=wish.pk)
            organization = wish.organization
            # Before the insert, which would wait for whoever is just ending that one, and they for this lock; and
            # before the wallet: one that has ended by now is in its balance.
            if TopUp.objects.of(organization).open().filter(is_automatic=True).exists():
                return None
            wallet = ledger.wallet_of(organization)
            card = SavedCard.objects.of(organization).first()
            is_low = wallet.available_micros < wish.threshold_cents * money.MICROS_PER_CENT
            if not wish.is_due(now=now) or card is None or not is_low or wallet.is_frozen:
                return None
            if _this_month_cents(organization, now=now) + wish.amount_cents > wish.monthly_cap_cents:
                wish.retry_at = _next_month(now)
                wish.save(update_fields=["retry_at"])
                return None
            return topups.begin(
                organization,
                amount_cents=wish.amount_cents,
                person=None,
                is_automatic=True,
                payment_method_id=card.payment_method_id,
            )
    except IntegrityError:
        # one_automatic_topup_at_a_time: another is under way.
        return None


def _finish_open(*, now: datetime) -> bool:
    """Ask again about charges whose answer was lost or is still to come. Returns False if Stripe does not answer."""
    waiting = TopUp.objects.open().filter(
        Q(checked_at__isnull=True) | Q(checked_at__lte=now - NEXT_CHECK_AFTER),
        is_automatic=True,
        created_at__lte=now - NEXT_CHECK_AFTER,
    )
    for topup in waiting.order_by(F("checked_at").asc(nulls_first=True), "created_at")[:MAX_PER_ROUND]:
        if not _try(topup, now=now):
            return False
    return True


def _try(topup: TopUp, *, now: datetime) -> bool:
    """Charge, whatever goes wrong with it. Returns False if Stripe does not answer: then no other is worth the wait."""
    TopUp.objects.filter(pk=topup.pk).update(checked_at=now)
    try:
        _charge(topup, now=now)
    except UpstreamFailed:
        # It stays open, and the next round asks again with the same idempotency key.
        logger.warning("Stripe did not answer about automatic top-up %s.", topup.pk)
        return False
    except Exception:  # One organization's trouble must not keep the others from their money.
        logger.exception("Automatic top-up %s could not be finished.", topup.pk)
    return True


def _charge(topup: TopUp, *, now: datetime) -> None:
    """Charge the card, or find out how the charge that was begun stands, and act on it."""
    try:
        if topup.payment_intent_id:
            intent = stripe_calls.retrieve_payment_intent(topup.payment_intent_id)
        elif topup.created_at <= now - RETRY_CHARGE_WITHIN:
            # Stripe has not been heard for a day: charging now would surprise. But what it charged must be known
            # before this one ends, because another is begun then.
            found = stripe_calls.find_charge_of_card(topup)
            if found is None:
                topups.end(topup, state=TopUpState.FAILED, failure=NO_ANSWER)
                return
            intent = found
        else:
            intent = stripe_calls.charge_card(topup)
    except stripe_api.CardDeclined as error:
        _decline(topup, failure=NEEDS_PAYER if error.needs_person else DECLINED, now=now)
        return
    except (stripe_api.StripeRefused, stripe_api.StripeMissing):
        # For example a card that was removed at Stripe: it will be refused again.
        _decline(topup, failure=CARD_UNUSABLE, now=now)
        return
    payment = stripe_mapping.payment_of_intent(intent)
    TopUp.objects.filter(pk=topup.pk, payment_intent_id="").update(payment_intent_id=payment.payment_intent_id)
    if payment.is_paid or payment.is_processing:
        topups.fulfil(payment)
    else:
        # What still wants the payer cannot be completed by anybody: its secret was given to no one.
        _decline(topup, failure=NEEDS_PAYER if intent.get("status") == "requires_action" else DECLINED, now=now)


def _decline(topup: TopUp, *, failure: str, now: datetime) -> None:
    """End a declined top-up and wait longer before the next, once for each top-up."""
    with transaction.atomic():
        topup = TopUp.objects.select_for_update(no_key=True).get(pk=topup.pk)
        if not topup.is_open:
            return
        topups.end(topup, state=TopUpState.FAILED, failure=failure)
        wish = AutomaticTopUp.objects.select_for_update(no_key=True).filter(organization=topup.organization).first()
        if wish is None:
            return
        wish.declines_count += 1
        if wish.declines_count <= len(WAITS_AFTER_DECLINE):
            wish.retry_at = now + WAITS_AFTER_DECLINE[wish.declines_count - 1]
        else:
            wish.is_on = False
            wish.turned_off_reason = THREE_DECLINES
        wish.save(update_fields=["declines_count", "retry_at", "is_on", "turned_off_reason"])


# --- Telling the owners ----------------------------------------------------------------------------------------------


def notify_owners(*, now: datetime | None = None) -> None:
    """Mail owners about declines, reached caps and charges that came after all; `notices` sends each once.

    A duty of its own: `run` must not wait for a mail server.
    """
    now = now or timezone.now()
    told = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), kind=DECLINED_NOTICE, occasion_at=OuterRef("created_at")
    )
    declined = TopUp.objects.filter(
        ~Exists(told), is_automatic=True, state=TopUpState.FAILED, ended_at__gte=now - NOTIFY_WITHIN
    )
    for topup in declined.select_related("organization").order_by("ended_at")[:MAX_PER_ROUND]:
        wish = settings_of(topup.organization)
        amount = money.display_text(topup.amount_cents * money.MICROS_PER_CENT)
        after = "We will try again later." if wish.is_on else wish.turned_off_reason
        notices.send_once(
            ledger.wallet_of(topup.organization),
            kind=DECLINED_NOTICE,
            occasion_at=topup.created_at,
            subject=f"Automatic top-up of {topup.organization.name} did not work",
            text=f"We could not charge {amount} to the saved card of {topup.organization.name}.\n\n"
            f"{topup.failure} {after} You can top up yourself, with this card or another, on the billing page.",
        )
    told = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), kind=CAPPED_NOTICE, occasion_at=months.start_of_month(now)
    )
    capped = AutomaticTopUp.objects.filter(~Exists(told), is_on=True, retry_at=_next_month(now))
    for wish in capped.select_related("organization").order_by("organization_id")[:MAX_PER_ROUND]:
        amount, cap = (
            money.display_text(cents * money.MICROS_PER_CENT) for cents in (wish.amount_cents, wish.monthly_cap_cents)
        )
        notices.send_once(
            ledger.wallet_of(wish.organization),
            kind=CAPPED_NOTICE,
            occasion_at=months.start_of_month(now),
            subject=f"Automatic top-up of {wish.organization.name} has reached its monthly cap",
            text=f"The balance of {wish.organization.name} is low, and another automatic top-up of {amount} would go "
            f"over its cap of {cap} for this month. You can raise the cap or top up yourself on the billing page.",
        )
    _tell_of_late_charges(now=now)


def _tell_of_late_charges(*, now: datetime) -> None:
    """Mail owners about a charge that was given up, or told of as failed, and that was paid all the same.

    The cap counts it from then on; another that was made in its place may have filled it already.
    """
    of_topup = Notice.objects.sent_or_claimed(now=now).filter(
        wallet__organization=OuterRef("organization"), occasion_at=OuterRef("created_at")
    )
    late = TopUp.objects.filter(
        Exists(of_topup.filter(kind=DECLINED_NOTICE)) | Q(paid_at__gte=F("created_at") + RETRY_CHARGE_WITHIN),
        ~Exists(of_topup.filter(kind=LATE_NOTICE)),
        is_automatic=True,
        paid_at__gte=now - NOTIFY_WITHIN,
    )
    for topup in late.select_related("organization").order_by("paid_at")[:MAX_PER_ROUND]:
        cap_cents = settings_of(topup.organization).monthly_cap_cents
        sum_cents = _this_month_cents(topup.organization, now=now)
        amount, cap, total = (
            money.display_text(cents * money.MICROS_PER_CENT) for cents in (topup.amount_cents, cap_cents, sum_cents)
        )
        is_over = sum_cents > cap_cents
        standing = f"more than the cap of {cap}, so no more are made in it" if is_over else f"and the cap is {cap}"
        notices.send_once(
            ledger.wallet_of(topup.organization),
            kind=LATE_NOTICE,
            occasion_at=topup.created_at,
            subject=f"Automatic top-up of {topup.organization.name} was charged after all",
            text=f"{amount} was charged to the saved card of {topup.organization.name} and is on the balance now. The "
            f"charge was begun on {topup.created_at:%Y-%m-%d}, and we learned only now that it went through.\n\n"
            f"Automatic top-ups of this month now come to {total}, {standing}. What is not spent of it can go back to "
            f"the card within {settings.REFUND_DAYS} days: see Payments on the billing page.",
        )


# --- Figures ---------------------------------------------------------------------------------------------------------


def _this_month_cents(organization: Organization, *, now: datetime) -> int:
    """Return what this month's cap must bear: what was paid in it, whenever it was begun, and all that may be yet.

    One that is begun in a month and paid in the next counts for both, so neither cap is passed by whichever date one
    goes. What was given up, and is paid all the same, counts from then on: nobody could know before.
    """
    paid = Q(state__in=(TopUpState.PAID, TopUpState.UNDER_REVIEW), ended_at__gte=months.start_of_month(now))
    counted = TopUp.objects.of(organization).filter(Q(state__in=OPEN_TOPUP_STATES) | paid, is_automatic=True)
    return counted.aggregate(sum=Sum("amount_cents"))["sum"] or 0


def _next_month(now: datetime) -> datetime:
    return months.start_of_month(months.start_of_month(now) + timedelta(days=32))
