"""Automatic top-up: when a balance falls below its threshold, a periodic duty charges the organization's saved card.

Either each charge is of the same amount, or of as much as is missing to a target: see `next_charge_cents`.

* At most one automatic top-up of an organization is open at a time.
* Automatic top-ups of a calendar month stay within the monthly cap.
* After the first and second decline in a row the duty waits (WAITS_AFTER_DECLINE); the third turns automatic top-up
  off. Owners get a mail about each decline (`automatic_topup_mails`).
* The card is charged outside transactions. `topups.fulfil` credits the payment, as it does for any other top-up.

Life of one automatic top-up: `run` inserts the row, commits, and charges the card with an idempotency key. If Stripe
does not answer, the row stays open and the next `run` asks again with the same key.
"""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q, Sum
from django.utils import timezone

from accounts import audit_log
from accounts.errors import Conflict, InvalidField, UpstreamFailed
from accounts.models import AuditAction, Organization, User
from billing import ledger, money, months, pricing, stripe_api, stripe_calls, stripe_mapping, topups
from billing.models.payments import OPEN_TOPUP_STATES, AutomaticTopUp, SavedCard, TopUp, TopUpState

logger = logging.getLogger(__name__)

MIN_THRESHOLD_CENTS = 100
MAX_THRESHOLD_CENTS = 100_000
MAX_MONTHLY_CAP_CENTS = 10_000_000
# Waits after the first and the second decline in a row. The third turns automatic top-up off.
WAITS_AFTER_DECLINE = (timedelta(hours=1), timedelta(days=1))
NEXT_CHECK_AFTER = timedelta(minutes=2)
# Stripe keeps idempotency keys for at least 24 hours. After that a repeated call could charge a second time.
RETRY_CHARGE_WITHIN = timedelta(hours=20)
MAX_PER_ROUND = 100

DECLINED = "Your bank declined the card."
NEEDS_PAYER = "Your bank wants you to confirm the payment."
CARD_UNUSABLE = "The saved card can no longer be used."
CARD_REMOVED = "The saved card was removed."
NO_ANSWER = "Our payment provider did not answer."
THREE_DECLINES = "Automatic top-up is off: the card was declined three times in a row."


# --- Settings --------------------------------------------------------------------------------------------------------


def settings_of(organization: Organization) -> AutomaticTopUp:
    """Return the organization's settings, or unsaved defaults that are off."""
    return AutomaticTopUp.objects.filter(organization=organization).first() or AutomaticTopUp(organization=organization)


def turn_on(
    organization: Organization, *, person: User | None, threshold_cents: int, amount_cents: int, monthly_cap_cents: int
) -> AutomaticTopUp:
    """Turn automatic top-up by an amount on, or change its amounts, and reset the count of declines.

    person: who does it, None for a program. Raises InvalidField for an amount out of bounds, Conflict without a saved
    card.
    """
    topups.check_amount(amount_cents)
    _check_bounds(
        threshold_cents=threshold_cents, monthly_cap_cents=monthly_cap_cents, min_monthly_cap_cents=amount_cents
    )
    return _turn_on(
        organization,
        person=person,
        threshold_cents=threshold_cents,
        amount_cents=amount_cents,
        target_cents=None,
        monthly_cap_cents=monthly_cap_cents,
    )


def turn_on_to_target(
    organization: Organization, *, person: User | None, threshold_cents: int, target_cents: int, monthly_cap_cents: int
) -> AutomaticTopUp:
    """Turn automatic top-up to a target on, or change its amounts. As `turn_on`.

    The target is so far above the threshold that every charge is at least the smallest top-up, and so low that one
    charge reaches it.
    """
    lowest = threshold_cents + pricing.MIN_TOPUP_CENTS
    if not lowest <= target_cents <= pricing.MAX_TOPUP_CENTS:
        raise InvalidField(
            "target_cents",
            f"Choose a target that is at least {_dollars(pricing.MIN_TOPUP_CENTS)} above the balance at which it is "
            f"topped up, and at most {_dollars(pricing.MAX_TOPUP_CENTS)}.",
        )
    _check_bounds(
        threshold_cents=threshold_cents,
        monthly_cap_cents=monthly_cap_cents,
        min_monthly_cap_cents=pricing.amount_for_credit_cents(target_cents - threshold_cents),
    )
    return _turn_on(
        organization,
        person=person,
        threshold_cents=threshold_cents,
        target_cents=target_cents,
        monthly_cap_cents=monthly_cap_cents,
    )


