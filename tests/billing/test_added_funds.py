"""Credit that a program buys with the saved card: once, within the cap, and never without a card."""

from collections import Counter
from datetime import timedelta

import pytest
import time_machine
from django.db.models.signals import pre_save

from accounts.errors import InvalidField, NotConfigured, PaymentRequired
from billing import added_funds, automatic_topups, ledger, saved_cards, stripe_api, topups
from billing.models.payments import AutomaticTopUp, SavedCard, TopUp
from tests.billing import added_funds_contention
from tests.billing.automatic import turn_on
from tests.billing.conftest import NOW, balance_of, fund
from tests.billing.ledger.test_contention import KINDS
from tests.billing.paying import pay
from tests.contention import contend
from tests.stripe import intercepting

# Its top-ups commit before Stripe is called.
pytestmark = pytest.mark.django_db(transaction=True)


def add(organization, amount_cents=1_000, *, below=None, now=NOW):
    with time_machine.travel(now, tick=False):
        return added_funds.add(organization, amount_cents=amount_cents, if_below_micros=below, now=now)


def charges(stripe_sandbox):
    return [charge["amount"] for charge in stripe_sandbox.all("charge")]


@pytest.mark.long
def test_saved_card_is_charged_and_credited(card, acme, stripe_sandbox):
    outcome = add(acme)
    assert (outcome.state, outcome.amount_cents, outcome.was_charged_before) == ("completed", 1_000, False)
    assert outcome.available_micros == 10_000_000
    assert balance_of(acme) == (10_000_000, False)
    assert charges(stripe_sandbox) == [1_000, 500]
    topup = TopUp.objects.get(is_automatic=True)
    assert (topup.state, topup.payment_method_id) == ("paid", card)


def test_bonus_is_credited_too(card, acme):
    AutomaticTopUp.objects.create(organization=acme, monthly_cap_cents=1_000_000)
    outcome = add(acme, 10_000)
    assert outcome.available_micros == 100_000_000 + outcome.bonus_cents * 10_000


@pytest.mark.long
def test_same_amount_is_charged_once_in_the_window(card, acme, stripe_sandbox):
    first = add(acme)
    again = add(acme, now=NOW + timedelta(minutes=4))
    assert (first.was_charged_before, again.was_charged_before) == (False, True)
    assert again.state == "completed"
    assert charges(stripe_sandbox) == [1_000, 500]
    add(acme, now=NOW + timedelta(minutes=6))
    assert charges(stripe_sandbox) == [1_000, 1_000, 500]


def test_whoever_keeps_the_top_up_does_so_before_the_charge_or_there_is_none(card, acme, stripe_sandbox):
    def refuse(topup):
        assert topup.is_open
        raise KeyError

    asked = {"amount_cents": 1_000, "if_below_micros": None, "now": NOW}
    with pytest.raises(KeyError):
        added_funds.add(acme, **asked, in_transaction=refuse)
    assert not TopUp.objects.filter(is_automatic=True).exists()
    assert charges(stripe_sandbox) == [500]
    kept = []
    first = added_funds.add(acme, **asked, in_transaction=lambda topup: kept.append(str(topup.pk)))
    told = added_funds.outcome_of(acme, topup_id=kept[0])
    assert (told.state, told.amount_cents, told.was_charged_before) == ("completed", first.amount_cents, True)


@pytest.mark.long
def test_other_amount_is_another_charge(card, acme, stripe_sandbox):
    add(acme, 1_000)
    add(acme, 700)
    assert charges(stripe_sandbox) == [700, 1_000, 500]


@pytest.mark.long
@pytest.mark.parametrize(("below", "state"), [(10_000_000, "not_needed"), (10_000_001, "completed")])
def test_balance_that_is_high_enough_is_left_alone(card, acme, below, state):
    fund(acme, 10_000_000)
    assert add(acme, 700, below=below).state == state


@pytest.mark.long
def test_held_money_cannot_be_spent_and_does_not_count(card, acme):
    fund(acme, 10_000_000)
    ledger.reserve(acme, amount_micros=6_000_000, reference="job:held")
    assert add(acme, below=5_000_000).state == "completed"


def test_without_a_card_nothing_is_charged(frozen, acme, stripe_sandbox):
    with pytest.raises(added_funds.NoSavedCard):
        add(acme)
    assert not TopUp.objects.exists()


def test_removed_card_is_not_charged(card, acme, stripe_sandbox):
    saved_cards.remove(acme)
    with pytest.raises(added_funds.NoSavedCard):
        add(acme)
    assert charges(stripe_sandbox) == [500]


