"""Automatic top-up. The tests control the clock, Stripe and the owner's bank."""

from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail
from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import Organization, User
from billing import automatic_topup_mails, automatic_topups, claw_backs, expiry, ledger, refunds, topups
from billing.models import Freeze
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp, TopUpState
from tests.billing.automatic import states, turn_on
from tests.billing.conftest import NOW, fund, money_of, spend
from tests.billing.stripe_objects import WITHDRAWN, dispute_of, intent_of, tell
from tests.stripe import StripeSandbox

pytestmark = pytest.mark.usefixtures("frozen")


# --- Charging --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_low_balance_is_topped_up_once(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    assert automatic_topups.run() == 1
    assert automatic_topups.run() == 0
    assert money_of(acme) == (210_000_000, 0)
    topup = TopUp.objects.get(is_automatic=True)
    assert (topup.state, topup.person, topup.amount_cents) == (TopUpState.PAID, None, 20_000)
    assert topup.receipt_url
    # The events report the same payment again.
    assert {status for _, status in stripe_sandbox.deliver(times=2)} == {200}
    assert money_of(acme) == (210_000_000, 0)
    intent = stripe_sandbox.get(topup.payment_intent_id)
    assert intent["metadata"]["topup_id"] == str(topup.pk)


def test_enough_money_is_left_alone(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    fund(acme, 5_000_000)
    assert automatic_topups.run() == 0


def test_money_that_is_held_is_not_there(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    fund(acme, 5_000_000)
    ledger.reserve(acme, amount_micros=1, reference="job:2")
    assert automatic_topups.run() == 1


def test_frozen_wallet_is_not_topped_up(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    ledger.freeze(acme, reason="dispute:1")
    assert automatic_topups.run() == 0


def test_off_is_off(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    automatic_topups.turn_off(acme)
    assert automatic_topups.run() == 0


def test_only_one_at_a_time(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    assert automatic_topups.run() == 0
    with pytest.raises(IntegrityError, match=r"one_automatic_topup_at_a_time|organization_id"):
        topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)


@pytest.mark.long
def test_other_organizations_are_charged_though_one_fails(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization, rival: Organization, owner: User
) -> None:
    SavedCard.objects.create(organization=rival, payment_method_id="pm_of_nobody")
    ledger.wallet_of(rival)
    turn_on(rival, owner)
    assert automatic_topups.run() == 2
    assert money_of(acme) == (210_000_000, 0)
    assert money_of(rival) == (0, 0)


# --- The cap ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_cap_is_never_passed_and_told_once(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    for number in range(4):
        automatic_topups.run()
        automatic_topup_mails.notify_owners()
        available = ledger.wallet_of(acme).available_micros
        if available:
            hold = ledger.reserve(acme, amount_micros=available, reference=f"spent:{number}")
            ledger.settle(hold, actual_micros=available)
    # Two top-ups of $200 fit into the cap of $500, a third does not.
    assert states() == [TopUpState.PAID] * 2
    assert [message.subject for message in mail.outbox] == ["Automatic top-up of Acme has reached its monthly cap"]
    assert mail.outbox[0].to == ["owner@example.com"]
    # The mail must not say that $500 were charged: it was $400.
    assert "another automatic top-up of $200.00 would go over its cap of $500.00 for this month" in mail.outbox[0].body
    with time_machine.travel(datetime(2026, 11, 30, 23, 59, tzinfo=UTC), tick=False):
        assert automatic_topups.run() == 0
    with time_machine.travel(datetime(2026, 12, 1, tzinfo=UTC), tick=False):
        assert automatic_topups.run() == 1


@pytest.mark.long
def test_payment_that_comes_in_the_next_month_counts_for_its_cap(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    """One is started in November and paid in December, so only one of two further ones fits into December's $500."""
    with time_machine.travel(datetime(2026, 11, 30, 23, 59, tzinfo=UTC), tick=False):
        topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
        assert tell("payment_intent.processing", intent_of(topup, status="processing")) == 200
    with time_machine.travel(datetime(2026, 12, 2, tzinfo=UTC), tick=False):
        assert tell("payment_intent.succeeded", intent_of(topup)) == 200
        for number in range(3):
            available = ledger.wallet_of(acme).available_micros
            hold = ledger.reserve(acme, amount_micros=available, reference=f"all:{number}")
            ledger.settle(hold, actual_micros=available)
            automatic_topups.run()
        paid = TopUp.objects.filter(is_automatic=True, paid_at__gte=datetime(2026, 12, 1, tzinfo=UTC))
        assert sum(topup.amount_cents for topup in paid) == 40_000


@pytest.mark.long
def test_failed_charges_do_not_count(stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str) -> None:
    AutomaticTopUp.objects.update(monthly_cap_cents=20_000)
    stripe_sandbox.set_card_outcome(card, "declined")
    automatic_topups.run()
    assert states() == [TopUpState.FAILED]
    stripe_sandbox.set_card_outcome(card, "paid")
    automatic_topups.run(now=NOW + timedelta(hours=1))
    # The clock is frozen, so both have the same time and no order.
    assert sorted(states()) == [TopUpState.FAILED, TopUpState.PAID]


# --- Declines --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_declines_back_off_then_turn_off_and_are_told(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, acme: Organization
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    moments = []
    for hours in range(60):
        now = NOW + timedelta(hours=hours)
        with time_machine.travel(now, tick=False):
            if automatic_topups.run():
                moments.append(hours)
            automatic_topup_mails.notify_owners()
    assert moments == [0, 1, 25]
    topup_settings.refresh_from_db()
    assert (topup_settings.is_on, topup_settings.turned_off_reason) == (False, automatic_topups.THREE_DECLINES)
    assert len(mail.outbox) == 3
    assert "could not charge $200.00" in mail.outbox[0].body
    assert "declined" in mail.outbox[0].body
    assert "try again later" in mail.outbox[0].body
    assert automatic_topups.THREE_DECLINES in mail.outbox[2].body
    assert money_of(acme) == (0, 0)
    # The events report the declines too; each decline is counted once.
    stripe_sandbox.deliver(times=2)
    topup_settings.refresh_from_db()
    assert topup_settings.declines_count == 3


def test_success_forgets_declines(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, acme: Organization
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    automatic_topups.run()
    stripe_sandbox.set_card_outcome(card, "paid")
    automatic_topups.run(now=NOW + timedelta(hours=1))
    topup_settings.refresh_from_db()
    assert (topup_settings.declines_count, topup_settings.retry_at) == (0, None)


@pytest.mark.long
def test_bank_that_wants_the_owner_is_a_decline_with_a_way_out(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str
) -> None:
    stripe_sandbox.set_card_outcome(card, "authentication_required")
    automatic_topups.run()
    automatic_topup_mails.notify_owners()
    topup = TopUp.objects.get(is_automatic=True)
    assert (topup.state, topup.failure) == (TopUpState.FAILED, automatic_topups.NEEDS_PAYER)
    topup_settings.refresh_from_db()
    assert topup_settings.declines_count == 1
    assert "confirm the payment" in mail.outbox[0].body
    assert f"/o/{topup.organization_id}/billing/" in mail.outbox[0].body


def test_card_that_is_gone_is_a_decline(stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp) -> None:
    SavedCard.objects.update(payment_method_id="pm_gone")
    automatic_topups.run()
    assert TopUp.objects.get(is_automatic=True).failure == automatic_topups.CARD_UNUSABLE


# --- Slow banks ------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_slow_charge_that_fails_in_the_end_is_a_decline(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
    assert tell("payment_intent.processing", intent_of(topup, status="processing")) == 200
    assert states() == [TopUpState.PROCESSING]
    for _ in range(2):
        assert tell("payment_intent.payment_failed", intent_of(topup, status="requires_payment_method")) == 200
    assert states() == [TopUpState.FAILED]
    topup_settings.refresh_from_db()
    assert topup_settings.declines_count == 1


def test_failed_attempt_at_a_checkout_is_not_its_end(acme: Organization, owner: User) -> None:
    topup = topups.begin(acme, amount_cents=20_000, person=owner)
    assert tell("payment_intent.payment_failed", intent_of(topup, status="requires_payment_method")) == 200
    topup.refresh_from_db()
    assert topup.is_open


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"threshold_cents": 99}, "threshold_cents"),
        ({"threshold_cents": 100_001}, "threshold_cents"),
        ({"amount_cents": 499}, "amount_cents"),
        ({"monthly_cap_cents": 19_999}, "monthly_cap_cents"),
        ({"monthly_cap_cents": 10_000_001}, "monthly_cap_cents"),
    ],
)
def test_amounts_out_of_bounds_are_refused(
    card: str, acme: Organization, owner: User, changes: dict[str, int], param: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        turn_on(acme, owner, **changes)
    assert caught.value.data["param"] == param
    assert not automatic_topups.settings_of(acme).is_on


def test_no_card_no_automatic_topup(acme: Organization, owner: User) -> None:
    with pytest.raises(Conflict, match="Save a card first"):
        turn_on(acme, owner)


def test_turning_on_again_forgets_declines(topup_settings: AutomaticTopUp, acme: Organization, owner: User) -> None:
    AutomaticTopUp.objects.update(is_on=False, declines_count=3, retry_at=timezone.now(), turned_off_reason="No.")
    topup_settings = turn_on(acme, owner)
    assert (
        topup_settings.is_on,
        topup_settings.declines_count,
        topup_settings.retry_at,
        topup_settings.turned_off_reason,
    ) == (True, 0, None, "")


# --- Many ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def other_wish(rival: Organization, owner: User) -> AutomaticTopUp:
    """Settings of another organization, whose card Stripe does not know."""
    SavedCard.objects.create(organization=rival, payment_method_id="pm_of_nobody")
    ledger.wallet_of(rival)
    return turn_on(rival, owner)


@pytest.mark.long
def test_silent_stripe_is_waited_for_once_in_a_round(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, other_wish: AutomaticTopUp, acme: Organization
) -> None:
    with stripe_sandbox.failing("timeout"):
        assert automatic_topups.run() == 1
        # The open charge is asked about first, and no other is started.
        assert automatic_topups.run(now=NOW + automatic_topups.NEXT_CHECK_AFTER) == 0
    later = NOW + 2 * automatic_topups.NEXT_CHECK_AFTER
    assert automatic_topups.run(now=later) == 1
    assert sorted(states()) == [TopUpState.FAILED, TopUpState.PAID]
    assert money_of(acme) == (210_000_000, 0)


def test_charge_under_way_takes_no_place_in_the_round(
    stripe_sandbox: StripeSandbox,
    topup_settings: AutomaticTopUp,
    other_wish: AutomaticTopUp,
) -> None:
    first = min(topup_settings, other_wish, key=lambda each: each.organization_id)
    topups.begin(first.organization, amount_cents=20_000, person=None, is_automatic=True)
    assert automatic_topups.run(max_count=1) == 1


@pytest.mark.long
def test_balance_that_expired_is_not_topped_up(paid: TopUp, acme: Organization) -> None:
    later = NOW + timedelta(days=200)
    with time_machine.travel(later, tick=False):
        expiry.sweep(now=later)
        assert money_of(acme) == (0, 0)
        assert automatic_topups.run() == 0
    found = automatic_topups.settings_of(acme)
    assert (found.is_on, found.turned_off_reason) == (False, expiry.BALANCE_EXPIRED)


@pytest.mark.long
def test_refunded_money_is_not_charged_again(paid: TopUp, acme: Organization, owner: User) -> None:
    spend(acme, 1_000_000)
    refunds.request(paid, person=owner)
    assert automatic_topups.run() == 0
    found = automatic_topups.settings_of(acme)
    assert (found.is_on, found.turned_off_reason) == (False, claw_backs.PAYMENT_RETURNED)


def test_refund_that_leaves_enough_leaves_automatic_topup_on(paid: TopUp, acme: Organization, owner: User) -> None:
    refunds.request(paid, person=owner, amount_cents=1_000)
    assert automatic_topups.settings_of(acme).is_on


def test_card_of_a_disputed_payment_is_not_charged_when_the_case_is_closed(paid: TopUp, acme: Organization) -> None:
    withdrawal = dispute_of(paid, paid.amount_cents, payment_intent=paid.payment_intent_id)
    assert tell(WITHDRAWN, withdrawal) == 200
    for freeze in Freeze.objects.filter(lifted_at=None):
        if freeze.reason != ledger.DEBT:
            ledger.thaw(acme, reason=freeze.reason)
    assert automatic_topups.run() == 0
    assert not automatic_topups.settings_of(acme).is_on