def _check_bounds(*, threshold_cents: int, monthly_cap_cents: int, min_monthly_cap_cents: int) -> None:
    if not MIN_THRESHOLD_CENTS <= threshold_cents <= MAX_THRESHOLD_CENTS:
        raise InvalidField("threshold_cents", "Choose a balance from $1.00 to $1,000.00.")
    if not min_monthly_cap_cents <= monthly_cap_cents <= MAX_MONTHLY_CAP_CENTS:
        raise InvalidField("monthly_cap_cents", "The monthly cap must be at least one top-up, and at most $100,000.00.")


def _turn_on(organization: Organization, **amounts: Any) -> AutomaticTopUp:
    with transaction.atomic():
        if not SavedCard.objects.of(organization).exists():
            raise Conflict("Save a card first: choose so when you top up.")
        cap = amounts["monthly_cap_cents"] * 10_000
        audit_log.record(organization, AuditAction.TOP_UP_ON, f"at most {audit_log.dollars(cap)} a month")
        return AutomaticTopUp.objects.update_or_create(
            organization=organization,
            defaults={
                **amounts,
                "is_on": True,
                "declines_count": 0,
                "retry_at": None,
                "turned_off_reason": "",
                "updated_at": timezone.now(),
            },
        )[0]


def turn_off(organization: Organization, *, reason: str = "") -> None:
    """Turn automatic top-up off. A charge in progress is still finished.

    reason: a sentence for the owners if the site turned it off; empty if a person did.
    """
    with transaction.atomic():
        rows = AutomaticTopUp.objects.filter(organization=organization)
        was_on = rows.filter(is_on=True).exists()
        rows.update(is_on=False, turned_off_reason=reason, updated_at=timezone.now())
        if was_on:
            audit_log.record(organization, AuditAction.TOP_UP_OFF, reason)


def next_charge_cents(topup_settings: AutomaticTopUp, *, available_micros: int, left_of_cap_cents: int) -> int:
    """Return how much would be charged at this balance, in cents; 0 if the monthly cap leaves too little.

    available_micros: what can be spent, without holds. left_of_cap_cents: what this month's cap leaves.
    By an amount: that amount, or nothing. To a target: the smallest payment that with its bonus makes at least the
    target available. If the cap leaves less, the rest of the cap is charged, if it is not below the smallest top-up.
    """
    if topup_settings.target_cents is None:
        return topup_settings.amount_cents if topup_settings.amount_cents <= left_of_cap_cents else 0
    missing_cents = money.cents_up(topup_settings.target_cents * money.MICROS_PER_CENT - available_micros)
    wanted_cents = min(
        max(pricing.amount_for_credit_cents(max(0, missing_cents)), pricing.MIN_TOPUP_CENTS), pricing.MAX_TOPUP_CENTS
    )
    amount_cents = min(wanted_cents, left_of_cap_cents)
    return amount_cents if amount_cents >= pricing.MIN_TOPUP_CENTS else 0


@dataclass(frozen=True, slots=True)
class Charge:
    """One automatic top-up as it would be made, in cents."""

    amount_cents: int
    bonus_cents: int


def charge_at_threshold(topup_settings: AutomaticTopUp) -> Charge:
    """Return the charge at a balance just at the threshold, with nothing charged this month: for pages and programs."""
    amount_cents = next_charge_cents(
        topup_settings,
        available_micros=topup_settings.threshold_cents * money.MICROS_PER_CENT,
        left_of_cap_cents=topup_settings.monthly_cap_cents,
    )
    return Charge(amount_cents, bonus_cents=pricing.bonus_cents(amount_cents))


# --- Charging --------------------------------------------------------------------------------------------------------


