"""Adding funds by TranscribeAPI's address: once for a key, whatever dies meanwhile."""

from datetime import timedelta

import pytest
import time_machine
from django.utils import timezone

from accounts.gate import idempotency
from billing import automatic_topups
from billing.models.payments import SavedCard, TopUp
from tests.billing.paying import pay
from tests.transcription.dialects.transcribeapi.calling import code

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fake_engine")]


def test_funds_need_a_saved_card(call, stripe_sandbox):
    response = call("post", "/add-funds", as_json={"amount": 10})
    assert code(response) == (402, "no_saved_card")


def test_funds_are_not_needed_above_the_threshold(call, stripe_sandbox):
    response = call("post", "/add-funds", as_json={"amount": 10, "if_balance_below": 0.5})
    assert response.status_code == 200
    assert (response.json()["status"], response.json()["charged"]) == ("not_needed", False)


@pytest.fixture
def card(stripe_sandbox, organization, alice):
    """A card that was saved with a top-up of $5. Returns its id at Stripe."""
    pay(stripe_sandbox, organization, alice, 500, save_card=True)
    return SavedCard.objects.get().payment_method_id


def charged_cents(stripe_sandbox):
    return sorted(charge["amount"] for charge in stripe_sandbox.all("charge"))


def add_funds(call, *, key="funds-1", after=timedelta(), amount=10):
    with time_machine.travel(timezone.now() + after, tick=False):
        return call("post", "/add-funds", as_json={"amount": amount}, headers={"Idempotency-Key": key} if key else {})


def test_funds_are_charged_once_for_a_key_as_long_as_it_is_kept(call, card, stripe_sandbox):
    first = add_funds(call)
    assert first.status_code == 200, first.content
    assert (first.json()["status"], first.json()["already_charged"]) == ("completed", False)
    again = add_funds(call, after=timedelta(hours=23))
    assert (again.json()["status"], again.json()["already_charged"]) == ("completed", True)
    assert again["Idempotency-Replayed"] == "true"
    assert charged_cents(stripe_sandbox) == [500, 1_000]
    assert add_funds(call, key="funds-2", after=timedelta(minutes=6)).json()["already_charged"] is False
    assert charged_cents(stripe_sandbox) == [500, 1_000, 1_000]


@pytest.mark.long
@pytest.mark.parametrize("place", ["before", "after"])
def test_process_that_dies_around_the_charge_charges_once_for_a_key(call, card, stripe_sandbox, monkeypatch, place):
    """The attempt seems abandoned after 5 minutes, when the window in which an amount is charged once is over too."""

    def die(topup, *, now):
        if place == "after":
            charge(topup, now=now)
        raise SystemExit

    charge = automatic_topups.charge
    with monkeypatch.context() as killing:
        killing.setattr(automatic_topups, "charge", die)
        # A process that is killed cannot clean up either.
        killing.setattr(idempotency.Claim, "forget", lambda claim: None)
        with pytest.raises(SystemExit):
            add_funds(call)
    after = timedelta(minutes=6)
    with time_machine.travel(timezone.now() + after, tick=False):
        automatic_topups.run()
    again = add_funds(call, after=after)
    assert again.status_code == 200, again.content
    assert (again.json()["status"], again.json()["already_charged"]) == ("completed", True)
    assert charged_cents(stripe_sandbox) == [500, 1_000]


def test_declined_card_frees_the_key(call, card, stripe_sandbox):
    stripe_sandbox.set_card_outcome(card, "declined")
    for _ in range(2):
        assert code(add_funds(call)) == (402, "card_declined")
    stripe_sandbox.set_card_outcome(card, "paid")
    assert add_funds(call, after=timedelta(minutes=6)).json()["status"] == "completed"
    assert list(TopUp.objects.filter(is_automatic=True).newest_first().values_list("state", flat=True)) == [
        "paid",
        "failed",
    ]


def test_card_that_was_declined_while_the_process_died_is_told_by_its_key(call, card, stripe_sandbox, monkeypatch):
    stripe_sandbox.set_card_outcome(card, "declined")
    with monkeypatch.context() as killing:
        killing.setattr(idempotency, "forget", lambda organization, *, key: None)
        assert code(add_funds(call)) == (402, "card_declined")
    assert code(add_funds(call, after=timedelta(minutes=6))) == (402, "card_declined")
    stripe_sandbox.set_card_outcome(card, "paid")
    assert add_funds(call, after=timedelta(minutes=6)).json()["status"] == "completed"


def test_key_of_funds_that_were_not_needed(call, stripe_sandbox):
    body, headers = {"amount": 10, "if_balance_below": 0.5}, {"Idempotency-Key": "funds-1"}
    first, again = (call("post", "/add-funds", as_json=body, headers=headers) for _ in range(2))
    assert first.json() == again.json()
    assert (again.json()["status"], again["Idempotency-Replayed"]) == ("not_needed", "true")


@pytest.mark.parametrize("body", [{}, {"amount": 4}, {"amount": 5.5}, {"amount": "10"}])
def test_amount_that_is_none(call, body):
    assert code(call("post", "/add-funds", as_json=body)) == (400, "invalid_request_options")
