"""`POST /add-funds`: whole dollars from 5 to 100, and a threshold."""

import math

import pytest

from accounts.errors import InvalidField, MissingField
from billing.added_funds import Outcome
from transcription.dialects.transcribeapi import funds


@pytest.mark.parametrize(
    ("body", "read"),
    [
        ({"amount": 10}, (1_000, None)),
        ({"amount": 10.0, "if_balance_below": None}, (1_000, None)),
        ({"amount": 5, "if_balance_below": 20.0}, (500, 20_000_000)),
        ({"amount": 100, "if_balance_below": 0}, (10_000, 0)),
        ({"amount": 100, "if_balance_below": 0.000001}, (10_000, 1)),
        ({"amount": 5, "if_balance_below": 1e300}, (500, 10**12)),
    ],
)
def test_amount_and_threshold(body, read):
    assert funds.read(body) == read


@pytest.mark.parametrize(
    "amount",
    [4, 101, 0, -5, 5.5, "10", True, [10], {}, math.inf, math.nan, 10**400],
    ids=lambda value: repr(value)[:20],
)
def test_amount_that_is_none_is_refused(amount):
    with pytest.raises(InvalidField) as caught:
        funds.read({"amount": amount})
    assert caught.value.data["param"] == "amount"


@pytest.mark.parametrize(
    "below", [-1, "20", True, [1], math.inf, math.nan, 10**400], ids=lambda value: repr(value)[:20]
)
def test_threshold_that_is_none_is_refused(below):
    with pytest.raises(InvalidField) as caught:
        funds.read({"amount": 10, "if_balance_below": below})
    assert caught.value.data["param"] == "if_balance_below"


def test_amount_is_required():
    with pytest.raises(MissingField):
        funds.read({})


def test_answer():
    outcome = Outcome("completed", 1_000, 0, was_charged_before=False, available_micros=12_500_000)
    assert funds.show(outcome) == {
        "status": "completed",
        "charged": True,
        "already_charged": False,
        "amount": 10.0,
        "bonus": 0.0,
        "remaining_balance": 12.5,
    }
