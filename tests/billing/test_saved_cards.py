"""A card that was replaced or removed does not stay at Stripe, whatever Stripe answers meanwhile."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.errors import UpstreamFailed
from accounts.models import Organization, User
from billing import automatic_topups, ledger, periodic, saved_cards, stripe_calls, topups
from billing.models.payments import AutomaticTopUp, ReplacedCard, SavedCard, TopUpState, UnmatchedEvent
from tests.billing.paying import pay
from tests.billing.stripe_objects import charge_of, make_topup, tell
from tests.stripe import Perform, Request, Response, StripeSandbox, intercepting
from tests.transcription.broken_rows import broken


def save_card(stripe_sandbox: StripeSandbox, organization: Organization, person: User) -> str:
    """Pay and save the card. Returns its id at Stripe."""
    pay(stripe_sandbox, organization, person, 500, save_card=True, times=2)
    return SavedCard.objects.of(organization).get().payment_method_id


def attached(stripe_sandbox: StripeSandbox) -> set[str]:
    """Return the cards that are attached to a customer at Stripe."""
    return {method["id"] for method in stripe_sandbox.all("payment_method") if method["customer"]}


@pytest.fixture
def cards(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> list[str]:
    """The replaced card and the one that replaced it."""
    return [save_card(stripe_sandbox, acme, owner) for _ in range(2)]


@pytest.fixture
def automatic(stripe_sandbox: StripeSandbox, acme: Organization, owner: User) -> AutomaticTopUp:
    """Automatic top-up that is on, with a saved card and an empty balance."""
    save_card(stripe_sandbox, acme, owner)
    ledger.settle(ledger.reserve(acme, amount_micros=5_000_000, reference="job:1"), actual_micros=5_000_000)
    return automatic_topups.turn_on(
        acme, person=owner, threshold_cents=500, amount_cents=20_000, monthly_cap_cents=50_000
    )


@pytest.mark.long
def test_removed_card_is_forgotten_here_and_there(
    stripe_sandbox: StripeSandbox, automatic: AutomaticTopUp, acme: Organization
) -> None:
    card = SavedCard.objects.get().payment_method_id
    saved_cards.remove(acme)
    saved_cards.remove(acme)
    assert stripe_sandbox.get(card)["customer"] is None
    assert not SavedCard.objects.exists()
    automatic.refresh_from_db()
    assert (automatic.is_on, automatic.turned_off_reason) == (False, automatic_topups.CARD_REMOVED)


@pytest.mark.long
@pytest.mark.usefixtures("automatic")
def test_card_that_stripe_could_not_forget_is_not_charged_any_more(
    stripe_sandbox: StripeSandbox, acme: Organization
) -> None:
    with stripe_sandbox.failing("timeout"), pytest.raises(UpstreamFailed):
        saved_cards.remove(acme)
    assert SavedCard.objects.exists()
    assert automatic_topups.run() == 0


@pytest.mark.long
def test_card_that_was_replaced_is_forgotten_by_stripe(stripe_sandbox: StripeSandbox, cards: list[str]) -> None:
    before, now = cards
    assert attached(stripe_sandbox) == {before, now}
    periodic.forget_cards()
    assert attached(stripe_sandbox) == {now}
    assert SavedCard.objects.get().payment_method_id == now
    assert not ReplacedCard.objects.exists()


@pytest.mark.long
def test_stripe_that_fails_delays_only_the_forgetting(stripe_sandbox: StripeSandbox, cards: list[str]) -> None:
    before, now = cards
    with stripe_sandbox.failing("timeout"):
        periodic.forget_cards()
    assert attached(stripe_sandbox) == {before, now}
    assert SavedCard.objects.get().payment_method_id == now
    assert saved_cards.forget_replaced() == 1
    assert attached(stripe_sandbox) == {now}


def test_card_that_stripe_does_not_know_is_asked_about_once(stripe_sandbox: StripeSandbox) -> None:
    ReplacedCard.objects.create(payment_method_id="pm_of_nobody")
    assert [saved_cards.forget_replaced() for _ in range(2)] == [1, 0]


@contextmanager
def refusing() -> Iterator[None]:
    """Let Stripe refuse to detach attached cards."""
    refusal = {"error": {"type": "invalid_request_error", "code": "payment_method_in_use", "message": "Not now."}}

    def refuse(perform: Perform, request: Request) -> Response:
        return (json.dumps(refusal), 400, {}) if request.path.endswith("/detach") else perform()

    with intercepting(refuse):
        yield


@pytest.mark.long
def test_card_that_stripe_will_not_forget_is_asked_about_again_and_shown_to_an_operator(
    stripe_sandbox: StripeSandbox, cards: list[str]
) -> None:
    before, now = cards
    with refusing():
        assert saved_cards.forget_replaced() == 0
        assert attached(stripe_sandbox) == {before, now}
        event = UnmatchedEvent.objects.get()
        assert (event.subject, event.stripe_id, event.resolved_at) == ("payment_method", before, None)
        assert "payment_method_in_use" in event.explanation
        # It is not asked every minute, and does not insert a row each time.
        assert saved_cards.forget_replaced() == 0
        saved_cards.forget_replaced(now=timezone.now() + timedelta(hours=2))
    assert saved_cards.forget_replaced() == 0
    assert saved_cards.forget_replaced(now=timezone.now() + timedelta(hours=4)) == 1
    assert attached(stripe_sandbox) == {now}
    # The event is resolved by itself.
    event = UnmatchedEvent.objects.get()
    assert event.resolved_at is not None


@pytest.mark.long
def test_card_that_stripe_will_not_forget_keeps_no_other_waiting(
    stripe_sandbox: StripeSandbox, cards: list[str]
) -> None:
    with refusing():
        saved_cards.forget_replaced(max_count=1)
    ReplacedCard.objects.create(payment_method_id="pm_of_nobody")
    assert saved_cards.forget_replaced(now=timezone.now() + timedelta(hours=2), max_count=1) == 1
    assert [card.payment_method_id for card in ReplacedCard.objects.all()] == [cards[0]]


@pytest.mark.long
def test_card_that_was_forgotten_already_is_no_refusal(stripe_sandbox: StripeSandbox, cards: list[str]) -> None:
    stripe_calls.detach_card(cards[0])
    assert saved_cards.forget_replaced() == 1
    assert not UnmatchedEvent.objects.exists()


@pytest.mark.long
def test_card_that_is_gone_when_stripe_is_asked_whether_it_keeps_it_is_forgotten(
    stripe_sandbox: StripeSandbox, cards: list[str], acme: Organization
) -> None:
    """A person deletes the customer at Stripe meanwhile. Other cards must not wait for this one for ever."""
    ReplacedCard.objects.create(payment_method_id="pm_of_nobody")
    with refusing():
        assert saved_cards.forget_replaced() == 1
        assert [card.payment_method_id for card in ReplacedCard.objects.all()] == [cards[0]]
        SavedCard.objects.update(payment_method_id="pm_of_nobody")
        assert saved_cards.remove(acme) is True
    assert not SavedCard.objects.exists()


@pytest.mark.long
def test_removed_card_that_stripe_will_not_forget_is_gone_here_and_asked_about_again(
    stripe_sandbox: StripeSandbox, cards: list[str], acme: Organization
) -> None:
    with refusing():
        assert saved_cards.remove(acme) is False
    assert not SavedCard.objects.exists()
    assert ReplacedCard.objects.filter(payment_method_id=cards[1]).exists()
    assert saved_cards.forget_replaced() == 2
    assert attached(stripe_sandbox) == set()


@pytest.mark.long
def test_card_of_a_charge_under_way_is_kept_until_it_ends(
    stripe_sandbox: StripeSandbox, cards: list[str], acme: Organization
) -> None:
    topup = topups.begin(acme, amount_cents=500, person=None, is_automatic=True, payment_method_id=cards[0])
    assert saved_cards.forget_replaced() == 0
    topups.end(topup, state=TopUpState.FAILED)
    assert saved_cards.forget_replaced() == 1


def test_same_card_saved_again_is_no_other(acme: Organization) -> None:
    for _ in range(2):
        assert tell("charge.succeeded", charge_of(make_topup(acme, save_card=True))) == 200
    assert SavedCard.objects.get().payment_method_id == "pm_1"
    assert not ReplacedCard.objects.exists()


def test_card_that_comes_back_is_kept(acme: Organization) -> None:
    for name in ("pm_1", "pm_2", "pm_1"):
        assert tell("charge.succeeded", charge_of(make_topup(acme, save_card=True), payment_method=name)) == 200
    assert SavedCard.objects.get().payment_method_id == "pm_1"
    assert [card.payment_method_id for card in ReplacedCard.objects.all()] == ["pm_2"]


@pytest.mark.django_db(transaction=True)
def test_card_whose_row_cannot_be_deleted_keeps_no_other_waiting(
    stripe_sandbox: StripeSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    stuck, other = (ReplacedCard.objects.create(payment_method_id=f"pm_{name}") for name in "ab")
    with broken(stuck, act="DELETE"):
        assert saved_cards.forget_replaced() == 1
    assert "could not be forgotten" in caplog.text
    assert [card.pk for card in ReplacedCard.objects.all()] == [stuck.pk]
    assert saved_cards.forget_replaced(now=timezone.now() + timedelta(hours=2)) == 1
    assert other.pk not in ReplacedCard.objects.values_list("pk", flat=True)