def run(*, now: datetime | None = None, max_count: int = MAX_PER_ROUND) -> int:
    """Finish open automatic top-ups, then start those that are due. Returns how many were started.

    Waits for the network, with no transaction open. Any number of processes may run it at the same time.
    """
    now = now or timezone.now()
    started_count = 0
    if _finish_open(now=now, max_count=max_count):
        for topup_settings in _due(now=now, max_count=max_count):
            topup = _begin(topup_settings, now=now)
            if topup is not None:
                started_count += 1
                if not _try(topup, now=now):
                    break
    return started_count


def charge(topup: TopUp, *, now: datetime) -> TopUp:
    """Charge the card of a top-up that was just begun and committed. Returns its row as it is then.

    It stays open if Stripe does not answer, and `run` finishes it. Waits for the network.
    """
    _try(topup, now=now)
    topup.refresh_from_db()
    return topup


def record_failure(payment: stripe_mapping.StripePayment) -> None:
    """Record that Stripe reported an automatic charge as declined after it had accepted it.

    Does nothing for a payment by hand: its payer may try another card on Stripe's page.
    """
    topup = topups.find(payment.topup_id)
    if topup is not None and topup.is_automatic:
        _decline(topup, failure=DECLINED, now=timezone.now())


def _due(*, now: datetime, max_count: int) -> list[AutomaticTopUp]:
    under_way = TopUp.objects.open().filter(organization=OuterRef("organization"), is_automatic=True)
    available = F("organization__wallet__balance_micros") - F("organization__wallet__held_micros")
    return list(
        AutomaticTopUp.objects.filter(
            Q(retry_at__isnull=True) | Q(retry_at__lte=now),
            # An organization that waits for Stripe's answer must not take one of the places.
            ~Exists(under_way),
            is_on=True,
            organization__wallet__frozen_at__isnull=True,
            organization__saved_card__isnull=False,
        )
        .annotate(available_micros=available)
        .filter(available_micros__lt=F("threshold_cents") * money.MICROS_PER_CENT)
        .order_by("organization_id")[:max_count]
    )


def _begin(topup_settings: AutomaticTopUp, *, now: datetime) -> TopUp | None:
    """Insert the row of an automatic top-up if it is still due. Returns the committed row, or None."""
    try:
        with transaction.atomic(durable=True):
            # Every process locks this row before it starts a top-up, so no other one starts during these checks.
            topup_settings = AutomaticTopUp.objects.select_for_update(no_key=True).get(pk=topup_settings.pk)
            organization = topup_settings.organization
            # Check for an open one before the insert. Otherwise the insert would wait, at the unique constraint, for
            # the transaction that ends the open one, and that transaction for this lock: a deadlock. Check it before
            # the wallet is read, so that the balance includes a top-up that has just ended.
            if TopUp.objects.of(organization).open().filter(is_automatic=True).exists():
                return None
            wallet = ledger.wallet_of(organization)
            card = SavedCard.objects.of(organization).first()
            is_low = wallet.available_micros < topup_settings.threshold_cents * money.MICROS_PER_CENT
            if not topup_settings.is_due(now=now) or card is None or not is_low or wallet.is_frozen:
                return None
            amount_cents = next_charge_cents(
                topup_settings,
                available_micros=wallet.available_micros,
                left_of_cap_cents=topup_settings.monthly_cap_cents - this_month_cents(organization, now=now),
            )
            if not amount_cents:
                topup_settings.retry_at = next_month(now)
                topup_settings.save(update_fields=["retry_at"])
                return None
            return topups.begin(
                organization,
                amount_cents=amount_cents,
                person=None,
                is_automatic=True,
                payment_method_id=card.payment_method_id,
            )
    except IntegrityError:
        # one_automatic_topup_at_a_time: another one is open.
        return None


def _finish_open(*, now: datetime, max_count: int) -> bool:
    """Ask Stripe again about open automatic top-ups. Returns False if Stripe does not answer."""
    waiting = TopUp.objects.open().filter(
        Q(checked_at__isnull=True) | Q(checked_at__lte=now - NEXT_CHECK_AFTER),
        is_automatic=True,
        created_at__lte=now - NEXT_CHECK_AFTER,
    )
    for topup in waiting.order_by(F("checked_at").asc(nulls_first=True), "created_at")[:max_count]:
        if not _try(topup, now=now):
            return False
    return True


