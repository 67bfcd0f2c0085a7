"""Automatic top-up. The tests control the clock, Stripe and the owner's bank."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core import mail
from django.db import IntegrityError
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import Organization, User
from billing import automatic_topups, ledger, notices, periodic, topups
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp, TopUpState
from tests.billing.conftest import fund, money_of
from tests.billing.paying import pay
from tests.billing.stripe_objects import intent_of, tell
from tests.billing.test_notices import ProcessEnded
from tests.stripe import StripeSandbox

# The middle of a month, so that a test over a few days stays in that month.
NOW = datetime(2026, 11, 10, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def frozen() -> Any:
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def card(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> str:
    """A card that was saved with a top-up of $5, all of which is spent. Returns its id at Stripe."""
    pay(stripe_sandbox, acme, owner, 500, save_card=True)
    ledger.settle(ledger.reserve(acme, amount_micros=5_000_000, reference="job:1"), actual_micros=5_000_000)
    return SavedCard.objects.get().payment_method_id


@pytest.fixture
def topup_settings(card: str, acme: Organization, owner: User) -> AutomaticTopUp:
    return turn_on(acme, owner)


def turn_on(organization: Organization, person: User, **changes: int) -> AutomaticTopUp:
    amounts = {"threshold_cents": 500, "amount_cents": 20_000, "monthly_cap_cents": 50_000}
    return automatic_topups.turn_on(organization, person=person, **{**amounts, **changes})


def states() -> list[str]:
    return list(TopUp.objects.filter(is_automatic=True).order_by("created_at").values_list("state", flat=True))


# --- Charging --------------------------------------------------------------------------------------------------------


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


def test_cap_is_never_passed_and_told_once(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    for number in range(4):
        automatic_topups.run()
        automatic_topups.notify_owners()
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
            automatic_topups.notify_owners()
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


def test_bank_that_wants_the_owner_is_a_decline_with_a_way_out(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str
) -> None:
    stripe_sandbox.set_card_outcome(card, "authentication_required")
    automatic_topups.run()
    automatic_topups.notify_owners()
    topup = TopUp.objects.get(is_automatic=True)
    assert (topup.state, topup.failure) == (TopUpState.FAILED, automatic_topups.NEEDS_PAYER)
    topup_settings.refresh_from_db()
    assert topup_settings.declines_count == 1
    assert "confirm the payment" in mail.outbox[0].body
    assert "/billing/" in mail.outbox[0].body


def test_card_that_is_gone_is_a_decline(stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp) -> None:
    SavedCard.objects.update(payment_method_id="pm_gone")
    automatic_topups.run()
    assert TopUp.objects.get(is_automatic=True).failure == automatic_topups.CARD_UNUSABLE


def test_mail_that_fails_is_sent_later(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, settings: Any
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    automatic_topups.run()
    automatic_topups.notify_owners()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    automatic_topups.run()
    automatic_topups.notify_owners()
    automatic_topups.run()
    automatic_topups.notify_owners()
    assert len(mail.outbox) == 1


def test_mail_of_a_clock_that_died_is_sent_by_the_next(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, settings: Any
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    automatic_topups.run()
    settings.EMAIL_BACKEND = "tests.billing.test_notices.DeadlyMailServer"
    with pytest.raises(ProcessEnded):
        automatic_topups.notify_owners()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    automatic_topups.notify_owners()
    assert mail.outbox == []
    with time_machine.travel(NOW + notices.CLAIM_LEASE, tick=False):
        for _ in range(2):
            automatic_topups.notify_owners()
    assert len(mail.outbox) == 1


def test_charging_waits_for_no_mail_server(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    periodic.top_up_automatically()
    assert states() == [TopUpState.FAILED]
    assert mail.outbox == []
    periodic.tell_of_automatic_topups()
    assert len(mail.outbox) == 1
    # The clock runs each duty in a thread of its own.
    assert {periodic.top_up_automatically, periodic.tell_of_automatic_topups} <= {duty for _, duty in periodic.DUTIES}


# --- A dead Stripe ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["refused", "error", "timeout", "response_lost"])
def test_charge_whose_answer_was_lost_is_made_once(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization, how: str
) -> None:
    with stripe_sandbox.failing(how):
        assert automatic_topups.run() == 1
        assert automatic_topups.run(now=NOW + timedelta(hours=1)) == 0
    assert states() == [TopUpState.STARTING]
    # Another card was saved meanwhile. The repeated call must name the first card.
    SavedCard.objects.update(payment_method_id="pm_other")
    automatic_topups.run(now=NOW + timedelta(hours=2))
    assert states() == [TopUpState.PAID]
    assert money_of(acme) == (210_000_000, 0)
    assert len(stripe_sandbox.all("charge")) == 2
    stripe_sandbox.deliver(times=2)
    assert money_of(acme) == (210_000_000, 0)


def test_charge_that_nobody_heard_of_for_a_day_is_given_up(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    with stripe_sandbox.failing("refused"):
        automatic_topups.run()
    with time_machine.travel(NOW + timedelta(hours=21), tick=False):
        AutomaticTopUp.objects.update(is_on=False)
        with stripe_sandbox.failing("refused"):
            automatic_topups.run()
        # The state is unknown until Stripe answers.
        assert states() == [TopUpState.STARTING]
        automatic_topups.run(now=timezone.now() + automatic_topups.NEXT_CHECK_AFTER)
    assert states() == [TopUpState.FAILED]
    # If the charge was made all the same, its event credits it.
    assert tell("payment_intent.succeeded", intent_of(TopUp.objects.get(is_automatic=True))) == 200
    assert money_of(acme) == (210_000_000, 0)


def test_charge_whose_answer_was_lost_for_a_day_is_not_made_again_as_another(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    with stripe_sandbox.failing("response_lost"):
        automatic_topups.run()
    # Idempotency keys expire after a day.
    stripe_sandbox.forget_responses()
    with time_machine.travel(NOW + timedelta(hours=25), tick=False):
        for _ in range(2):
            automatic_topups.run()
        automatic_topups.notify_owners()
    assert states() == [TopUpState.PAID]
    assert len(stripe_sandbox.all("charge")) == 2
    assert money_of(acme) == (210_000_000, 0)
    # No mail said that it had failed; still it is paid a day late.
    assert [message.subject for message in mail.outbox] == ["Automatic top-up of Acme was charged after all"]


def test_charges_that_were_told_of_take_no_others_turn(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    for days in (1, 2):
        topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
        TopUp.objects.filter(pk=topup.pk).update(created_at=NOW - timedelta(days=days))
        assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    for expected in (1, 2, 2):
        automatic_topups.notify_owners(max_count=1)
        assert len(mail.outbox) == expected


def given_up(stripe_sandbox: StripeSandbox) -> TopUp:
    """Return the charge of a day ago that Stripe, once it answered, did not know. Its owners got a mail."""
    with stripe_sandbox.failing("refused"):
        automatic_topups.run(now=NOW)
    with time_machine.travel(NOW + timedelta(hours=21), tick=False):
        AutomaticTopUp.objects.update(is_on=False)
        automatic_topups.run()
        automatic_topups.notify_owners()
        AutomaticTopUp.objects.update(is_on=True)
    topup = TopUp.objects.get(is_automatic=True, state=TopUpState.FAILED)
    assert topup.failure == automatic_topups.NO_ANSWER
    return topup


def spend_all(organization: Organization, *, reference: str) -> None:
    available = ledger.wallet_of(organization).available_micros
    ledger.settle(ledger.reserve(organization, amount_micros=available, reference=reference), actual_micros=available)


def test_charge_that_was_given_up_and_paid_all_the_same_is_credited_counted_and_told(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    """One top-up fits into the cap. The first is given up, so a second is made; then the first is paid."""
    AutomaticTopUp.objects.update(monthly_cap_cents=20_000)
    first = given_up(stripe_sandbox)
    with time_machine.travel(NOW + timedelta(hours=22), tick=False):
        automatic_topups.run()
        assert money_of(acme) == (210_000_000, 0)
        assert tell("payment_intent.succeeded", intent_of(first)) == 200
        assert money_of(acme) == (420_000_000, 0)
        first.refresh_from_db()
        assert first.state == TopUpState.PAID
        mail.outbox.clear()
        for _ in range(2):
            automatic_topups.notify_owners()
    (letter,) = mail.outbox
    assert letter.to == ["owner@example.com"]
    assert letter.subject == "Automatic top-up of Acme was charged after all"
    assert "A delayed charge of $200.00 to the saved card" in letter.body
    assert "Automatic top-ups of this month now come to $400.00, more than the cap of $200.00" in letter.body
    with time_machine.travel(NOW + timedelta(days=3), tick=False):
        spend_all(acme, reference="all")
        assert automatic_topups.run() == 0
        automatic_topups.notify_owners()
        assert [message.subject for message in mail.outbox[1:]] == [
            "Automatic top-up of Acme has reached its monthly cap"
        ]


def test_late_charge_counts_for_the_cap_that_it_leaves_room_in(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    """Two of $200 fit into $500. A late payment of one that was given up counts as one of them."""
    first = given_up(stripe_sandbox)
    with time_machine.travel(NOW + timedelta(hours=22), tick=False):
        assert tell("payment_intent.succeeded", intent_of(first)) == 200
        automatic_topups.notify_owners()
    assert "now come to $200.00, and the cap is $500.00" in mail.outbox[-1].body
    with time_machine.travel(NOW + timedelta(days=3), tick=False):
        for number in range(3):
            spend_all(acme, reference=f"all:{number}")
            automatic_topups.run()
        assert sorted(states()) == [TopUpState.PAID] * 2


def test_charge_that_its_owners_were_told_had_failed_is_told_when_it_is_paid(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, card: str, acme: Organization
) -> None:
    stripe_sandbox.set_card_outcome(card, "declined")
    automatic_topups.run()
    automatic_topups.notify_owners()
    topup = TopUp.objects.get(is_automatic=True)
    # An operator repeats the charge in Stripe's dashboard.
    assert tell("payment_intent.succeeded", intent_of(topup, id=topup.payment_intent_id or "pi_again")) == 200
    automatic_topups.notify_owners()
    assert [message.subject for message in mail.outbox] == [
        "Automatic top-up of Acme did not work",
        "Automatic top-up of Acme was charged after all",
    ]


def test_charge_that_is_paid_in_time_is_told_to_nobody(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    automatic_topups.run()
    automatic_topups.notify_owners()
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_stripe_is_asked(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, asked_in_transaction: list[bool]
) -> None:
    automatic_topups.run()
    assert asked_in_transaction == [False]


# --- Slow banks ------------------------------------------------------------------------------------------------------


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


def test_every_decline_is_told_however_many_there_are(topup_settings: AutomaticTopUp, acme: Organization) -> None:
    automatic_topups.turn_off(acme)
    for minutes in range(3):
        topup = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True)
        TopUp.objects.filter(pk=topup.pk).update(created_at=NOW - timedelta(minutes=minutes))
        topups.end(topup, state=TopUpState.FAILED, failure=automatic_topups.DECLINED)
    for _ in range(4):
        automatic_topups.notify_owners(max_count=1)
    assert len(mail.outbox) == 3
