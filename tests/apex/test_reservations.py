"""What is held and charged for a completion, in micro-dollars. No database."""

import uuid

import pytest

from accounts.models import Organization
from apex import catalogue, reservations
from apex.types import AdmissionRequest, AdmittedCompletion, CompletionResult
from apex.usage_meter import BilledUsage, Source, Usage
from billing.models import Hold

MODEL = catalogue.find("apex-latest")


def request_with(**fields):
    return AdmissionRequest(key="", model=MODEL, **{"prompt_tokens": 1000, "completion_tokens": 200, **fields})


def price(prompt_tokens, completion_tokens):
    return MODEL.rates.price_micros(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)


def test_hold_is_the_price_of_the_longest_answer_and_at_least_of_a_short_one():
    reservation = reservations.reservation_for(request_with())
    assert reservation.max_micros == price(1000, 200)
    assert reservation.min_micros == price(1000, reservations.MIN_COMPLETION_TOKENS)
    assert reservation.reference == f"chat:{reservation.completion_id}"


def test_each_choice_is_held_for():
    assert reservations.reservation_for(request_with(choice_count=3)).max_micros == price(1000, 600)


def test_answer_that_is_shorter_than_the_least_is_held_for_as_it_is():
    reservation = reservations.reservation_for(request_with(completion_tokens=4))
    assert reservation.min_micros == reservation.max_micros == price(1000, 4)


@pytest.mark.parametrize(("choice_count", "paid"), [(1, 100), (2, 50)])
def test_smaller_hold_pays_for_fewer_tokens_of_each_choice(choice_count, paid):
    request = request_with(choice_count=choice_count)
    reservation = reservations.reservation_for(request)
    assert reservations.paid_completion_tokens(request, reservation, reservation.max_micros) == 200
    assert reservations.paid_completion_tokens(request, reservation, price(1000, 100)) == paid


def test_hold_that_pays_for_the_prompt_alone_still_lets_one_token_come():
    request = request_with()
    reservation = reservations.reservation_for(request)
    assert reservations.paid_completion_tokens(request, reservation, price(1000, 0)) == 1


def result_with(billed):
    completion = AdmittedCompletion(
        completion_id=uuid.uuid4(),
        organization=Organization(),
        api_key=None,
        hold=Hold(amount_micros=1_000_000),
        model=MODEL,
        completion_tokens=200,
    )
    return CompletionResult(completion=completion, billed=billed, finish="stop" * 20, latency_ms=5, upstream="u")


def test_charge_is_the_price_of_what_was_used_with_its_details():
    charge = reservations.charge_of(result_with(BilledUsage(Usage(1000, 37), Source.UPSTREAM)))
    assert charge.actual_micros == price(1000, 37)
    assert charge.description == "Chat, apex-latest"
    assert charge.details["completion_tokens"] == 37
    assert len(charge.details["finish"]) == 40


def test_completion_that_used_nothing_costs_nothing():
    assert reservations.charge_of(result_with(None)).actual_micros == 0
