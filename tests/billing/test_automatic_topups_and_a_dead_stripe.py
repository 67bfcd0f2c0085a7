"""Charges of automatic top-ups that Stripe does not answer, or answers late."""

from datetime import timedelta

import pytest
import time_machine
from django.core import mail
from django.utils import timezone

from accounts.models import Organization
from billing import automatic_topup_mails, automatic_topups, ledger, topups
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp, TopUpState
from tests.billing.automatic import states
from tests.billing.conftest import NOW, money_of
from tests.billing.stripe_objects import intent_of, tell
from tests.stripe import StripeSandbox

pytestmark = pytest.mark.usefixtures("frozen")


@pytest.mark.long
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
        automatic_topup_mails.notify_owners()
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
        automatic_topup_mails.notify_owners(max_count=1)
        assert len(mail.outbox) == expected


def given_up(stripe_sandbox: StripeSandbox) -> TopUp:
    """Return the charge of a day ago that Stripe, once it answered, did not know. Its owners got a mail."""
    with stripe_sandbox.failing("refused"):
        automatic_topups.run(now=NOW)
    with time_machine.travel(NOW + timedelta(hours=21), tick=False):
        AutomaticTopUp.objects.update(is_on=False)
        automatic_topups.run()
        automatic_topup_mails.notify_owners()
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
            automatic_topup_mails.notify_owners()
    (letter,) = mail.outbox
    assert letter.to == ["owner@example.com"]
    assert letter.subject == "Automatic top-up of Acme was charged after all"
    assert "A delayed charge of $200.00 to the saved card" in letter.body
    assert "Automatic top-ups of this month now come to $400.00, more than the cap of $200.00" in letter.body
    with time_machine.travel(NOW + timedelta(days=3), tick=False):
        spend_all(acme, reference="all")
        assert automatic_topups.run() == 0
        automatic_topup_mails.notify_owners()
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
        automatic_topup_mails.notify_owners()
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
    automatic_topup_mails.notify_owners()
    topup = TopUp.objects.get(is_automatic=True)
    # An operator repeats the charge in Stripe's dashboard.
    assert tell("payment_intent.succeeded", intent_of(topup, id=topup.payment_intent_id or "pi_again")) == 200
    automatic_topup_mails.notify_owners()
    assert [message.subject for message in mail.outbox] == [
        "Automatic top-up of Acme failed",
        "Automatic top-up of Acme was charged after all",
    ]


def test_charge_that_is_paid_in_time_is_told_to_nobody(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, acme: Organization
) -> None:
    automatic_topups.run()
    automatic_topup_mails.notify_owners()
    assert mail.outbox == []


@pytest.mark.django_db(transaction=True)
def test_no_transaction_is_open_while_stripe_is_asked(
    stripe_sandbox: StripeSandbox, topup_settings: AutomaticTopUp, asked_in_transaction: list[bool]
) -> None:
    automatic_topups.run()
    assert asked_in_transaction == [False]