def _try(topup: TopUp, *, now: datetime) -> bool:
    """Charge, and log any error. Returns False if Stripe does not answer: the caller then stops its round."""
    TopUp.objects.filter(pk=topup.pk).update(checked_at=now)
    try:
        _charge(topup, now=now)
    except UpstreamFailed:
        # The row stays open; the next round asks again with the same idempotency key.
        logger.warning("Stripe did not answer about automatic top-up %s.", topup.pk)
        return False
    except Exception:  # An error of one organization must not stop the others.
        logger.exception("Automatic top-up %s could not be finished.", topup.pk)
    return True


def _charge(topup: TopUp, *, now: datetime) -> None:
    """Charge the card, or find out the state of an earlier charge, and act on the result. Raises UpstreamFailed."""
    try:
        if topup.payment_intent_id:
            intent = stripe_calls.retrieve_payment_intent(topup.payment_intent_id)
        elif topup.created_at <= now - RETRY_CHARGE_WITHIN:
            # Stripe has not answered for most of a day. It is too late to charge, but an earlier call may have charged:
            # find that out before this top-up ends, because the next one starts then.
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
        # For example, the card was removed at Stripe. A second try would be refused too.
        _decline(topup, failure=CARD_UNUSABLE, now=now)
        return
    payment = stripe_mapping.payment_of_intent(intent)
    TopUp.objects.filter(pk=topup.pk, payment_intent_id="").update(payment_intent_id=payment.payment_intent_id)
    if payment.is_paid or payment.is_processing:
        topups.fulfil(payment)
    else:
        # A payment that needs the payer cannot be completed: nobody was given its client secret.
        _decline(topup, failure=NEEDS_PAYER if intent.get("status") == "requires_action" else DECLINED, now=now)


def _decline(topup: TopUp, *, failure: str, now: datetime) -> None:
    """End a declined top-up, and delay the next one or turn automatic top-up off. Ignore one that has ended before."""
    with transaction.atomic():
        topup = TopUp.objects.select_for_update(no_key=True).get(pk=topup.pk)
        if not topup.is_open:
            return
        topups.end(topup, state=TopUpState.FAILED, failure=failure)
        topup_settings = (
            AutomaticTopUp.objects.select_for_update(no_key=True).filter(organization=topup.organization).first()
        )
        if topup_settings is None:
            return
        topup_settings.declines_count += 1
        if topup_settings.declines_count <= len(WAITS_AFTER_DECLINE):
            topup_settings.retry_at = now + WAITS_AFTER_DECLINE[topup_settings.declines_count - 1]
        else:
            topup_settings.is_on = False
            topup_settings.turned_off_reason = THREE_DECLINES
        topup_settings.save(update_fields=["declines_count", "retry_at", "is_on", "turned_off_reason"])


# --- Monthly cap -----------------------------------------------------------------------------------------------------


def this_month_cents(organization: Organization, *, now: datetime) -> int:
    """Return the automatic top-ups that count toward this month's cap, in cents.

    These are the top-ups paid this month, whenever they were started, and all that are open. A top-up that starts in
    one month and is paid in the next counts in both, so the cap holds by either date. A top-up that was given up and is
    paid later counts from the payment on.
    """
    paid = Q(state__in=(TopUpState.PAID, TopUpState.UNDER_REVIEW), ended_at__gte=months.start_of_month(now))
    counted = TopUp.objects.of(organization).filter(Q(state__in=OPEN_TOPUP_STATES) | paid, is_automatic=True)
    return counted.aggregate(sum=Sum("amount_cents"))["sum"] or 0


def _dollars(cents: int) -> str:
    return money.display_text(cents * money.MICROS_PER_CENT)


def next_month(now: datetime) -> datetime:
    """Return when the next month's cap begins, and with it a wait for it ends."""
    return months.start_of_month(months.start_of_month(now) + timedelta(days=32))
