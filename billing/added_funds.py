"""Credit that a program buys: the saved card is charged because a request with an API key says so.

Programs send such a request again when its answer is lost, without saying that it is the same one. So the same amount
is charged once in WINDOW, and whoever asks again gets what came of the first request. What a key may charge in a month
is bounded by the cap of automatic top-up, whether that is on or off: a stolen key must not empty a card
(docs/decisions/0047).

The card is charged outside transactions, as in `automatic_topups`, whose periodic duty finishes what Stripe did not
answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from django.db import IntegrityError, transaction
from django.db.models import Q

from accounts.errors import Conflict, PaymentRequired
from accounts.models import Organization
from billing import automatic_topups, ledger, money, statements, stripe_api, topups
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp, TopUpState

# Three tries of a client that waits 60 s for each, and time to spare.
WINDOW = timedelta(minutes=5)


class NoSavedCard(PaymentRequired):
    """There is no card to be charged."""

    default_type = "payment_refused"
    default_message = "Your organization has no saved card. Save one on the billing page when you top up."


class CapReached(PaymentRequired):
    """The monthly cap of charges without a person does not leave room for this one."""

    default_type = "spend_limit_reached"


class TopUpInProgress(Conflict):
    """Another charge of the card has not ended yet."""

    default_type = "conflict"
    default_message = "Another top-up is being charged. Try again when it has ended."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a request.

    state: "completed" when the credit is there, "pending" while the bank or Stripe has not answered, "not_needed" when
    the balance is not below the threshold. was_charged_before: an earlier request did it. available_micros: what can be
    spent now.
    """

    state: Literal["completed", "pending", "not_needed"]
    amount_cents: int
    bonus_cents: int
    was_charged_before: bool
    available_micros: int


def add(
    organization: Organization,
    *,
    amount_cents: int,
    if_below_micros: int | None,
    now: datetime,
    in_transaction: Callable[[TopUp], None] | None = None,
) -> Outcome:
    """Charge the saved card, unless it was charged with this amount within WINDOW or the balance is high enough.

    if_below_micros: charge only if less than that can be spent; None: in any case.
    in_transaction: is called with the top-up that answers the request, inside the transaction that begins it and before
        the card is charged. If it raises, nothing is begun. `outcome_of` tells later what came of that top-up.
    Raises NotConfigured, NoSavedCard, CapReached, TopUpInProgress, CardDeclined, and PaymentRequired if it is frozen.
    Waits for the network: call it outside transactions.
    """
    topups.check_amount(amount_cents)
    stripe_api.require_configured()
    try:
        # Durable: the row of a charge must be there, whatever becomes of the process.
        with transaction.atomic(durable=True):
            topup, is_new = _begin(organization, amount_cents=amount_cents, if_below_micros=if_below_micros, now=now)
            if topup is not None and in_transaction is not None:
                in_transaction(topup)
    except IntegrityError as error:
        # one_automatic_topup_at_a_time: the periodic duty has begun one at this moment, with settings that were new.
        raise TopUpInProgress from error
    if topup is None:
        return Outcome("not_needed", 0, 0, was_charged_before=False, available_micros=_available(organization))
    if is_new:
        topup = automatic_topups.charge(topup, now=now)
    return _outcome(topup, was_charged_before=not is_new)


def outcome_of(organization: Organization, *, topup_id: str) -> Outcome:
    """Return what came of an earlier request, by the top-up that `in_transaction` was given. Raises CardDeclined."""
    return _outcome(TopUp.objects.of(organization).get(pk=topup_id), was_charged_before=True)


def _outcome(topup: TopUp, *, was_charged_before: bool) -> Outcome:
    if topup.state == TopUpState.FAILED:
        raise stripe_api.CardDeclined(code="card_declined", decline_code="", message=topup.failure)
    return Outcome(
        "completed" if topup.is_paid else "pending",
        amount_cents=topup.amount_cents,
        bonus_cents=topup.bonus_cents,
        was_charged_before=was_charged_before,
        available_micros=_available(topup.organization),
    )


def _begin(
    organization: Organization, *, amount_cents: int, if_below_micros: int | None, now: datetime
) -> tuple[TopUp | None, bool]:
    """Return (top-up, whether it is new and to be charged now); (None, False) if there is nothing to do.

    Call it inside a transaction.
    """
    # Of several requests at once, each waits here for the one before it.
    Organization.objects.select_for_update(no_key=True).get(pk=organization.pk)
    # As every process does that starts an automatic top-up.
    AutomaticTopUp.objects.select_for_update(no_key=True).filter(organization=organization).first()
    card = SavedCard.objects.of(organization).first()
    same = TopUp.objects.of(organization).filter(
        is_automatic=True, amount_cents=amount_cents, created_at__gt=now - WINDOW
    )
    # A card that was declined is not asked again at once, but another one is.
    other_card = ~Q(payment_method_id=card.payment_method_id if card else "")
    earlier = same.exclude(other_card, state=TopUpState.FAILED).newest_first().first()
    if earlier is not None:
        return earlier, False
    if TopUp.objects.of(organization).open().filter(is_automatic=True).exists():
        raise TopUpInProgress
    wallet = ledger.wallet_of(organization)
    if if_below_micros is not None and wallet.available_micros >= if_below_micros:
        return None, False
    if card is None:
        raise NoSavedCard
    if wallet.is_frozen:
        raise PaymentRequired("Your organization's balance is frozen.", error_type="wallet_frozen")
    _require_room_under_cap(organization, amount_cents=amount_cents, now=now)
    topup = topups.begin(
        organization,
        amount_cents=amount_cents,
        person=None,
        is_automatic=True,
        payment_method_id=card.payment_method_id,
    )
    return topup, True


def _require_room_under_cap(organization: Organization, *, amount_cents: int, now: datetime) -> None:
    cap_cents = automatic_topups.settings_of(organization).monthly_cap_cents
    used_cents = automatic_topups.this_month_cents(organization, now=now)
    if used_cents + amount_cents > cap_cents:
        cap = money.display_text(cap_cents * money.MICROS_PER_CENT)
        raise CapReached(
            f"Charges of the saved card would go over this month's cap of {cap}. An owner can raise it in the settings "
            "of automatic top-up."
        )


def _available(organization: Organization) -> int:
    return statements.available_micros(organization)
