"""What customers are told when the ledger refuses: the exact figures, and what they can do about it."""

from datetime import date

import pytest

from billing.ledger import errors

MONTH = date(2026, 12, 1)


@pytest.mark.parametrize(
    ("required_micros", "available_micros", "cents"),
    [(300_001, 110_500, (31, 11)), (10_000, 0, (1, 0)), (1, -500_000, (1, 0))],
)
def test_shortfall_rounds_against_a_second_refusal(required_micros, available_micros, cents):
    """What is needed is rounded up and what is there down: a payment of the difference is always enough."""
    error = errors.shortfall(required_micros=required_micros, available_micros=available_micros)
    assert (error.http_status, error.type) == (402, "insufficient_balance")
    assert (error.data["required_cents"], error.data["available_cents"]) == cents
    assert error.data["required_micros"] == required_micros
    # A debt is no negative amount that is available.
    assert error.data["available_micros"] == max(0, available_micros)


def test_shortfall_says_how_much_is_missing():
    error = errors.shortfall(required_micros=300_001, available_micros=110_500)
    assert "$0.189501 is missing" in error.message


@pytest.mark.parametrize(
    ("debt_micros", "is_debt_alone", "said", "asks_for_money"),
    [
        (0, False, "is disputed, so its balance is frozen", False),
        (1_500_000, True, "taken back after it was spent: $1.50 is owed", True),
        (1_500_000, False, "is disputed, and $1.50 of it is owed", False),
    ],
)
def test_frozen_wallet_asks_for_money_only_where_money_thaws_it(debt_micros, is_debt_alone, said, asks_for_money):
    error = errors.frozen(required_micros=5, debt_micros=debt_micros, is_debt_alone=is_debt_alone)
    assert (error.type, error.data["debt_micros"], error.data["available_micros"]) == ("wallet_frozen", debt_micros, 0)
    assert said in error.message
    assert ("Add funds" in error.message) is asks_for_money
    assert ("contact hello@localhost" in error.message) is not asks_for_money


@pytest.mark.parametrize(("limit", "who"), [("key", "API key"), ("organization", "organization")])
def test_limit_says_whose_it_is_what_is_left_and_when_it_starts_anew(limit, who):
    error = errors.limit_reached(
        limit=limit, limit_micros=5_000_000, left_micros=19_999, required_micros=30_000, month=MONTH
    )
    assert error.type == "spend_limit_reached"
    assert error.data == {
        "limit": limit,
        "limit_micros": 5_000_000,
        "left_micros": 19_999,
        "left_cents": 1,
        "resets_at": "2027-01-01 00:00:00",
        "required_cents": 3,
        "required_micros": 30_000,
    }
    assert f"this {who}'s monthly limit of $5.00" in error.message
    assert "2027-01-01 (UTC)" in error.message


def test_limit_of_nothing_does_not_promise_that_waiting_helps():
    error = errors.limit_reached(limit="key", limit_micros=0, left_micros=0, required_micros=1, month=MONTH)
    assert "may spend nothing" in error.message
    assert "2027" not in error.message
