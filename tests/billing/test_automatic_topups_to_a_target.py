"""Automatic top-up to a target: what is missing is charged, within the cap, once, whatever the bank says."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core import mail
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import Conflict, InvalidField
from accounts.models import Organization, User
from billing import automatic_topup_mails, automatic_topups, ledger, topups
from billing.models import Wallet
from billing.models.payments import AutomaticTopUp, TopUp, TopUpState
from tests.billing import payments_contention
from tests.billing.automatic import states
from tests.billing.conftest import fund, money_of, pay
from tests.billing.ledger.test_contention import KINDS
from tests.billing.stripe_objects import intent_of, tell
from tests.contention import contend
from tests.stripe import StripeSandbox

pytestmark = pytest.mark.usefixtures("frozen")


def aim(organization: Organization, **changes: int) -> AutomaticTopUp:
    """Top up to $50 at a balance of $5, up to $200 a month."""
    amounts = {"threshold_cents": 500, "target_cents": 5_000, "monthly_cap_cents": 20_000}
    return automatic_topups.turn_on_to_target(organization, person=None, **{**amounts, **changes})


def spend_all(organization: Organization, number: int) -> None:
    available = ledger.wallet_of(organization).available_micros
    hold = ledger.reserve(organization, amount_micros=available, reference=f"spent:{number}")
    ledger.settle(hold, actual_micros=available)


def charged() -> list[int]:
    """Return the amounts, the largest first: in frozen time, their order is not known."""
    return list(
        TopUp.objects.filter(is_automatic=True).order_by("-amount_cents").values_list("amount_cents", flat=True)
    )


# --- What is charged -------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("balance_micros", "amount_cents"),
    [(0, 5_000), (1, 5_000), (10_000, 4_999), (4_990_000, 4_501), (4_999_999, 4_501)],
)
def test_balance_becomes_the_target_and_at_most_a_cent_more(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization, balance_micros: int, amount_cents: int
) -> None:
    aim(acme)
    if balance_micros:
        fund(acme, balance_micros)
    assert (automatic_topups.run(), automatic_topups.run()) == (1, 0)
    assert charged() == [amount_cents]
    assert 50_000_000 <= ledger.wallet_of(acme).available_micros < 50_010_000
    assert stripe_sandbox.get(TopUp.objects.get(is_automatic=True).payment_intent_id)["amount"] == amount_cents


def test_target_is_what_can_be_spent_beside_holds(stripe_sandbox: StripeSandbox, card: str, acme: Organization) -> None:
    aim(acme)
    fund(acme, 30_000_000)
    ledger.reserve(acme, amount_micros=28_000_000, reference="job:2")
    automatic_topups.run()
    assert charged() == [4_800]
    assert money_of(acme) == (78_000_000, 28_000_000)


@pytest.mark.long
@pytest.mark.parametrize("balance_micros", [5_000_000, 5_000_001, 50_000_000, 70_000_000])
def test_nothing_is_charged_from_the_threshold_on_even_below_the_target(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization, balance_micros: int
) -> None:
    aim(acme)
    fund(acme, balance_micros)
    assert automatic_topups.run() == 0


def test_bonus_is_a_part_of_what_is_missing(stripe_sandbox: StripeSandbox, card: str, acme: Organization) -> None:
    """$205 are missing: $200 and their bonus of $10 are enough, and $5 less are charged."""
    aim(acme, target_cents=20_500, monthly_cap_cents=50_000)
    automatic_topups.run()
    assert charged() == [20_000]
    assert money_of(acme) == (210_000_000, 0)


def test_largest_target_is_reached_by_one_charge(stripe_sandbox: StripeSandbox, card: str, acme: Organization) -> None:
    aim(acme, target_cents=100_000, monthly_cap_cents=100_000)
    automatic_topups.run()
    assert charged() == [90_910]
    assert ledger.wallet_of(acme).available_micros >= 1_000_000_000


def test_change_of_the_target_counts_from_the_next_charge(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization, owner: User
) -> None:
    aim(acme)
    aim(acme, target_cents=2_000)
    automatic_topups.run()
    assert charged() == [2_000]
    spend_all(acme, 1)
    automatic_topups.turn_on(acme, person=owner, threshold_cents=500, amount_cents=1_000, monthly_cap_cents=20_000)
    automatic_topups.run()
    assert charged() == [2_000, 1_000]


# --- The cap ---------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_rest_of_the_cap_is_charged_and_then_nothing_until_the_next_month(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization
) -> None:
    aim(acme, monthly_cap_cents=12_000)
    for number in range(5):
        automatic_topups.run()
        automatic_topup_mails.notify_owners()
        if ledger.wallet_of(acme).available_micros:
            spend_all(acme, number)
    assert charged() == [5_000, 5_000, 2_000]
    assert [message.subject for message in mail.outbox] == ["Automatic top-up of Acme has reached its monthly cap"]
    assert "another automatic top-up to $50.00 would go over its cap of $120.00" in mail.outbox[0].body
    assert automatic_topups.settings_of(acme).is_capped
    with time_machine.travel(datetime(2026, 12, 1, tzinfo=UTC), tick=False):
        assert automatic_topups.run() == 1
    assert charged() == [5_000, 5_000, 5_000, 2_000]


def test_rest_of_the_cap_below_the_smallest_topup_is_not_charged(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization
) -> None:
    aim(acme, monthly_cap_cents=5_499)
    automatic_topups.run()
    spend_all(acme, 1)
    assert automatic_topups.run() == 0
    assert charged() == [5_000]


# --- The bank --------------------------------------------------------------------------------------------------------


def test_declined_card_backs_off_and_ends_after_three(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization
) -> None:
    aim(acme)
    stripe_sandbox.set_card_outcome(card, "declined")
    now = timezone.now()
    for wait in (timedelta(), *automatic_topups.WAITS_AFTER_DECLINE):
        now += wait
        with time_machine.travel(now, tick=False):
            automatic_topups.run()
    assert states() == [TopUpState.FAILED] * 3
    found = automatic_topups.settings_of(acme)
    assert (found.is_on, found.target_cents) == (False, 5_000)
    assert money_of(acme) == (0, 0)


def test_bank_that_wants_the_owner_charges_nothing_and_says_so(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization
) -> None:
    aim(acme)
    stripe_sandbox.set_card_outcome(card, "authentication_required")
    automatic_topups.run()
    topup = TopUp.objects.get(is_automatic=True)
    assert (topup.state, topup.failure) == (TopUpState.FAILED, automatic_topups.NEEDS_PAYER)
    assert money_of(acme) == (0, 0)


def test_money_that_comes_during_a_charge_is_not_charged_less_and_not_again(
    stripe_sandbox: StripeSandbox, card: str, acme: Organization
) -> None:
    aim(acme)
    topup = topups.begin(acme, amount_cents=5_000, person=None, is_automatic=True)
    fund(acme, 1_000_000)
    assert automatic_topups.run() == 0
    assert tell("payment_intent.succeeded", intent_of(topup)) == 200
    assert money_of(acme) == (51_000_000, 0)
    assert automatic_topups.run() == 0


@pytest.mark.long
@KINDS
@pytest.mark.django_db(transaction=True)
def test_clocks_at_once_charge_what_is_missing_once(
    stripe_sandbox: StripeSandbox, acme: Organization, owner: User, kind: str
) -> None:
    pay(stripe_sandbox, acme, owner, 500, save_card=True)
    spend_all(acme, 1)
    aim(acme)
    seen = sum(contend(payments_contention.automatic_clocks, acme, kind=kind), Counter())
    assert seen["started"] == 1
    assert charged() == [5_000]
    assert money_of(acme) == (50_000_000, 0)


# --- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize(
    ("amounts", "param"),
    [
        ({"target_cents": 500}, "target_cents"),
        ({"target_cents": 999}, "target_cents"),
        ({"target_cents": 0}, "target_cents"),
        ({"target_cents": -5_000}, "target_cents"),
        ({"target_cents": 100_001}, "target_cents"),
        ({"threshold_cents": 99}, "threshold_cents"),
        ({"threshold_cents": 100_000, "target_cents": 100_000}, "target_cents"),
        ({"monthly_cap_cents": 4_499}, "monthly_cap_cents"),
        ({"monthly_cap_cents": 10_000_001}, "monthly_cap_cents"),
    ],
)
def test_amounts_that_cannot_be_are_refused(card: str, acme: Organization, amounts: dict[str, int], param: str) -> None:
    with pytest.raises(InvalidField) as caught:
        aim(acme, **amounts)
    assert caught.value.data["param"] == param
    assert not AutomaticTopUp.objects.exists()


def test_no_card_no_target(acme: Organization) -> None:
    with pytest.raises(Conflict):
        aim(acme)


def test_database_refuses_a_target_that_is_not_above_the_threshold(card: str, acme: Organization) -> None:
    aim(acme)
    with pytest.raises(IntegrityError, match="target_is_above_threshold"), transaction.atomic():
        AutomaticTopUp.objects.update(target_cents=500)


def test_frozen_wallet_is_not_filled(card: str, acme: Organization) -> None:
    aim(acme)
    ledger.freeze(acme, reason="dispute:1")
    assert Wallet.objects.of(acme).get().is_frozen
    assert automatic_topups.run() == 0