@pytest.mark.long
def test_frozen_balance_takes_no_money(card, acme, stripe_sandbox):
    ledger.freeze(acme, reason="dispute:1")
    with pytest.raises(PaymentRequired) as caught:
        add(acme)
    assert caught.value.type == "wallet_frozen"
    assert charges(stripe_sandbox) == [500]


@pytest.mark.long
def test_stolen_key_cannot_charge_more_than_the_cap(card, acme, stripe_sandbox):
    """Ninety-six amounts, and each again after the window: without a cap, a night would empty the card."""
    refused = 0
    for hour in range(20):
        for amount_cents in (10_000, 9_900, 9_800):
            try:
                add(acme, amount_cents, now=NOW + timedelta(hours=hour))
            except added_funds.CapReached:
                refused += 1
    assert sum(charges(stripe_sandbox)) - 500 <= automatic_topups.settings_of(acme).monthly_cap_cents
    assert refused > 50


@pytest.mark.long
def test_owner_chooses_the_cap(card, acme, owner):
    turn_on(acme, owner, amount_cents=500, monthly_cap_cents=600, threshold_cents=100)
    with pytest.raises(added_funds.CapReached):
        add(acme, 700)


def test_declined_card_is_told_and_not_asked_again_at_once(card, acme, stripe_sandbox):
    stripe_sandbox.set_card_outcome(card, "declined")
    asked = []
    with intercepting(lambda perform, request: asked.append(request.path) or perform()):
        for _ in range(3):
            with pytest.raises(stripe_api.CardDeclined):
                add(acme)
    assert len([path for path in asked if path.endswith("payment_intents")]) == 1
    assert balance_of(acme) == (0, False)


@pytest.mark.long
def test_card_that_was_saved_after_a_decline_is_charged(card, acme, owner, stripe_sandbox):
    stripe_sandbox.set_card_outcome(card, "declined")
    with pytest.raises(stripe_api.CardDeclined):
        add(acme)
    pay(stripe_sandbox, acme, owner, 500, save_card=True)
    assert SavedCard.objects.get().payment_method_id != card
    assert add(acme).state == "completed"


@pytest.mark.long
@pytest.mark.parametrize("how", ["timeout", "response_lost"])
def test_stripe_that_does_not_answer_leaves_it_pending_and_the_duty_finishes_it(card, acme, stripe_sandbox, how):
    """Asked again, it is the same charge, whether the first call took effect or not."""
    with stripe_sandbox.failing(how):
        outcome = add(acme)
    assert (outcome.state, outcome.available_micros) == ("pending", 0)
    assert add(acme).state == "pending"
    later = NOW + timedelta(minutes=10)
    with time_machine.travel(later, tick=False):
        automatic_topups.run(now=later)
    assert balance_of(acme) == (10_000_000, False)
    assert charges(stripe_sandbox) == [1_000, 500]


def test_charge_of_the_clock_at_the_same_moment_is_waited_for(card, acme, owner):
    open_one = topups.begin(acme, amount_cents=20_000, person=None, is_automatic=True, payment_method_id=card)
    assert open_one.is_open
    with pytest.raises(added_funds.TopUpInProgress):
        add(acme)


@pytest.mark.long
def test_charge_of_the_clock_that_begins_in_between_is_waited_for(card, acme, stripe_sandbox):
    """Settings that were saved at this moment have no row that a request could have locked."""

    def begin_another(instance, **_):
        other = TopUp(organization=acme, amount_cents=20_000, bonus_cents=0, is_automatic=True)
        TopUp.objects.bulk_create([other])

    pre_save.connect(begin_another, sender=TopUp)
    try:
        with pytest.raises(added_funds.TopUpInProgress):
            add(acme)
    finally:
        pre_save.disconnect(begin_another, sender=TopUp)
    assert charges(stripe_sandbox) == [500]


def test_amount_out_of_bounds_is_refused(card, acme):
    with pytest.raises(InvalidField):
        add(acme, 1)


def test_site_without_payments(card, acme, settings):
    settings.STRIPE_API_KEY = ""
    with pytest.raises(NotConfigured):
        add(acme)


@pytest.mark.long
@KINDS
def test_three_requests_at_once_are_one_charge(stripe_sandbox, acme, payer, kind):
    pay(stripe_sandbox, acme, payer, 500, save_card=True)
    seen = sum(contend(added_funds_contention.add, acme, kind=kind, worker_count=3), Counter())
    assert charges(stripe_sandbox) == [1_000, 500]
    assert balance_of(acme) == (15_000_000, False)
    assert seen["new"] == 1
    assert sum(seen.values()) == 3
